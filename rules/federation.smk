# The federation's project and startup kits. They are made once, and no change of training makes them again.

PROJECT = HOME / "config" / "project.yml"


rule render_project:
    output:
        project=AT.project,
    log:
        AT.log("render_project"),
    benchmark:
        AT.benchmark("render_project")
    localrule: True  # it takes a moment, which is not worth a cluster's queue
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(5),
    params:
        **step("render_project", PROJECT),
        template=kept(lambda wildcards, input: PROJECT),
        sites=config["sites"],
    shell:
        "python {params.script:q} --template {params.template:q} --sites {params.sites:q}"
        " --output {output.project:q} > {log:q} 2>&1"


# kits/ and state/ lie beside the manifest and are not declared: Snakemake would delete them, and with them the root
# key, before adding a hospital.
rule provision_federation:
    input:
        project=AT.project,
    output:
        kits=AT.kits,
    log:
        AT.log("provision_federation"),
    benchmark:
        AT.benchmark("provision_federation")
    localrule: True  # it takes seconds
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(5),
    params:
        **step("provision_federation"),
    shell:
        "python {params.script:q} --project {input.project:q} --output {output.kits:q} > {log:q} 2>&1"
