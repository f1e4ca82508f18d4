# The configuration as the run had it: whole, and the part of it that says which runs there are. Apart, so that what does
# not change the runs makes no job run again that asks for them.
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
        config=json.dumps(config),
    shell:
        "python {params.script:q} --config {params.config:q} --output {output.config:q} 2>&1 | tee {log:q}"


use rule record_config as record_experiment with:
    output:
        config=AT.experiment,
    log:
        AT.log("record_experiment"),
    benchmark:
        AT.benchmark("record_experiment")
    params:
        **step("record_config"),
        config=json.dumps(EXPERIMENT.config),
