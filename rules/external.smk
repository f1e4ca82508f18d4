# External tests: sources on which no hospital trains. Each becomes a folder like a site's, whose images are all a test
# set. No hospital may have one of them, so all sources of training are inputs.

OUTSIDE = AT.external("{external}")


rule make_external:
    input:
        catalogue=OUTSIDE.catalogue,
        summary=OUTSIDE.summary,
        pixels=OUTSIDE.pixels,
        training=[data.catalogue for data in TRAINED_ON.values()],
        training_pixels=[data.pixels for data in TRAINED_ON.values()],
    output:
        split=OUTSIDE.split,
        images=SiteFolder(OUTSIDE.site).images,
        table=SiteFolder(OUTSIDE.site).table,
        card=SiteFolder(OUTSIDE.site).card,
    log:
        AT.log("make_external/{external}"),
    benchmark:
        AT.benchmark("make_external/{external}")
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        **step("make_external"),
        same=kept(same_patients),
        folder=subpath(output.card, parent=True),
        fit=config["fit"],
    shell:
        "python {params.script:q} --name {wildcards.external} --catalogue {input.catalogue:q} --pixels {input.pixels:q}"
        " --summary {input.summary:q} --training {input.training:q} --training-pixels {input.training_pixels:q}"
        " --same-patients {params.same:q} --fit {params.fit} --split {output.split:q} --output {params.folder:q} > {log:q} 2>&1"
