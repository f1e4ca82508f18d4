# From a source of images to each site's own data: catalogue, pixels, cohort, sites.

SOURCE = datasets.get(config["dataset"]["source"])
try:
    OWN_IMAGES = SOURCE.path(config["dataset"])  # empty if a rule makes the images
except UserError as error:
    sys.exit(f"error: {error}")
# The user's own images are dated by their content, and not by the time of the folder or archive.
IMAGES = ancient(OWN_IMAGES) if OWN_IMAGES else AT.images
CONTENT = Content(Path(".snakemake") / "fedxray-content", look=workflow.is_main_process)


def content(wildcards):
    """A parameter: a digest of the user's own images; empty if a rule makes them."""
    return CONTENT.digest(OWN_IMAGES, AT.catalogue) if OWN_IMAGES else ""


if SOURCE.rule == "draw_phantom":

    rule draw_phantom:
        output:
            images=AT.images,
        log:
            AT.log("draw_phantom"),
        benchmark:
            AT.benchmark("draw_phantom")
        group:
            "prepare"
        threads: 8
        resources:
            mem_mb=growing(2000),
            runtime=growing(30),
        params:
            **step("draw_phantom"),
            patients=config["dataset"]["phantom"]["patients"],
            seed=config["dataset"]["phantom"]["seed"],
        shell:
            "python {params.script:q} --patients {params.patients} --seed {params.seed}"
            " --processes {threads} --output {output.images:q} 2>&1 | tee {log:q}"


if SOURCE.rule == "fetch_kaggle" and not OWN_IMAGES:

    rule fetch_kaggle:
        output:
            images=AT.images,
        log:
            AT.log("fetch_kaggle"),
        benchmark:
            AT.benchmark("fetch_kaggle")
        localrule: True  # a cluster's nodes have no internet
        threads: 1
        resources:
            mem_mb=growing(500),
            runtime=growing(240),
        params:
            **step("fetch_kaggle"),
            dataset=SOURCE.handle,
        shell:
            "python {params.script:q} --dataset {params.dataset:q} --output {output.images:q} 2>&1 | tee {log:q}"


rule catalogue_images:
    input:
        images=IMAGES,
    output:
        catalogue=AT.catalogue,
        summary=AT.catalogue_summary,
    log:
        AT.log("catalogue_images"),
    benchmark:
        AT.benchmark("catalogue_images")
    group:
        "prepare"
    threads: 8
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        **step("catalogue_images"),
        content=content,
        bad_images=config["dataset"]["bad_images"],
    shell:
        "python {params.script:q} --source {input.images:q} --bad-images {params.bad_images}"
        " --processes {threads} --output {output.catalogue:q} --summary {output.summary:q} 2>&1 | tee {log:q}"


rule resample_images:
    input:
        images=IMAGES,
        catalogue=AT.catalogue,
    output:
        pixels=AT.pixels,
    log:
        AT.log("resample_images"),
    benchmark:
        AT.benchmark("resample_images")
    group:
        "prepare"
    threads: 8
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        **step("resample_images"),
        content=content,
        size=config["image_size"],
    shell:
        "python {params.script:q} --source {input.images:q} --catalogue {input.catalogue:q}"
        " --size {params.size} --processes {threads} --output {output.pixels:q} 2>&1 | tee {log:q}"


rule draw_cohort:
    input:
        catalogue=AT.catalogue,
    output:
        split=COHORT.split,
        settings=COHORT.settings,
    log:
        AT.log("draw_cohort/{cohort}"),
    benchmark:
        AT.benchmark("draw_cohort/{cohort}")
    group:
        "prepare"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        **step("draw_cohort"),
        split=lambda wildcards: COHORTS[wildcards.cohort].split,
        sites=lambda wildcards: list(COHORTS[wildcards.cohort].sites),
    shell:
        "python {params.script:q} --catalogue {input.catalogue:q} --sites {params.sites:q}"
        " --seed {params.split[seed]} --test {params.split[test]} --test-fraction {params.split[test_fraction]}"
        " --validation-fraction {params.split[validation_fraction]} --balance {params.split[balance]}"
        " --partition {params.split[partition]} --alpha {params.split[alpha]} --power {params.split[power]}"
        " --viral-share {params.split[viral_share]} --output {output.split:q} --settings {output.settings:q} 2>&1"
        " | tee {log:q}"


rule check_split:
    input:
        split=COHORT.split,
    output:
        counts=COHORT.counts,
        heterogeneity=COHORT.heterogeneity,
    log:
        AT.log("check_split/{cohort}"),
    benchmark:
        AT.benchmark("check_split/{cohort}")
    group:
        "prepare"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        **step("check_split"),
        sites=lambda wildcards: list(COHORTS[wildcards.cohort].sites),
    shell:
        "python {params.script:q} --split {input.split:q} --sites {params.sites:q}"
        " --output {output.counts:q} --heterogeneity {output.heterogeneity:q} 2>&1 | tee {log:q}"


rule make_site:
    input:
        split=of_cohort("split"),
        settings=of_cohort("settings"),
        checked=of_cohort("counts"),
        pixels=AT.pixels,
        summary=AT.catalogue_summary,
    output:
        images=SITE.images,
        table=SITE.table,
        card=SITE.card,
    log:
        AT.log("make_site/{site}"),
    benchmark:
        AT.benchmark("make_site/{site}")
    group:
        "prepare"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        **step("make_site"),
        name=lambda wildcards: SITES[wildcards.site][1],
        folder=subpath(output.card, parent=True),
    shell:
        "python {params.script:q} --split {input.split:q} --pixels {input.pixels:q} --site {params.name}"
        " --summary {input.summary:q} --split-settings {input.settings:q} --output {params.folder:q} 2>&1 | tee {log:q}"


# The registry: one row for each data set. A later study can name the data by it, and training depends on it.
rule list_sites:
    input:
        cards=every_card(shared=True),
    output:
        registry=AT.registry,
    log:
        AT.log("list_sites"),
    benchmark:
        AT.benchmark("list_sites")
    group:
        "prepare"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(5),
    params:
        **step("list_sites"),
        cohorts=shlex.join(
            cohort.name for cohort in EXPERIMENT.cohorts for _ in cards(cohort, True)
        ),
    shell:
        "python {params.script:q} --cards {input.cards:q} --cohorts {params.cohorts} --output {output.registry:q} 2>&1"
        " | tee {log:q}"
