# The federation's project and startup kits: made once, and untouched by any change of training.


rule render_project:
    input:
        template="config/project.yml",
    output:
        project=f"{OUT}/federation/project.yml",
    log:
        f"{OUT}/logs/render_project.log",
    benchmark:
        f"{OUT}/benchmarks/render_project.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code("render_project"),
        sites=config["sites"],
    shell:
        "python scripts/render_project.py --template {input.template:q} --sites {params.sites:q}"
        " --output {output.project:q} 2>&1 | tee {log:q}"


# kits/ and state/ lie beside the manifest and are not declared: Snakemake would delete them, and with them the root
# key, before adding a hospital.
rule provision_federation:
    input:
        project=rules.render_project.output.project,
    output:
        kits=KITS,
    log:
        f"{OUT}/logs/provision_federation.log",
    benchmark:
        f"{OUT}/benchmarks/provision_federation.tsv"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code("provision_federation"),
    shell:
        "python scripts/provision_federation.py --project {input.project:q} --output {output.kits:q}"
        " 2>&1 | tee {log:q}"
