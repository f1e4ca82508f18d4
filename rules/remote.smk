# A federation whose server and sites are other machines: they train and evaluate, and this one sees no site's data.

# How long to wait for what. Not among the params, because other times give the same result.
REACH = {
    f"federation_{key}": config["federation"][key]
    for key in ["start_timeout_s", "round_timeout_s", "patience_s"]
}
FEDERATION = (
    "--admin-kit {params.kit:q} --sites {params.sites:q}"
    " --start-timeout-s {resources.federation_start_timeout_s}"
    " --round-timeout-s {resources.federation_round_timeout_s}"
    " --patience-s {resources.federation_patience_s}"
)
ADMIN = {
    "kit": config["federation"]["admin_kit"],
    "sites": config["sites"],
}


# This rule runs again for a new site, a new wave of patients and a new version of its code, and stops if a site's data
# have changed. Delete the file, and all sites are asked for what they have now.
rule register_sites:
    output:
        registry=update(str(AT.registry)),
    log:
        AT.log("register_sites"),
    benchmark:
        AT.benchmark("register_sites")
    threads: 1
    resources:
        **REACH,
        mem_mb=1000,
        runtime=60,
    params:
        **step("register_sites"),
        **ADMIN,
        image_size=config["image_size"],
        fit=config["fit"],
        waves=config["federation"]["waves"],
    shell:
        f"python {{params.script:q}} {FEDERATION} --image-size {{params.image_size}} --fit {{params.fit}}"
        " --waves {params.waves}"
        " --output {output.registry:q} > {log:q} 2>&1"


rule train_remote:
    input:
        registry=AT.registry,
        initial=START,
    output:
        model=run_folder("federated").model,
        curves=run_folder("federated").curves,
        record=run_folder("federated").record,
    log:
        AT.log(f"train/federated/{JOBS['federated']}"),
    benchmark:
        AT.benchmark(f"train/federated/{JOBS['federated']}")
    threads: 1
    resources:
        **REACH,
        mem_mb=2000,
        runtime=10000,
    params:
        **step("train_remote"),
        **ADMIN,
        absent=config["federation"]["absent"],
        min_sites=config["federation"]["min_sites"],
        options=options("federated"),
        live=f"{config['experiment']}/federated/{JOBS['federated']}",
    shell:
        f"python {{params.script:q}} {FEDERATION} --registry {{input.registry:q}} --absent {{params.absent}}"
        " --min-sites {params.min_sites} --live {params.live:q} {params.options}"
        " --output {output.model:q} > {log:q} 2>&1"


rule train_alone_remote:
    input:
        registry=AT.registry,
        initial=START,
    output:
        runs=directory(run_folder("alone").path),
    log:
        AT.log(f"train/alone/{JOBS['alone']}"),
    benchmark:
        AT.benchmark(f"train/alone/{JOBS['alone']}")
    threads: 1
    resources:
        **REACH,
        mem_mb=2000,
        runtime=10000,
    params:
        **step("train_alone_remote"),
        **ADMIN,
        options=options("alone"),
        # Where nobody may see one hospital's model, those of hospitals alone stay there.
        stays="--stays" if config["privacy"]["secure_aggregation"] else "",
        live=f"{config['experiment']}/alone/{JOBS['alone']}",
    shell:
        f"python {{params.script:q}} {FEDERATION} --registry {{input.registry:q}} --live {{params.live:q}}"
        " {params.stays} {params.options} --output {output.runs:q} > {log:q} 2>&1"


# This rule is the first that reads a test set, at the hospitals.
rule evaluate_remote:
    input:
        registry=AT.registry,
        points=AT.points,
        gate=[AT.gate_rules] * GATED,
    output:
        metrics=shown(AT.at_sites, "at_sites"),
        chosen=AT.chosen,
    log:
        AT.log("evaluate_remote"),
    benchmark:
        AT.benchmark("evaluate_remote")
    threads: 1
    resources:
        **REACH,
        mem_mb=2000,
        runtime=1000,
    params:
        **step("evaluate_remote"),
        **ADMIN,
        results=AT.root,
    shell:
        f"python {{params.script:q}} {FEDERATION} --registry {{input.registry:q}} --points {{input.points:q}}"
        " --results {params.results:q} --output {output.metrics:q} --chosen {output.chosen:q} > {log:q} 2>&1"


if GATED:

    # Whether the exported model may replace its predecessor: each hospital compares both, and sends numbers alone.
    rule judge_remote:
        input:
            rules=AT.gate_rules,
            registry=AT.registry,
            chosen=AT.chosen,
            model=AT.model / "model.safetensors",
            config=AT.model / "config.json",
            predecessor=Path(PREDECESSOR) / "model.safetensors",
        output:
            gate=shown(AT.gate, "gate"),
        log:
            AT.log("judge_remote"),
        benchmark:
            AT.benchmark("judge_remote")
        threads: 1
        resources:
            **REACH,
            mem_mb=2000,
            runtime=1000,
        params:
            **step("judge_remote"),
            **ADMIN,
            results=AT.root,
            before=PREDECESSOR,
        shell:
            f"python {{params.script:q}} {FEDERATION} --registry {{input.registry:q}} --rules {{input.rules:q}}"
            " --predecessor {params.before:q} --results {params.results:q} --output {output.gate:q} > {log:q} 2>&1"
