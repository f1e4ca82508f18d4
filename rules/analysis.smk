# From models to conclusions: predictions, evaluation, comparison, figures, TensorBoard and the report's pages.


rule predict_run:
    input:
        code=code("predict_run"),
        model=f"{OUT}/runs/{{run}}/model.safetensors",
        sites=site_files("images.npy", "images.csv", "card.json"),
    output:
        predictions=f"{OUT}/runs/{{run}}/predictions.csv",
    log:
        f"{OUT}/logs/predict_run/{{run}}.log",
    benchmark:
        f"{OUT}/benchmarks/predict_run/{{run}}.tsv"
    conda:
        "../environment.yml"
    threads: config["training"]["threads"]
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        folders=site_folders(),
        settings=settings_of,
    shell:
        "python scripts/predict_run.py --model {input.model:q} --sites {params.folders:q}"
        " --settings {params.settings:q} --output {output.predictions:q} 2>&1 | tee {log:q}"


rule evaluate_run:
    input:
        code=code("evaluate_run"),
        predictions=rules.predict_run.output.predictions,
    output:
        evaluation=f"{OUT}/runs/{{run}}/evaluation.csv",
    log:
        f"{OUT}/logs/evaluate_run/{{run}}.log",
    benchmark:
        f"{OUT}/benchmarks/evaluate_run/{{run}}.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        evaluation=config["evaluation"],
    shell:
        "python scripts/evaluate_run.py --predictions {input.predictions:q}"
        " --replicates {params.evaluation[replicates]} --confidence {params.evaluation[confidence]}"
        " --seed {params.evaluation[seed]} --output {output.evaluation:q} 2>&1 | tee {log:q}"


rule compare_runs:
    input:
        code=code("compare_runs"),
        records=run_files("record.json"),
        evaluations=run_files("evaluation.csv"),
    output:
        comparison=report(
            f"{OUT}/comparison.csv",
            caption="../report/comparison.rst",
            category="1. Results",
        ),
    log:
        f"{OUT}/logs/compare_runs.log",
    benchmark:
        f"{OUT}/benchmarks/compare_runs.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        runs=run_folders(),
    shell:
        "python scripts/compare_runs.py --runs {params.runs:q} --output {output.comparison:q} 2>&1 | tee {log:q}"


rule export_tensorboard:
    input:
        code=code("export_tensorboard"),
        records=run_files("record.json"),
        metrics=run_files("metrics.csv"),
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
        mem_mb=1000,
        runtime=10,
    params:
        runs=run_folders(),
    shell:
        "python scripts/export_tensorboard.py --runs {params.runs:q}"
        " --output {output.events:q} 2>&1 | tee {log:q}"


rule render_pages:
    input:
        code=code("render_pages"),
        summary=rules.catalogue_images.output.summary,
        cards=site_files("card.json", sites=["shared"] + SITES),
        comparison=rules.compare_runs.output.comparison,
    output:
        environment=report(
            f"{OUT}/report/environment.html",
            caption="../report/environment.rst",
            category="3. Record",
        ),
        configuration=report(
            f"{OUT}/report/configuration.html",
            caption="../report/configuration.rst",
            category="3. Record",
        ),
        data=report(
            f"{OUT}/report/data.html", caption="../report/data.rst", category="2. Data"
        ),
    log:
        f"{OUT}/logs/render_pages.log",
    benchmark:
        f"{OUT}/benchmarks/render_pages.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        config=json.dumps(config),
        note=NOTE,
    shell:
        "python scripts/render_pages.py --config {params.config:q} --summary {input.summary:q}"
        " --cards {input.cards:q} --note={params.note:q} --environment {output.environment:q}"
        " --configuration {output.configuration:q} --data {output.data:q} 2>&1 | tee {log:q}"


rule plot_learning_curves:
    input:
        code=code("plot_learning_curves"),
        metrics=run_files("metrics.csv"),
    output:
        svg=report(
            f"{OUT}/figures/learning_curves.svg",
            caption="../report/learning_curves.rst",
            category="1. Results",
        ),
        png=f"{OUT}/figures/learning_curves.png",
    log:
        f"{OUT}/logs/plot_learning_curves.log",
    benchmark:
        f"{OUT}/benchmarks/plot_learning_curves.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        runs=run_folders(),
        note=NOTE,
    shell:
        "python scripts/plot_learning_curves.py --runs {params.runs:q} --note={params.note:q}"
        " --svg {output.svg:q} --png {output.png:q} 2>&1 | tee {log:q}"


rule plot_roc:
    input:
        code=code("plot_roc"),
        predictions=run_files("predictions.csv"),
        evaluations=run_files("evaluation.csv"),
    output:
        svg=report(
            f"{OUT}/figures/roc.svg",
            caption="../report/roc.rst",
            category="1. Results",
        ),
        png=f"{OUT}/figures/roc.png",
    log:
        f"{OUT}/logs/plot_roc.log",
    benchmark:
        f"{OUT}/benchmarks/plot_roc.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        runs=run_folders(),
        evaluation=config["evaluation"],
        note=NOTE,
    shell:
        "python scripts/plot_roc.py --runs {params.runs:q} --replicates {params.evaluation[replicates]}"
        " --confidence {params.evaluation[confidence]} --seed {params.evaluation[seed]} --note={params.note:q}"
        " --svg {output.svg:q} --png {output.png:q} 2>&1 | tee {log:q}"


rule plot_metrics:
    input:
        code=code("plot_metrics"),
        comparison=rules.compare_runs.output.comparison,
    output:
        svg=report(
            f"{OUT}/figures/metrics.svg",
            caption="../report/metrics.rst",
            category="1. Results",
        ),
        png=f"{OUT}/figures/metrics.png",
    log:
        f"{OUT}/logs/plot_metrics.log",
    benchmark:
        f"{OUT}/benchmarks/plot_metrics.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        note=NOTE,
    shell:
        "python scripts/plot_metrics.py --comparison {input.comparison:q} --note={params.note:q}"
        " --svg {output.svg:q} --png {output.png:q} 2>&1 | tee {log:q}"


rule plot_gain:
    input:
        code=code("plot_gain"),
        comparison=rules.compare_runs.output.comparison,
    output:
        svg=report(
            f"{OUT}/figures/gain.svg",
            caption="../report/gain.rst",
            category="1. Results",
        ),
        png=f"{OUT}/figures/gain.png",
    log:
        f"{OUT}/logs/plot_gain.log",
    benchmark:
        f"{OUT}/benchmarks/plot_gain.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        note=NOTE,
    shell:
        "python scripts/plot_gain.py --comparison {input.comparison:q} --note={params.note:q}"
        " --svg {output.svg:q} --png {output.png:q} 2>&1 | tee {log:q}"


rule plot_sites:
    input:
        code=code("plot_sites"),
        cards=site_files("card.json"),
    output:
        svg=report(
            f"{OUT}/figures/sites.svg",
            caption="../report/sites.rst",
            category="2. Data",
        ),
        png=f"{OUT}/figures/sites.png",
    log:
        f"{OUT}/logs/plot_sites.log",
    benchmark:
        f"{OUT}/benchmarks/plot_sites.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        note=NOTE,
    shell:
        "python scripts/plot_sites.py --cards {input.cards:q} --note={params.note:q}"
        " --svg {output.svg:q} --png {output.png:q} 2>&1 | tee {log:q}"


rule plot_gallery:
    input:
        code=code("plot_gallery"),
        files=site_files("images.npy", "images.csv"),
    output:
        svg=report(
            f"{OUT}/figures/gallery.svg",
            caption="../report/gallery.rst",
            category="2. Data",
        ),
        png=f"{OUT}/figures/gallery.png",
    log:
        f"{OUT}/logs/plot_gallery.log",
    benchmark:
        f"{OUT}/benchmarks/plot_gallery.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        sites=site_folders(),
        note=NOTE,
    shell:
        "python scripts/plot_gallery.py --sites {params.sites:q} --note={params.note:q}"
        " --svg {output.svg:q} --png {output.png:q} 2>&1 | tee {log:q}"
