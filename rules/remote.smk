# A federation whose server and sites are other machines: they train and evaluate, and this one sees no site's data.
# points.csv, the TensorBoard log and what is exported come from the rules of analysis.smk.

REMOTE_FIGURES = ["learning_curves", "cross_site", "communication"]
REMOTE_FIGURES += ["sweep"] if len(sweep.points(config)) > 1 else []

# The server's address, and how long to wait for whom: what may change without another result.
REACH = {
    f"federation_{key}": config["federation"][key]
    for key in ["start_timeout_s", "round_timeout_s", "patience_s"]
}
FEDERATION = (
    f"--admin-kit {{params.kit:q}} --sites {{params.sites:q}}"
    " --start-timeout-s {resources.federation_start_timeout_s}"
    " --round-timeout-s {resources.federation_round_timeout_s}"
    " --patience-s {resources.federation_patience_s}"
)


ruleorder: evaluate_remote > evaluate_federated
ruleorder: plot_remote > plot_results
ruleorder: export_remote > export_model


# Asked again for a further site or by another version, and stops at data that changed; delete the file to register
# what all have now.
rule register_sites:
    output:
        registry=update(REGISTRY),
    log:
        f"{OUT}/logs/register_sites.log",
    benchmark:
        f"{OUT}/benchmarks/register_sites.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        **REACH,
        mem_mb=1000,
        runtime=60,
    params:
        code=code("register_sites"),
        kit=config["federation"]["admin_kit"],
        sites=config["sites"],
        image_size=config["image_size"],
    shell:
        f"python scripts/register_sites.py {FEDERATION} --image-size {{params.image_size}}"
        " --output {output.registry:q} 2>&1 | tee -i {log:q}"


rule train_remote:
    input:
        registry=REGISTRY,
    output:
        model=f"{OUT}/runs/{FEDERATED}/model.safetensors",
        metrics=f"{OUT}/runs/{FEDERATED}/metrics.csv",
        record=f"{OUT}/runs/{FEDERATED}/record.json",
    log:
        f"{OUT}/logs/train/{FEDERATED}.log",
    benchmark:
        f"{OUT}/benchmarks/train/{FEDERATED}.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        **REACH,
        mem_mb=2000,
        runtime=10000,
    params:
        code=code("train_remote"),
        kit=config["federation"]["admin_kit"],
        sites=config["sites"],
        settings=settings_of(FEDERATED),
        live=f"{config['experiment']}/{FEDERATED}",
        absent=config["federation"]["absent"],
        min_sites=config["federation"]["min_sites"],
    shell:
        f"python scripts/train_remote.py {FEDERATION} --registry {{input.registry:q}} --absent {{params.absent}}"
        " --min-sites {params.min_sites} --settings {params.settings:q} --rounds {wildcards.rounds}"
        " --local-epochs {wildcards.local_epochs} --live {params.live:q} --output {output.model:q} 2>&1 | tee -i {log:q}"


rule train_alone_remote:
    input:
        registry=REGISTRY,
    output:
        runs=directory(f"{OUT}/runs/{ALONE}"),
    log:
        f"{OUT}/logs/train/{ALONE}.log",
    benchmark:
        f"{OUT}/benchmarks/train/{ALONE}.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        **REACH,
        mem_mb=2000,
        runtime=10000,
    params:
        code=code("train_alone_remote"),
        kit=config["federation"]["admin_kit"],
        sites=config["sites"],
        settings=settings_of(ALONE),
        live=f"{config['experiment']}/{ALONE}",
    shell:
        f"python scripts/train_alone_remote.py {FEDERATION} --registry {{input.registry:q}}"
        " --settings {params.settings:q} --live {params.live:q} --output {output.runs:q} 2>&1 | tee -i {log:q}"


rule evaluate_remote:
    input:
        registry=REGISTRY,
        points=f"{OUT}/points.csv",
    output:
        metrics=shown(f"{OUT}/cross_site.csv", "comparison", "5. Tables"),
    log:
        f"{OUT}/logs/evaluate_remote.log",
    benchmark:
        f"{OUT}/benchmarks/evaluate_remote.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        **REACH,
        mem_mb=2000,
        runtime=1000,
    params:
        code=code("evaluate_remote"),
        kit=config["federation"]["admin_kit"],
        sites=config["sites"],
        runs=below("runs"),
    shell:
        f"python scripts/evaluate_remote.py {FEDERATION} --registry {{input.registry:q}}"
        " --points {input.points:q} --runs {params.runs:q} --output {output.metrics:q} 2>&1 | tee -i {log:q}"


rule plot_remote:
    input:
        registry=REGISTRY,
        points=f"{OUT}/points.csv",
        cross_site=f"{OUT}/cross_site.csv",
    output:
        **figures(*REMOTE_FIGURES, category="2. Results"),
    log:
        f"{OUT}/logs/plot_remote.log",
    benchmark:
        f"{OUT}/benchmarks/plot_remote.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        code=code("plot_remote"),
        figures=REMOTE_FIGURES,
        runs=below("runs"),
        folder=subpath(output.learning_curves_svg, parent=True),
    shell:
        "python scripts/plot_remote.py --figures {params.figures} --registry {input.registry:q}"
        " --points {input.points:q} --cross-site {input.cross_site:q} --runs {params.runs:q} --output {params.folder:q} 2>&1 | tee -i {log:q}"


# The threshold is the one that the server has chosen.
use rule export_model as export_remote with:
    input:
        registry=REGISTRY,
        points=f"{OUT}/points.csv",
        comparison=f"{OUT}/cross_site.csv",
