# From models to conclusions: the chosen points, their predictions, comparison, figures, TensorBoard, model and report.
# The runs are inputs of choose_points alone, and of the rest through its table: a plan of thousands of runs is slow to
# make. So are paths inputs here, not rules.<name>.output, beside which Snakemake hashes all runs' files for each.


# The test sets are first read in predict_chosen, for the points that validation has chosen here.
rule choose_points:
    input:
        records=every_record(),
    output:
        points=shown(f"{OUT}/points.csv", "points", "5. Tables"),
    log:
        f"{OUT}/logs/choose_points.log",
    benchmark:
        f"{OUT}/benchmarks/choose_points.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        code=code("choose_points"),
        experiment=EXPERIMENT,
        runs=below("runs"),
    shell:
        "python scripts/choose_points.py --experiment {params.experiment:q} --runs {params.runs:q}"
        " --output {output.points:q} 2>&1 | tee {log:q}"


if config["federation"]["engine"] == "inprocess":

    # Whether the chosen federated models, trained in one process, are those of a real federation.
    rule confirm_federated:
        input:
            kits=KITS,
            points=f"{OUT}/points.csv",
            sites=every_card(shared=True),
        output:
            confirmed=shown(f"{OUT}/confirmed.csv", "confirmed", "5. Tables"),
        log:
            f"{OUT}/logs/confirm_federated.log",
        benchmark:
            f"{OUT}/benchmarks/confirm_federated.tsv"
        conda:
            "../environment.yml"
        threads: len(config["sites"]) * config["training"]["threads"]
        resources:
            mem_mb=growing(2000 + 2000 * len(config["sites"])),
            runtime=growing(240),
            gpu=GPU,
            start_timeout_s=config["federation"]["start_timeout_s"],
            round_timeout_s=config["federation"]["round_timeout_s"],
        params:
            code=code(
                "confirm_federated",
                "fedxray/federation/client.py",
                "fedxray/federation/server.py",
            ),
            experiment=EXPERIMENT,
            runs=below("runs"),
            sites=below("sites"),
        shell:
            "python scripts/confirm_federated.py --experiment {params.experiment:q} --kits {input.kits:q}"
            " --points {input.points:q} --runs {params.runs:q} --sites {params.sites:q}"
            " --start-timeout-s {resources.start_timeout_s} --round-timeout-s {resources.round_timeout_s}"
            " --output {output.confirmed:q} 2>&1 | tee {log:q}"


rule predict_chosen:
    input:
        points=f"{OUT}/points.csv",
        confirmed=CONFIRMED,
        sites=every_card(),
    output:
        predictions=f"{OUT}/predictions.csv",
    log:
        f"{OUT}/logs/predict_chosen.log",
    benchmark:
        f"{OUT}/benchmarks/predict_chosen.tsv"
    group:
        "evaluate"
    conda:
        "../environment.yml"
    threads: config["training"]["threads"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
        gpu=GPU,
    params:
        code=code("predict_chosen"),
        experiment=EXPERIMENT,
        runs=below("runs"),
        sites=below("sites"),
    shell:
        "python scripts/predict_chosen.py --experiment {params.experiment:q} --points {input.points:q}"
        " --runs {params.runs:q} --sites {params.sites:q} --output {output.predictions:q} 2>&1 | tee {log:q}"


rule compare_runs:
    input:
        points=f"{OUT}/points.csv",
        predictions=f"{OUT}/predictions.csv",
    output:
        comparison=shown(f"{OUT}/comparison.csv", "comparison", "5. Tables"),
    log:
        f"{OUT}/logs/compare_runs.log",
    benchmark:
        f"{OUT}/benchmarks/compare_runs.tsv"
    group:
        "evaluate"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        code=code("compare_runs"),
        evaluation=config["evaluation"],
    shell:
        "python scripts/compare_runs.py --points {input.points:q} --predictions {input.predictions:q}"
        " --replicates {params.evaluation[replicates]} --confidence {params.evaluation[confidence]}"
        " --seed {params.evaluation[seed]} --output {output.comparison:q} 2>&1 | tee {log:q}"


rule contrast_models:
    input:
        points=f"{OUT}/points.csv",
        predictions=f"{OUT}/predictions.csv",
    output:
        summary=f"{OUT}/summary.csv",
        differences=shown(f"{OUT}/differences.csv", "differences_table", "5. Tables"),
    log:
        f"{OUT}/logs/contrast_models.log",
    benchmark:
        f"{OUT}/benchmarks/contrast_models.tsv"
    group:
        "evaluate"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        code=code("contrast_models"),
        evaluation=config["evaluation"],
    shell:
        "python scripts/contrast_models.py --points {input.points:q} --predictions {input.predictions:q}"
        " --replicates {params.evaluation[replicates]} --confidence {params.evaluation[confidence]}"
        " --seed {params.evaluation[seed]} --margin {params.evaluation[margin]}"
        " --summary {output.summary:q} --differences {output.differences:q} 2>&1 | tee {log:q}"


rule evaluate_federated:
    input:
        kits=KITS,
        points=f"{OUT}/points.csv",
        comparison=f"{OUT}/comparison.csv",
        sites=every_card(shared=True),
    output:
        metrics=f"{OUT}/cross_site.csv",
    log:
        f"{OUT}/logs/evaluate_federated.log",
    benchmark:
        f"{OUT}/benchmarks/evaluate_federated.tsv"
    conda:
        "../environment.yml"
    threads: len(config["sites"]) * config["training"]["threads"]
    resources:
        mem_mb=growing(2000 + 2000 * len(config["sites"])),
        runtime=growing(60),
        gpu=GPU,
        start_timeout_s=config["federation"]["start_timeout_s"],
        round_timeout_s=config["federation"]["round_timeout_s"],
    params:
        code=code(
            "evaluate_federated",
            "fedxray/federation/client.py",
            "fedxray/federation/server.py",
        ),
        experiment=EXPERIMENT,
        runs=below("runs"),
        sites=below("sites"),
    shell:
        "python scripts/evaluate_federated.py --experiment {params.experiment:q} --kits {input.kits:q}"
        " --points {input.points:q} --comparison {input.comparison:q} --runs {params.runs:q}"
        " --sites {params.sites:q} --start-timeout-s {resources.start_timeout_s}"
        " --round-timeout-s {resources.round_timeout_s} --output {output.metrics:q} 2>&1 | tee {log:q}"


rule export_tensorboard:
    input:
        points=f"{OUT}/points.csv",
    output:
        events=directory(f"{OUT}/tensorboard"),
    log:
        f"{OUT}/logs/export_tensorboard.log",
    benchmark:
        f"{OUT}/benchmarks/export_tensorboard.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        code=code("export_tensorboard"),
        experiment=EXPERIMENT,
        runs=below("runs"),
    shell:
        "python scripts/export_tensorboard.py --experiment {params.experiment:q} --runs {params.runs:q}"
        " --output {output.events:q} 2>&1 | tee {log:q}"


rule export_model:
    input:
        registry=REGISTRY,
        points=f"{OUT}/points.csv",
        comparison=f"{OUT}/comparison.csv",
    output:
        model=f"{OUT}/model/model.safetensors",
        onnx=f"{OUT}/model/model.onnx",
        config=f"{OUT}/model/config.json",
    log:
        f"{OUT}/logs/export_model.log",
    benchmark:
        f"{OUT}/benchmarks/export_model.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(10),
    params:
        code=code("export_model"),
        runs=below("runs"),
        experiment=config["experiment"],
        folder=subpath(output.model, parent=True),
    shell:
        "python scripts/export_model.py --points {input.points:q} --comparison {input.comparison:q}"
        " --runs {params.runs:q} --experiment {params.experiment:q} --registry {input.registry:q}"
        " --output {params.folder:q} 2>&1 | tee {log:q}"


rule plot_data:
    input:
        registry=REGISTRY,
        sites=every_card(),
    output:
        **figures("sites", "gallery", category="3. Data"),
    log:
        f"{OUT}/logs/plot_data.log",
    benchmark:
        f"{OUT}/benchmarks/plot_data.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        code=code("plot_data"),
        experiment=EXPERIMENT,
        sites=below("sites"),
        folder=subpath(output.sites_svg, parent=True),
    shell:
        "python scripts/plot_data.py --experiment {params.experiment:q} --sites {params.sites:q}"
        " --registry {input.registry:q} --output {params.folder:q} 2>&1 | tee {log:q}"


rule plot_results:
    input:
        registry=REGISTRY,
        points=f"{OUT}/points.csv",
        predictions=f"{OUT}/predictions.csv",
        summary=f"{OUT}/summary.csv",
        differences=f"{OUT}/differences.csv",
        heterogeneity=[f"{OUT}/cohort/{cohort}heterogeneity.json" for cohort in COHORTS],
    output:
        **figures(*RESULTS, category="2. Results"),
    log:
        f"{OUT}/logs/plot_results.log",
    benchmark:
        f"{OUT}/benchmarks/plot_results.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        code=code("plot_results"),
        figures=RESULTS,
        runs=below("runs"),
        cohorts=below("cohort"),
        evaluation=config["evaluation"],
        folder=subpath(output.learning_curves_svg, parent=True),
    shell:
        "python scripts/plot_results.py --figures {params.figures} --points {input.points:q} --runs {params.runs:q}"
        " --predictions {input.predictions:q} --summary {input.summary:q} --differences {input.differences:q}"
        " --cohorts {params.cohorts:q} --replicates {params.evaluation[replicates]}"
        " --confidence {params.evaluation[confidence]} --seed {params.evaluation[seed]}"
        " --margin {params.evaluation[margin]} --registry {input.registry:q} --output {params.folder:q} 2>&1 | tee {log:q}"


rule plot_mistakes:
    input:
        registry=REGISTRY,
        predictions=f"{OUT}/predictions.csv",
        model=f"{OUT}/model/model.safetensors",
        config=f"{OUT}/model/config.json",
        sites=every_card(),
    output:
        **figures("mistakes", category="2. Results"),
    log:
        f"{OUT}/logs/plot_mistakes.log",
    benchmark:
        f"{OUT}/benchmarks/plot_mistakes.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(10),
    params:
        code=code("plot_mistakes"),
        model=subpath(input.model, parent=True),
        sites=below("sites"),
        folder=subpath(output.mistakes_svg, parent=True),
    shell:
        "python scripts/plot_mistakes.py --model {params.model:q} --predictions {input.predictions:q}"
        " --sites {params.sites:q} --registry {input.registry:q} --output {params.folder:q} 2>&1 | tee {log:q}"


rule render_pages:
    input:
        registry=REGISTRY,
        summary=f"{OUT}/data/catalogue.json",
        sites=every_card(shared=True),
        points=f"{OUT}/points.csv",
        confirmed=CONFIRMED,
        results=f"{OUT}/summary.csv",
        differences=f"{OUT}/differences.csv",
        cross_site=f"{OUT}/cross_site.csv",
        model=f"{OUT}/model/config.json",
        predictions=f"{OUT}/predictions.csv",
        comparison=f"{OUT}/comparison.csv",
        heterogeneity=[f"{OUT}/cohort/{cohort}heterogeneity.json" for cohort in COHORTS],
        templates=expand("report/pages/{page}.html", page=["page", "table", *PAGES]),
    output:
        **pages(
            conclusions="1. Conclusions",
            datasheet="3. Data",
            methods="4. Record",
            model_card="4. Record",
            configuration="4. Record",
            environment="4. Record",
        ),
    log:
        f"{OUT}/logs/render_pages.log",
    benchmark:
        f"{OUT}/benchmarks/render_pages.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        code=code("render_pages"),
        config=json.dumps(config),
        results=below(""),
        folder=subpath(output.conclusions, parent=True),
    shell:
        "python scripts/render_pages.py --config {params.config:q} --results {params.results:q}"
        " --registry {input.registry:q} --output {params.folder:q} 2>&1 | tee {log:q}"
