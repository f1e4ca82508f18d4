# What people look at, for both kinds of federation: the choice of points, TensorBoard, the model, figures and pages.


EVERY_FIGURE = [
    file for name in contents.figures(EXPERIMENT) for _, file in AT.figure(name)
]
DRAWN = [
    file for file in EVERY_FIGURE if file.suffix == ".svg"
]  # they stand in the page
# If all methods are personal, the models of a federation on other machines stay there.
EXPORTED = [AT.model / "model.safetensors"] * (
    HERE or any(run.model.mode == "federated" for run in EXPERIMENT.runs)
)


rule choose_points:
    input:
        experiment=AT.experiment,
        records=RECORDS,
    output:
        points=shown(AT.points, "points"),
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
        " --output {output.points:q} > {log:q} 2>&1"


rule export_tensorboard:
    input:
        experiment=AT.experiment,
        points=AT.points,
        config=AT.config,
        analysed=(
            [
                AT.methods,
                AT.predictions,
                *every_card(),
                *(
                    dict(AT.figure(name))["png"]
                    for name in ("mistakes", "calibration", "gallery")
                ),
            ]
            if HERE
            else []
        ),
    output:
        events=directory(AT.tensorboard),
    log:
        AT.log("export_tensorboard"),
    benchmark:
        AT.benchmark("export_tensorboard")
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        **step("export_tensorboard"),
        results=AT.root,
        analysed="--analysed" if HERE else "",
    shell:
        "python {params.script:q} --experiment {input.experiment:q} --results {params.results:q}"
        " {params.analysed} --output {output.events:q} > {log:q} 2>&1"


rule export_model:
    input:
        registry=AT.registry,
        chosen=AT.chosen,
    output:
        model=AT.model / "model.safetensors",
        onnx=AT.model / "model.onnx",
        config=AT.model / "config.json",
    log:
        AT.log("export_model"),
    benchmark:
        AT.benchmark("export_model")
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(10),
    params:
        **step("export_model"),
        results=AT.root,
        experiment=config["experiment"],
        folder=subpath(output.model, parent=True),
    shell:
        "python {params.script:q} --chosen {input.chosen:q} --results {params.results:q}"
        " --experiment-name {params.experiment:q} --output {params.folder:q} > {log:q} 2>&1"


if HERE:

    rule plot_data:
        input:
            registry=AT.registry,
            sites=every_card(),
            heterogeneity=HETEROGENEITY,
        output:
            **drawn("plot_data"),
        log:
            AT.log("plot_data"),
        benchmark:
            AT.benchmark("plot_data")
        threads: 1
        resources:
            mem_mb=growing(1000),
            runtime=growing(10),
        params:
            **step("plot_data"),
            results=AT.root,
        shell:
            "python {params.script:q} --results {params.results:q} > {log:q} 2>&1"

    rule plot_results:
        input:
            registry=AT.registry,
            points=AT.points,
            chosen=AT.chosen,
            predictions=AT.predictions,
            external=EXTERNAL_CARDS,
            summary=AT.summary,
            differences=AT.differences,
            methods=AT.methods,
            contributions=[AT.contributions] * CONTRIBUTE,
            updates=[AT.updates] * EXPERIMENT.is_updated,
            heterogeneity=HETEROGENEITY,
        output:
            **drawn("plot_results"),
        log:
            AT.log("plot_results"),
        benchmark:
            AT.benchmark("plot_results")
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(20),
        params:
            **step("plot_results"),
            figures=contents.figures(EXPERIMENT, "plot_results"),
            results=AT.root,
            bootstrap=BOOTSTRAP,
            external=OF_EXTERNAL,
            margin=EVALUATION["margin"],
        shell:
            "python {params.script:q} --figures {params.figures} --results {params.results:q} {params.bootstrap}"
            " --margin {params.margin} {params.external} > {log:q} 2>&1"

    rule plot_mistakes:
        input:
            registry=AT.registry,
            predictions=AT.predictions,
            model=AT.model / "model.safetensors",
            config=AT.model / "config.json",
            sites=every_card(),
            heterogeneity=HETEROGENEITY,
        output:
            **drawn("plot_mistakes"),
        log:
            AT.log("plot_mistakes"),
        benchmark:
            AT.benchmark("plot_mistakes")
        threads: 1
        resources:
            mem_mb=growing(4000),
            runtime=growing(10),
        params:
            **step("plot_mistakes"),
            results=AT.root,
        shell:
            "python {params.script:q} --results {params.results:q} > {log:q} 2>&1"

    rule render_pages:
        input:
            config=AT.config,
            registry=AT.registry,
            catalogue=[data.summary for data in TRAINED_ON.values()],
            sites=every_card(shared=True),
            external=EXTERNAL_CARDS,
            points=AT.points,
            confirmed=[AT.confirmed] * ONCE,
            summary=AT.summary,
            differences=AT.differences,
            methods=AT.methods,
            own_thresholds=AT.own_thresholds,
            contributions=[AT.contributions] * CONTRIBUTE,
            updates=[AT.updates] * EXPERIMENT.is_updated,
            agreement=AT.agreement,
            audit=[AT.audit] * AUDIT,
            gate=[AT.gate] * GATED,
            model=AT.model / "config.json",
            predictions=AT.predictions,
            comparison=AT.comparison,
            heterogeneity=HETEROGENEITY,
            figures=DRAWN,
        output:
            page=shown(AT.page("index"), "the_page"),
        log:
            AT.log("render_pages"),
        benchmark:
            AT.benchmark("render_pages")
        threads: 1
        resources:
            mem_mb=growing(1000),
            runtime=growing(10),
        params:
            **step("render_pages", *contents.texts()),
            results=AT.root,
        shell:
            "python {params.script:q} --config {input.config:q} --results {params.results:q} > {log:q} 2>&1"

else:

    rule plot_remote:
        input:
            registry=AT.registry,
            points=AT.points,
            chosen=AT.chosen,
            at_sites=AT.at_sites,
        output:
            **drawn("plot_remote"),
        log:
            AT.log("plot_remote"),
        benchmark:
            AT.benchmark("plot_remote")
        threads: 1
        resources:
            mem_mb=2000,
            runtime=20,
        params:
            **step("plot_remote"),
            figures=contents.figures(EXPERIMENT, "plot_remote"),
            results=AT.root,
        shell:
            "python {params.script:q} --figures {params.figures} --results {params.results:q} > {log:q} 2>&1"

    rule render_pages:
        input:
            config=AT.config,
            registry=AT.registry,
            points=AT.points,
            chosen=AT.chosen,
            at_sites=AT.at_sites,
            gate=[AT.gate] * GATED,
            model=EXPORTED,
            figures=DRAWN,
        output:
            page=shown(AT.page("index"), "the_page"),
        log:
            AT.log("render_pages"),
        benchmark:
            AT.benchmark("render_pages")
        threads: 1
        resources:
            mem_mb=1000,
            runtime=10,
        params:
            **step("render_pages", *contents.texts()),
            results=AT.root,
        shell:
            "python {params.script:q} --config {input.config:q} --results {params.results:q} > {log:q} 2>&1"
