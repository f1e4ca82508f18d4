# From a source of images to each site's own data: catalogue, pixels, cohort, sites.

SOURCE = config["dataset"]["source"]

if SOURCE == "folder":
    IMAGES = config["dataset"]["folder"]
elif SOURCE == "kaggle" and config["dataset"]["archive"]:
    IMAGES = config["dataset"]["archive"]
else:
    IMAGES = f"{OUT}/data/images.zip"

if IMAGES != f"{OUT}/data/images.zip" and not Path(IMAGES).exists():
    key = "folder" if SOURCE == "folder" else "archive"
    sys.exit(f"error: config: dataset.{key}: {IMAGES} does not exist; mend the path")


if SOURCE == "phantom":

    rule draw_phantom:
        output:
            images=f"{OUT}/data/images.zip",
        log:
            f"{OUT}/logs/draw_phantom.log",
        benchmark:
            f"{OUT}/benchmarks/draw_phantom.tsv"
        group:
            "prepare"
        conda:
            "../environment.yml"
        threads: 8
        resources:
            mem_mb=growing(2000),
            runtime=growing(30),
        params:
            code=code("draw_phantom"),
            patients=config["dataset"]["phantom"]["patients"],
            seed=config["dataset"]["phantom"]["seed"],
        shell:
            "python scripts/draw_phantom.py --patients {params.patients} --seed {params.seed}"
            " --processes {threads} --output {output.images:q} 2>&1 | tee {log:q}"


if IMAGES == f"{OUT}/data/images.zip" and SOURCE == "kaggle":

    rule fetch_kaggle:
        output:
            images=f"{OUT}/data/images.zip",
        log:
            f"{OUT}/logs/fetch_kaggle.log",
        benchmark:
            f"{OUT}/benchmarks/fetch_kaggle.tsv"
        localrule: True  # a cluster's nodes have no internet
        conda:
            "../environment.yml"
        threads: 1
        resources:
            mem_mb=growing(500),
            runtime=growing(240),
        params:
            code=code("fetch_kaggle"),
            dataset="paultimothymooney/chest-xray-pneumonia",
        shell:
            "python scripts/fetch_kaggle.py --dataset {params.dataset:q} --output {output.images:q}"
            " 2>&1 | tee {log:q}"


rule catalogue_images:
    input:
        images=IMAGES,
    output:
        catalogue=f"{OUT}/data/catalogue.csv",
        summary=f"{OUT}/data/catalogue.json",
    log:
        f"{OUT}/logs/catalogue_images.log",
    benchmark:
        f"{OUT}/benchmarks/catalogue_images.tsv"
    group:
        "prepare"
    conda:
        "../environment.yml"
    threads: 8
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        code=code("catalogue_images"),
        bad_images=config["dataset"]["bad_images"],
    shell:
        "python scripts/catalogue_images.py --source {input.images:q} --bad-images {params.bad_images}"
        " --processes {threads} --output {output.catalogue:q} --summary {output.summary:q} 2>&1 | tee {log:q}"


rule resample_images:
    input:
        images=IMAGES,
        catalogue=rules.catalogue_images.output.catalogue,
    output:
        pixels=f"{OUT}/data/pixels.npy",
    log:
        f"{OUT}/logs/resample_images.log",
    benchmark:
        f"{OUT}/benchmarks/resample_images.tsv"
    group:
        "prepare"
    conda:
        "../environment.yml"
    threads: 8
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        code=code("resample_images"),
        size=config["image_size"],
    shell:
        "python scripts/resample_images.py --source {input.images:q} --catalogue {input.catalogue:q}"
        " --size {params.size} --processes {threads} --output {output.pixels:q} 2>&1 | tee {log:q}"


# {cohort} is empty, or the folder of a cohort that the sweep has, such as partition=dirichlet,alpha=0.1/
rule draw_cohort:
    input:
        catalogue=rules.catalogue_images.output.catalogue,
    output:
        split=f"{OUT}/cohort/{{cohort}}split.csv",
    log:
        f"{OUT}/logs/draw_cohort/{{cohort}}split.log",
    benchmark:
        f"{OUT}/benchmarks/draw_cohort/{{cohort}}split.tsv"
    group:
        "prepare"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        code=code("draw_cohort"),
        split=lambda wildcards: sweep.cohort_settings(wildcards.cohort, config),
        sites=lambda wildcards: sweep.sites_of(wildcards.cohort, config),
    shell:
        "python scripts/draw_cohort.py --catalogue {input.catalogue:q} --sites {params.sites:q}"
        " --seed {params.split[seed]} --test {params.split[test]} --test-fraction {params.split[test_fraction]}"
        " --validation-fraction {params.split[validation_fraction]} --balance {params.split[balance]}"
        " --partition {params.split[partition]} --alpha {params.split[alpha]} --power {params.split[power]}"
        " --viral-share {params.split[viral_share]} --output {output.split:q} 2>&1 | tee {log:q}"


rule check_split:
    input:
        split=rules.draw_cohort.output.split,
    output:
        counts=f"{OUT}/cohort/{{cohort}}counts.csv",
        heterogeneity=f"{OUT}/cohort/{{cohort}}heterogeneity.json",
    log:
        f"{OUT}/logs/check_split/{{cohort}}split.log",
    benchmark:
        f"{OUT}/benchmarks/check_split/{{cohort}}split.tsv"
    group:
        "prepare"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        code=code("check_split"),
        sites=lambda wildcards: sweep.sites_of(wildcards.cohort, config),
    shell:
        "python scripts/check_split.py --split {input.split:q} --sites {params.sites:q}"
        " --output {output.counts:q} --heterogeneity {output.heterogeneity:q} 2>&1 | tee {log:q}"


rule make_site:
    input:
        split=rules.draw_cohort.output.split,
        checked=rules.check_split.output.counts,
        pixels=rules.resample_images.output.pixels,
        summary=rules.catalogue_images.output.summary,
    output:
        images=f"{OUT}/sites/{{cohort}}{{site}}/images.npy",
        table=f"{OUT}/sites/{{cohort}}{{site}}/images.csv",
        card=f"{OUT}/sites/{{cohort}}{{site}}/card.json",
    log:
        f"{OUT}/logs/make_site/{{cohort}}{{site}}.log",
    benchmark:
        f"{OUT}/benchmarks/make_site/{{cohort}}{{site}}.tsv"
    group:
        "prepare"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        code=code("make_site"),
        provenance=lambda wildcards: json.dumps(
            {"split": sweep.cohort_settings(wildcards.cohort, config)}
        ),
    shell:
        "python scripts/make_site.py --split {input.split:q} --pixels {input.pixels:q} --site {wildcards.site:q}"
        " --summary {input.summary:q} --provenance {params.provenance:q}"
        " --images {output.images:q} --table {output.table:q} --card {output.card:q} 2>&1 | tee {log:q}"


# What each site holds, as one table: the data sets as assets that a later study can name, and that training depends on.
rule list_sites:
    input:
        cards=every_card(shared=True),
    output:
        registry=REGISTRY,
    log:
        f"{OUT}/logs/list_sites.log",
    benchmark:
        f"{OUT}/benchmarks/list_sites.tsv"
    group:
        "prepare"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(5),
    params:
        code=code("list_sites"),
    shell:
        "python scripts/list_sites.py --cards {input.cards:q} --output {output.registry:q} 2>&1 | tee {log:q}"
