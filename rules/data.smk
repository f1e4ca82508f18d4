# From the sources of images to each site's own data: catalogue, pixels, cohort, sites.

DATA = DataFolder(AT.root / "{source}")


wildcard_constraints:
    source="(data|external)(/[^/]+)?",


rule draw_phantom:
    output:
        images=str(DATA.images).replace(
            "{source}", f"{{source,{made_by('draw_phantom')}}}"
        ),
    log:
        AT.log("draw_phantom/{source}"),
    benchmark:
        AT.benchmark("draw_phantom/{source}")
    group:
        "prepare"
    threads: 8
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        **step("draw_phantom"),
        phantom=lambda wildcards: SOURCES[wildcards.source].section["phantom"],
    shell:
        "python {params.script:q} --patients {params.phantom[patients]} --seed {params.phantom[seed]}"
        " --second {params.phantom[second][patients]} --pneumonia {params.phantom[second][pneumonia]}"
        " --processes {threads} --output {output.images:q} > {log:q} 2>&1"


rule fetch_kaggle:
    output:
        images=str(DATA.images).replace(
            "{source}", f"{{source,{made_by('fetch_kaggle')}}}"
        ),
    log:
        AT.log("fetch_kaggle/{source}"),
    benchmark:
        AT.benchmark("fetch_kaggle/{source}")
    localrule: True  # a cluster's nodes have no internet
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(240),
    params:
        **step("fetch_kaggle"),
        handle=lambda wildcards: SOURCES[wildcards.source].dataset.handle,
    shell:
        "python {params.script:q} --dataset {params.handle:q} --output {output.images:q} > {log:q} 2>&1"


# The account of every file is a table and a page beside the catalogue.
rule catalogue_images:
    input:
        images=images_of,
    output:
        catalogue=DATA.catalogue,
        summary=DATA.summary,
        account=DATA.account,
        page=shown(DATA.page, "account"),
    log:
        AT.log("catalogue_images/{source}"),
    benchmark:
        AT.benchmark("catalogue_images/{source}")
    group:
        "prepare"
    threads: 8
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        **step("catalogue_images"),
        content=kept(content_of),
        reading=kept(read_by),
        title=lambda wildcards: SOURCES[wildcards.source].dataset.title,
        salt=str(AT.salt),
    shell:
        "python {params.script:q} --source={input.images:q} --title {params.title:q} --processes {threads}"
        " {params.reading} --salt={params.salt:q} --output {output.catalogue:q} --summary {output.summary:q}"
        " --account {output.account:q} --page {output.page:q} > {log:q} 2>&1"


rule resample_images:
    input:
        images=images_of,
        catalogue=DATA.catalogue,
        summary=DATA.summary,
    output:
        pixels=DATA.pixels,
    log:
        AT.log("resample_images/{source}"),
    benchmark:
        AT.benchmark("resample_images/{source}")
    group:
        "prepare"
    threads: 8
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        **step("resample_images"),
        content=kept(content_of),
        size=config["image_size"],
        fit=config["fit"],
    shell:
        "python {params.script:q} --source={input.images:q} --catalogue {input.catalogue:q} --summary {input.summary:q}"
        " --size {params.size} --fit {params.fit} --processes {threads} --output {output.pixels:q} > {log:q} 2>&1"


rule draw_cohort:
    input:
        catalogue=[data.catalogue for data in TRAINED_ON.values()],
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
        sources=list(TRAINED_ON),
        patients=[
            source.patients
            for folder, source in SOURCES.items()
            if folder.startswith("data")
        ],
        split=lambda wildcards: COHORTS[wildcards.cohort].split,
        sites=lambda wildcards: list(COHORTS[wildcards.cohort].sites),
        waves=lambda wildcards: shlex.join(
            ["--train-waves", *map(str, COHORTS[wildcards.cohort].waves)]
            if COHORTS[wildcards.cohort].waves
            else []
        ),
    shell:
        "python {params.script:q} --catalogue {input.catalogue:q} --sources {params.sources:q}"
        " --patients {params.patients:q}"
        " --sites {params.sites:q} --seed {params.split[seed]} --test {params.split[test]} --test-fraction {params.split[test_fraction]}"
        " --validation-fraction {params.split[validation_fraction]} --balance {params.split[balance]}"
        " --partition {params.split[partition]} --alpha {params.split[alpha]} --power {params.split[power]}"
        " --viral-share {params.split[viral_share]} --conflicts {params.split[conflicts]} {params.waves} --output {output.split:q} --settings {output.settings:q}"
        " > {log:q} 2>&1"


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
        " --output {output.counts:q} --heterogeneity {output.heterogeneity:q} > {log:q} 2>&1"


rule make_site:
    input:
        split=of_cohort("split"),
        settings=of_cohort("settings"),
        checked=of_cohort("counts"),
        pixels=[data.pixels for data in TRAINED_ON.values()],
        summary=[data.summary for data in TRAINED_ON.values()],
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
        fit=config["fit"],
        trouble=lambda wildcards: shlex.join(
            f"--trouble-{name}={value}"
            for name, value in SITES[wildcards.site][0].trouble.items()
        ),
    shell:
        "python {params.script:q} --split {input.split:q} --pixels {input.pixels:q} --site {params.name} {params.trouble}"
        " --summary {input.summary:q} --split-settings {input.settings:q} --fit {params.fit} --output {params.folder:q} > {log:q} 2>&1"


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
        "python {params.script:q} --cards {input.cards:q} --cohorts {params.cohorts} --output {output.registry:q}"
        " > {log:q} 2>&1"
