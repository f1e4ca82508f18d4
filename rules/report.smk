# What one looks at, of either kind of federation: the choice of points, TensorBoard, the exported model, figures and pages.

DRAWN = contents.items(EXPERIMENT)
EVERY_FIGURE = [file for item in DRAWN if item.kind == "figure" for _, file in AT.figure(item.name)]
EVERY_PAGE = [AT.page(item.name) for item in DRAWN if item.kind == "page"]


def figures(script):
    """The outputs of a rule that draws figures by this script: each as SVG, which the report shows, and as PNG."""
    drawn = [item for item in DRAWN if item.kind == "figure" and item.script == script]
    files = {f"{item.name}_{kind}": (file, item) for item in drawn for kind, file in AT.figure(item.name)}
    return {
        name: shown(file, item.name, item.category) if file.suffix == ".svg" else file
        for name, (file, item) in files.items()
    }


def pages():
    """The outputs of the rule that writes the report's pages."""
    drawn = [item for item in DRAWN if item.kind == "page"]
    return {item.name: shown(AT.page(item.name), item.name, item.category) for item in drawn}


def names(script):
    """The names of the figures that a script draws."""
    return [item.name for item in DRAWN if item.kind == "figure" and item.script == script]


rule choose_points:
    input:
        experiment=AT.experiment,
        records=RECORDS,
    output:
        points=shown(AT.points, "points", "5. Tables"),
    log:
        AT.log("choose_points"),
    benchmark:
        AT.benchmark("choose_points")
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        **step("choose_points"),
        results=AT.root,
    shell:
        "python {params.script:q} --experiment {input.experiment:q} --results {params.results:q}"
        " --output {output.points:q} 2>&1 | tee {log:q}"
