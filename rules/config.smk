# The configuration that was used, in two files: all of it, and the part that says which runs there are. Jobs that need
# the second do not run again for a change of anything else.
rule record_config:
    output:
        config=AT.config,
    log:
        AT.log("record_config"),
    benchmark:
        AT.benchmark("record_config")
    localrule: True
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(5),
    params:
        **step("record_config"),
        config=kept(lambda wildcards: json.dumps(config)),  # braces are no wildcards
    shell:
        "python {params.script:q} --config {params.config:q} --output {output.config:q} > {log:q} 2>&1"


use rule record_config as record_experiment with:
    output:
        config=AT.experiment,
    log:
        AT.log("record_experiment"),
    benchmark:
        AT.benchmark("record_experiment")
    params:
        **step("record_config"),
        config=kept(lambda wildcards: json.dumps(EXPERIMENT.config)),  # braces are no wildcards
