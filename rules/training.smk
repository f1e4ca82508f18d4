# One run per mode, point and cohort, with the same trainer and the same number of passes over the data.


def cards_of(wildcards):
    """The data card of each site of a run's cohort."""
    return cards(cohort_of(wildcards))


def shared_of(wildcards):
    """The data card of the validation set of a run's cohort."""
    return SiteFolder(AT.site(cohort_of(wildcards), "shared")).card


def data_of(wildcards):
    """The data that training on a cohort depends on."""
    return [*cards_of(wildcards), shared_of(wildcards)]


# Training takes the sites' cards as parameters. Its input, where there is one cohort, is the registry, which has the
# checksums of all cards: one file a job and not four.
if len(EXPERIMENT.cohorts) == 1:
    (only,) = EXPERIMENT.cohorts
    CARDS, DATA = cards(only), AT.registry
    SHARED = SiteFolder(AT.site(only, "shared")).card
else:
    CARDS, SHARED, DATA = kept(cards_of), kept(shared_of), kept(data_of)


if not ONCE:

    rule train_federated:
        input:
            kits=AT.kits,
            data=DATA,
        output:
            model=RUN.model,
            curves=RUN.curves,
            record=RUN.record,
        log:
            AT.log("{run}"),
        benchmark:
            AT.benchmark("{run}")
        wildcard_constraints:
            run="runs/federated/.+",
        threads: len(config["sites"]) * config["training"]["threads"]
        # The timeouts are here and not among the params, because another patience gives the same model.
        resources:
            mem_mb=growing(2000 + 2000 * len(config["sites"])),
            runtime=growing(240),
            gpu=GPU,
            start_timeout_s=config["federation"]["start_timeout_s"],
            round_timeout_s=config["federation"]["round_timeout_s"],
        params:
            **step("train_federated"),
            sites=CARDS,
            shared=SHARED,
            settings=settings,
            schedule=kept(schedule_of),
            live=kept(lambda wildcards: AT.live / RUNS[wildcards.run].path),
            absent=config["federation"]["absent"],
            min_sites=config["federation"]["min_sites"],
        shell:
            "python {params.script:q} --kits {input.kits:q} --sites {params.sites:q} --shared {params.shared:q}"
            " --start-timeout-s {resources.start_timeout_s} --round-timeout-s {resources.round_timeout_s}"
            " --absent {params.absent} --min-sites {params.min_sites} --live {params.live:q}"
            " {params.schedule} {params.settings:q} --output {output.model:q} 2>&1 | tee {log:q}"

else:

    # For sweeps; confirm_federated repeats the chosen runs by a real federation.
    rule train_inprocess:
        input:
            data=DATA,
        output:
            model=RUN.model,
            curves=RUN.curves,
            record=RUN.record,
        log:
            AT.log("{run}"),
        benchmark:
            AT.benchmark("{run}")
        wildcard_constraints:
            run="runs/federated/.+",
        threads: config["training"]["threads"]
        resources:
            mem_mb=growing(4000),
            runtime=growing(240),
            gpu=GPU,
        params:
            **step("train_inprocess"),
            sites=CARDS,
            shared=SHARED,
            settings=settings,
            schedule=kept(schedule_of),
        shell:
            "python {params.script:q} --sites {params.sites:q} --shared {params.shared:q} {params.schedule}"
            " {params.settings:q} --output {output.model:q} 2>&1 | tee {log:q}"


rule train_central:
    input:
        data=DATA,
    output:
        model=RUN.model,
        curves=RUN.curves,
        record=RUN.record,
    log:
        AT.log("{run}"),
    benchmark:
        AT.benchmark("{run}")
    wildcard_constraints:
        run="runs/central/.+",
    threads: config["training"]["threads"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        gpu=GPU,
    params:
        **step("train_central"),
        sites=CARDS,
        settings=settings,
    shell:
        "python {params.script:q} --sites {params.sites:q} {params.settings:q} --output {output.model:q} 2>&1"
        " | tee {log:q}"


# All hospitals of a point in one job, one after the other: together they take as long as central training. Its output is
# a folder, because cohorts may differ in their number of hospitals.
rule train_alone:
    input:
        data=DATA,
    output:
        runs=directory(RUN.path),
    log:
        AT.log("{run}"),
    benchmark:
        AT.benchmark("{run}")
    wildcard_constraints:
        run="runs/alone/.+",
    threads: config["training"]["threads"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        gpu=GPU,
    params:
        **step("train_alone"),
        sites=CARDS,
        settings=settings,
    shell:
        "python {params.script:q} --sites {params.sites:q} {params.settings:q} --output {output.runs:q} 2>&1"
        " | tee {log:q}"
