# One run per mode, point and cohort, with the same trainer and the same number of passes over the data.


rule train_federated:
    input:
        code=code(
            "train_federated",
            "fedxray/federation/client.py",
            "fedxray/federation/server.py",
        ),
        kits=KITS,
        sites=site_files("images.npy", "images.csv", "card.json", shared=True),
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
    threads: len(config["sites"]) * config["training"]["threads"]
    # The timeouts are here and not among the params, because another patience gives the same model.
    resources:
        mem_mb=growing(2000 + 2000 * len(config["sites"])),
        runtime=growing(240),
        gpu=GPU,
        start_timeout_s=config["federation"]["start_timeout_s"],
        round_timeout_s=config["federation"]["round_timeout_s"],
    params:
        folders=site_folders,
        shared=below("sites/{cohort}shared"),
        settings=settings_of(FEDERATED),
        live=f"{OUT}/tensorboard/{FEDERATED}",
        folder=subpath(output.model, parent=True),
    shell:
        "python scripts/train_federated.py --kits {input.kits:q} --sites {params.folders:q}"
        " --shared {params.shared:q} --settings {params.settings:q} --rounds {wildcards.rounds}"
        " --local-epochs {wildcards.local_epochs} --start-timeout-s {resources.start_timeout_s}"
        " --round-timeout-s {resources.round_timeout_s} --tensorboard {params.live:q}"
        " --output {params.folder:q} 2>&1 | tee {log:q}"


rule train_central:
    input:
        code=code("train_central"),
        sites=site_files("images.npy", "images.csv", "card.json"),
    output:
        model=f"{OUT}/runs/{CENTRAL}/model.safetensors",
        metrics=f"{OUT}/runs/{CENTRAL}/metrics.csv",
        record=f"{OUT}/runs/{CENTRAL}/record.json",
    log:
        f"{OUT}/logs/train/{CENTRAL}.log",
    benchmark:
        f"{OUT}/benchmarks/train/{CENTRAL}.tsv"
    conda:
        "../environment.yml"
    threads: config["training"]["threads"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        gpu=GPU,
    params:
        folders=site_folders,
        settings=settings_of(CENTRAL),
        folder=subpath(output.model, parent=True),
    shell:
        "python scripts/train_central.py --sites {params.folders:q} --settings {params.settings:q}"
        " --output {params.folder:q} 2>&1 | tee {log:q}"


rule train_local:
    input:
        code=code("train_local"),
        images=f"{OUT}/sites/{{cohort}}{{site}}/images.npy",
        table=f"{OUT}/sites/{{cohort}}{{site}}/images.csv",
        card=f"{OUT}/sites/{{cohort}}{{site}}/card.json",
    output:
        model=f"{OUT}/runs/{LOCAL}/{{site}}/model.safetensors",
        metrics=f"{OUT}/runs/{LOCAL}/{{site}}/metrics.csv",
        record=f"{OUT}/runs/{LOCAL}/{{site}}/record.json",
    log:
        f"{OUT}/logs/train/{LOCAL}/{{site}}.log",
    benchmark:
        f"{OUT}/benchmarks/train/{LOCAL}/{{site}}.tsv"
    conda:
        "../environment.yml"
    threads: config["training"]["threads"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        gpu=GPU,
    params:
        site=subpath(input.card, parent=True),
        settings=settings_of(f"{LOCAL}/{{site}}"),
        folder=subpath(output.model, parent=True),
    shell:
        "python scripts/train_local.py --site {params.site:q} --settings {params.settings:q}"
        " --output {params.folder:q} 2>&1 | tee {log:q}"
