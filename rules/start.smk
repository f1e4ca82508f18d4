# The model that every run begins with, where one is given (model.initial): made once, in the form of the model.


rule prepare_start:
    input:
        # It is dated by its content, which is a parameter.
        given=[ancient(file_of(INITIAL))] if file_of(INITIAL) else [],
    output:
        initial=AT.initial,
    log:
        AT.log("prepare_start"),
    benchmark:
        AT.benchmark("prepare_start")
    localrule: True  # a cluster's nodes have no internet
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        **step("prepare_start"),
        initial=INITIAL,
        content=digest_of(INITIAL),
        model=config["model"]["name"],
        image_size=config["image_size"],
        norms=config["model"]["norms"],
        standardise=config["model"]["standardise"],
    shell:
        "python {params.script:q} --initial {params.initial:q} --model {params.model} --image-size {params.image_size}"
        " --norms {params.norms} --standardise {params.standardise} --output {output.initial:q} > {log:q} 2>&1"
