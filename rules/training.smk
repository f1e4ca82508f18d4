# One run per mode, point and cohort, with the same trainer and the same number of passes over the data.

CENTRAL = PATTERNS["central"]

if config["federation"]["engine"] == "nvflare":

    rule train_federated:
        input:
            kits=KITS,
            data=DATA,
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
            code=code(
                "train_federated",
                "fedxray/federation/client.py",
                "fedxray/federation/server.py",
            ),
            sites=CARDS,
            shared=f"{OUT}/sites/{{cohort}}shared/card.json",
            settings=settings_of(FEDERATED),
            live=f"{OUT}/tensorboard/{FEDERATED}",
            absent=config["federation"]["absent"],
            min_sites=config["federation"]["min_sites"],
        shell:
            "python scripts/train_federated.py --kits {input.kits:q} --sites {params.sites:q}"
            " --shared {params.shared:q} --settings {params.settings:q} --rounds {wildcards.rounds}"
            " --local-epochs {wildcards.local_epochs} --start-timeout-s {resources.start_timeout_s}"
            " --round-timeout-s {resources.round_timeout_s} --absent {params.absent}"
            " --min-sites {params.min_sites} --tensorboard {params.live:q}"
            " --output {output.model:q} 2>&1 | tee {log:q}"

else:

    # For sweeps; confirm_federated repeats the chosen runs by a real federation.
    rule train_inprocess:
        input:
            data=DATA,
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
        threads: config["training"]["threads"]
        resources:
            mem_mb=growing(4000),
            runtime=growing(240),
            gpu=GPU,
        params:
            code=code("train_inprocess"),
            sites=CARDS,
            shared=f"{OUT}/sites/{{cohort}}shared/card.json",
            settings=settings_of(FEDERATED),
        shell:
            "python scripts/train_inprocess.py --sites {params.sites:q} --shared {params.shared:q}"
            " --settings {params.settings:q} --rounds {wildcards.rounds} --local-epochs {wildcards.local_epochs}"
            " --output {output.model:q} 2>&1 | tee {log:q}"


rule train_central:
    input:
        data=DATA,
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
        code=code("train_central"),
        sites=CARDS,
        settings=settings_of(CENTRAL),
    shell:
        "python scripts/train_central.py --sites {params.sites:q} --settings {params.settings:q}"
        " --output {output.model:q} 2>&1 | tee {log:q}"


# All hospitals of a point in one job, one after the other: together they take as long as central training. Its output is
# a folder, because cohorts may differ in their number of hospitals.
rule train_alone:
    input:
        data=DATA,
    output:
        runs=directory(f"{OUT}/runs/{ALONE}"),
    log:
        f"{OUT}/logs/train/{ALONE}.log",
    benchmark:
        f"{OUT}/benchmarks/train/{ALONE}.tsv"
    conda:
        "../environment.yml"
    threads: config["training"]["threads"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        gpu=GPU,
    params:
        code=code("train_alone"),
        sites=CARDS,
        settings=settings_of(ALONE),
    shell:
        "python scripts/train_alone.py --sites {params.sites:q} --settings {params.settings:q}"
        " --output {output.runs:q} 2>&1 | tee {log:q}"
