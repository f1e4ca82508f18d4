# One run per mode and point, with the same trainer and the same number of passes over the data.


rule train_federated:
    input:
        code=code(
            "train_federated",
            "fedxray/federation/client.py",
            "fedxray/federation/server.py",
        ),
        kits=rules.provision_federation.output.kits,
        sites=site_files(
            "images.npy", "images.csv", "card.json", sites=SITES + ["shared"]
        ),
    output:
        model=f"{OUT}/runs/federated/{FEDERATED_POINT}/model.safetensors",
        metrics=f"{OUT}/runs/federated/{FEDERATED_POINT}/metrics.csv",
        record=f"{OUT}/runs/federated/{FEDERATED_POINT}/record.json",
    log:
        f"{OUT}/logs/train_federated/{FEDERATED_POINT}.log",
    benchmark:
        f"{OUT}/benchmarks/train_federated/{FEDERATED_POINT}.tsv"
    conda:
        "../environment.yml"
    threads: len(SITES) * config["training"]["threads"]
    resources:
        mem_mb=2000 + 2000 * len(SITES),
        runtime=240,
        gpu=0 if config["training"]["device"] == "cpu" else 1,
    params:
        folders=site_folders(),
        shared=site_folders(["shared"]),
        settings=settings_of,
        timeouts=lookup("federation", within=config),
        live=f"{OUT}/tensorboard/federated/{FEDERATED_POINT}",
        folder=subpath(output.model, parent=True),
    shell:
        "python scripts/train_federated.py --kits {input.kits:q} --sites {params.folders:q}"
        " --shared {params.shared:q} --settings {params.settings:q} --rounds {wildcards.rounds}"
        " --local-epochs {wildcards.local_epochs} --start-timeout-s {params.timeouts[start_timeout_s]}"
        " --round-timeout-s {params.timeouts[round_timeout_s]} --tensorboard {params.live:q}"
        " --output {params.folder:q} 2>&1 | tee {log:q}"


rule train_central:
    input:
        code=code("train_central"),
        sites=site_files("images.npy", "images.csv", "card.json"),
    output:
        model=f"{OUT}/runs/central/{POINT}/model.safetensors",
        metrics=f"{OUT}/runs/central/{POINT}/metrics.csv",
        record=f"{OUT}/runs/central/{POINT}/record.json",
    log:
        f"{OUT}/logs/train_central/{POINT}.log",
    benchmark:
        f"{OUT}/benchmarks/train_central/{POINT}.tsv"
    conda:
        "../environment.yml"
    threads: config["training"]["threads"]
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=0 if config["training"]["device"] == "cpu" else 1,
    params:
        folders=site_folders(),
        settings=settings_of,
        folder=subpath(output.model, parent=True),
    shell:
        "python scripts/train_central.py --sites {params.folders:q} --settings {params.settings:q}"
        " --output {params.folder:q} 2>&1 | tee {log:q}"


rule train_local:
    input:
        code=code("train_local"),
        images=f"{OUT}/sites/{{site}}/images.npy",
        table=f"{OUT}/sites/{{site}}/images.csv",
        card=f"{OUT}/sites/{{site}}/card.json",
    output:
        model=f"{OUT}/runs/local/{POINT}/{{site}}/model.safetensors",
        metrics=f"{OUT}/runs/local/{POINT}/{{site}}/metrics.csv",
        record=f"{OUT}/runs/local/{POINT}/{{site}}/record.json",
    log:
        f"{OUT}/logs/train_local/{POINT}/{{site}}.log",
    benchmark:
        f"{OUT}/benchmarks/train_local/{POINT}/{{site}}.tsv"
    conda:
        "../environment.yml"
    threads: config["training"]["threads"]
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=0 if config["training"]["device"] == "cpu" else 1,
    params:
        site=subpath(input.card, parent=True),
        settings=settings_of,
        folder=subpath(output.model, parent=True),
    shell:
        "python scripts/train_local.py --site {params.site:q} --settings {params.settings:q}"
        " --output {params.folder:q} 2>&1 | tee {log:q}"
