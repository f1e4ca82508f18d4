# One run for each mode, point and cohort, with the same trainer and the same number of passes over the data.


if not ONCE:

    rule train_federated:
        input:
            kits=AT.kits,
            data=data("federated"),
            initial=initial("federated"),
        output:
            model=run_folder("federated").model,
            curves=run_folder("federated").curves,
            record=run_folder("federated").record,
        log:
            AT.log(f"train/federated/{JOBS['federated']}"),
        benchmark:
            AT.benchmark(f"train/federated/{JOBS['federated']}")
        threads: len(config["sites"]) * config["training"]["threads"]
        # The timeouts are here and not among the params, because other times give the same model.
        resources:
            mem_mb=growing(2000 + 2000 * len(config["sites"])),
            runtime=growing(240),
            gpu=GPU,
            start_timeout_s=config["federation"]["start_timeout_s"],
            round_timeout_s=config["federation"]["round_timeout_s"],
        params:
            **step("train_federated"),
            sites=site_cards("federated"),
            shared=shared_card("federated"),
            options=options("federated"),
            live=live("federated"),
            absent=config["federation"]["absent"],
            min_sites=config["federation"]["min_sites"],
        shell:
            "python {params.script:q} --kits {input.kits:q} --sites {params.sites:q} --shared {params.shared:q}"
            " --start-timeout-s {resources.start_timeout_s} --round-timeout-s {resources.round_timeout_s}"
            " --absent {params.absent} --min-sites {params.min_sites} --live {params.live:q}"
            " {params.options} --output {output.model:q} > {log:q} 2>&1"

else:

    # This rule is for sweeps: confirm_federated repeats the chosen runs by a real federation.
    rule train_inprocess:
        input:
            data=data("federated"),
            initial=initial("federated"),
        output:
            model=run_folder("federated").model,
            curves=run_folder("federated").curves,
            record=run_folder("federated").record,
        log:
            AT.log(f"train/federated/{JOBS['federated']}"),
        benchmark:
            AT.benchmark(f"train/federated/{JOBS['federated']}")
        threads: config["training"]["threads"]
        resources:
            mem_mb=growing(4000),
            runtime=growing(240),
            gpu=GPU,
        params:
            **step("train_inprocess"),
            sites=site_cards("federated"),
            shared=shared_card("federated"),
            live=live("federated"),
            options=options("federated"),
        shell:
            "python {params.script:q} --sites {params.sites:q} --shared {params.shared:q} {params.options}"
            " --live {params.live:q} --output {output.model:q} > {log:q} 2>&1"


rule train_central:
    input:
        data=data("central"),
        initial=initial("central"),
    output:
        model=run_folder("central").model,
        curves=run_folder("central").curves,
        record=run_folder("central").record,
    log:
        AT.log(f"train/central/{JOBS['central']}"),
    benchmark:
        AT.benchmark(f"train/central/{JOBS['central']}")
    threads: config["training"]["threads"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        gpu=GPU,
    params:
        **step("train_central"),
        sites=site_cards("central"),
        live=live("central"),
        options=options("central"),
    shell:
        "python {params.script:q} --sites {params.sites:q} {params.options}"
        " --live {params.live:q} --output {output.model:q} > {log:q} 2>&1"


# One job trains all hospitals of a point, one after the other: together they take as long as central training. Its
# output is a folder, because cohorts may differ in their number of hospitals.
rule train_alone:
    input:
        data=data("alone"),
        initial=initial("alone"),
    output:
        runs=directory(run_folder("alone").path),
    log:
        AT.log(f"train/alone/{JOBS['alone']}"),
    benchmark:
        AT.benchmark(f"train/alone/{JOBS['alone']}")
    threads: config["training"]["threads"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        gpu=GPU,
    params:
        **step("train_alone"),
        sites=site_cards("alone"),
        live=live("alone"),
        options=options("alone"),
    shell:
        "python {params.script:q} --sites {params.sites:q} {params.options}"
        " --live {params.live:q} --output {output.runs:q} > {log:q} 2>&1"


if "coalition" in EXPERIMENT.modes:

    # What each hospital brings: one job trains all coalitions of a point, in one process.
    rule train_coalitions:
        input:
            data=data("coalition"),
            initial=initial("coalition"),
        output:
            runs=directory(run_folder("coalition").path),
        log:
            AT.log(f"train/coalition/{JOBS['coalition']}"),
        benchmark:
            AT.benchmark(f"train/coalition/{JOBS['coalition']}")
        threads: config["training"]["threads"]
        resources:
            mem_mb=growing(4000),
            runtime=growing(480),
            gpu=GPU,
        params:
            **step("train_coalitions"),
            sites=site_cards("coalition"),
            shared=shared_card("coalition"),
            live=live("coalition"),
            options=options("coalition"),
        shell:
            "python {params.script:q} --sites {params.sites:q} --shared {params.shared:q} {params.options}"
            " --live {params.live:q} --output {output.runs:q} > {log:q} 2>&1"
