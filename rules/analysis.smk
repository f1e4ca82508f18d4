# From models to conclusions: the chosen points, their predictions, the comparison, and the federation's own evaluation.
# Only choose_points has the runs as inputs. The other rules have its table, because each input of each rule makes the
# plan of a large sweep slower.

# How long to wait for a federation on this machine. Not among the params, because other times give the same result.
WAITS = {
    key: config["federation"][key] for key in ["start_timeout_s", "round_timeout_s"]
}

if ONCE:

    # Checks that the chosen federated models, trained in one process, are those of a real federation.
    rule confirm_federated:
        input:
            experiment=AT.experiment,
            initial=START,
            kits=AT.kits,
            points=AT.points,
            sites=every_card(shared=True),
        output:
            confirmed=shown(AT.confirmed, "confirmed"),
        log:
            AT.log("confirm_federated"),
        benchmark:
            AT.benchmark("confirm_federated")
        threads: len(config["sites"]) * config["training"]["threads"]
        resources:
            **WAITS,
            mem_mb=growing(2000 + 2000 * len(config["sites"])),
            runtime=growing(240),
            gpu=GPU,
        params:
            **step("confirm_federated"),
            results=AT.root,
        shell:
            "python {params.script:q} --experiment {input.experiment:q} --kits {input.kits:q}"
            " --points {input.points:q} --results {params.results:q}"
            " --start-timeout-s {resources.start_timeout_s} --round-timeout-s {resources.round_timeout_s}"
            " --output {output.confirmed:q} > {log:q} 2>&1"


if GATED:

    # Whether the exported model may replace its predecessor.
    rule judge_model:
        input:
            rules=AT.gate_rules,
            chosen=AT.chosen,
            predictions=AT.predictions,
            registry=AT.registry,
            sites=every_card(),
            heterogeneity=HETEROGENEITY,
            model=AT.model / "model.safetensors",
            config=AT.model / "config.json",
            predecessor=Path(PREDECESSOR) / "model.safetensors",
        output:
            gate=shown(AT.gate, "gate"),
        log:
            AT.log("judge_model"),
        benchmark:
            AT.benchmark("judge_model")
        threads: config["training"]["threads"]
        resources:
            mem_mb=growing(4000),
            runtime=growing(60),
            gpu=GPU,
        params:
            **step("judge_model"),
            results=AT.root,
            predecessor=PREDECESSOR,
        shell:
            "python {params.script:q} --rules {input.rules:q} --predecessor {params.predecessor:q}"
            " --results {params.results:q} --output {output.gate:q} > {log:q} 2>&1"


# This rule is the first that reads a test set. It takes the points that were chosen by validation.
rule predict_chosen:
    input:
        points=AT.points,
        confirmed=[AT.confirmed] * ONCE,
        gate=[AT.gate_rules] * GATED,
        registry=AT.registry,
        sites=every_card(),
        external=EXTERNAL_CARDS,
        heterogeneity=HETEROGENEITY,
    output:
        predictions=AT.predictions,
        chosen=AT.chosen,
    log:
        AT.log("predict_chosen"),
    benchmark:
        AT.benchmark("predict_chosen")
    group:
        "evaluate"
    threads: config["training"]["threads"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
        gpu=GPU,
    params:
        **step("predict_chosen"),
        results=AT.root,
        external=OF_EXTERNAL,
    shell:
        "python {params.script:q} --points {input.points:q} --results {params.results:q}"
        " {params.external} --predictions {output.predictions:q} --chosen {output.chosen:q} > {log:q} 2>&1"


rule compare_runs:
    input:
        chosen=AT.chosen,
        predictions=AT.predictions,
    output:
        comparison=shown(AT.comparison, "comparison"),
    log:
        AT.log("compare_runs"),
    benchmark:
        AT.benchmark("compare_runs")
    group:
        "evaluate"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        **step("compare_runs"),
        bootstrap=BOOTSTRAP,
        external=OF_EXTERNAL,
    shell:
        "python {params.script:q} --chosen {input.chosen:q} --predictions {input.predictions:q} {params.bootstrap}"
        " {params.external} --output {output.comparison:q} > {log:q} 2>&1"


rule contrast_models:
    input:
        chosen=AT.chosen,
        predictions=AT.predictions,
    output:
        summary=AT.summary,
        differences=shown(AT.differences, "differences_table"),
        methods=shown(AT.methods, "methods_table"),
    log:
        AT.log("contrast_models"),
    benchmark:
        AT.benchmark("contrast_models")
    group:
        "evaluate"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        **step("contrast_models"),
        bootstrap=BOOTSTRAP,
        external=OF_EXTERNAL,
        margin=EVALUATION["margin"],
        reference=EVALUATION["reference"],
    shell:
        "python {params.script:q} --chosen {input.chosen:q} --predictions {input.predictions:q} {params.bootstrap}"
        " --margin {params.margin} --reference {params.reference:q} {params.external} --summary {output.summary:q} --differences {output.differences:q}"
        " --methods {output.methods:q} > {log:q} 2>&1"


# A threshold and a calibration of each hospital's own, for the models that all share.
rule adapt_thresholds:
    input:
        chosen=AT.chosen,
        predictions=AT.predictions,
    output:
        own=shown(AT.own_thresholds, "own_thresholds"),
    log:
        AT.log("adapt_thresholds"),
    benchmark:
        AT.benchmark("adapt_thresholds")
    group:
        "evaluate"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        **step("adapt_thresholds"),
        external=OF_EXTERNAL,
    shell:
        "python {params.script:q} --chosen {input.chosen:q} --predictions {input.predictions:q} {params.external}"
        " --output {output.own:q} > {log:q} 2>&1"


if EXPERIMENT.is_updated:

    # What may be done about a second wave of patients: on new patients and on old ones.
    rule compare_updates:
        input:
            experiment=AT.experiment,
            chosen=AT.chosen,
            predictions=AT.predictions,
        output:
            updates=shown(AT.updates, "updates_table"),
        log:
            AT.log("compare_updates"),
        benchmark:
            AT.benchmark("compare_updates")
        group:
            "evaluate"
        threads: 1
        resources:
            mem_mb=growing(4000),
            runtime=growing(60),
        params:
            **step("compare_updates"),
            bootstrap=BOOTSTRAP,
            external=OF_EXTERNAL,
        shell:
            "python {params.script:q} --experiment {input.experiment:q} --chosen {input.chosen:q}"
            " --predictions {input.predictions:q} {params.bootstrap} {params.external}"
            " --output {output.updates:q} > {log:q} 2>&1"


CONTRIBUTE = "coalition" in EXPERIMENT.modes

if CONTRIBUTE:

    # What each hospital brings, from the models of all coalitions.
    rule measure_contributions:
        input:
            chosen=AT.chosen,
            predictions=AT.predictions,
        output:
            contributions=shown(AT.contributions, "contributions_table"),
        log:
            AT.log("measure_contributions"),
        benchmark:
            AT.benchmark("measure_contributions")
        group:
            "evaluate"
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(10),
        params:
            **step("measure_contributions"),
            confidence=EVALUATION["confidence"],
            external=OF_EXTERNAL,
        shell:
            "python {params.script:q} --chosen {input.chosen:q} --predictions {input.predictions:q}"
            " --confidence {params.confidence} {params.external} --output {output.contributions:q} > {log:q} 2>&1"


AUDIT = config["privacy"]["audit"]

if AUDIT:

    # Attacks on the chosen models, some of which are trained again, and on updates of phantom images.
    rule audit_model:
        input:
            registry=AT.registry,
            initial=START,
            chosen=AT.chosen,
            sites=every_card(),
            heterogeneity=HETEROGENEITY,
        output:
            **drawn("audit_model"),
            audit=shown(AT.audit, "audit"),
        log:
            AT.log("audit_model"),
        benchmark:
            AT.benchmark("audit_model")
        threads: config["training"]["threads"]
        resources:
            mem_mb=growing(4000),
            runtime=growing(240),
            gpu=GPU,
        params:
            **step("audit_model"),
            results=AT.root,
            bootstrap=BOOTSTRAP,
        shell:
            "python {params.script:q} --chosen {input.chosen:q} --results {params.results:q} {params.bootstrap}"
            " --output {output.audit:q} > {log:q} 2>&1"


# The sites evaluate the chosen federated models through the federation. Their metrics must agree with those from here.
rule evaluate_federated:
    input:
        experiment=AT.experiment,
        kits=AT.kits,
        points=AT.points,
        comparison=AT.comparison,
        sites=every_card(shared=True),
    output:
        agreement=AT.agreement,
    log:
        AT.log("evaluate_federated"),
    benchmark:
        AT.benchmark("evaluate_federated")
    threads: len(config["sites"]) * config["training"]["threads"]
    resources:
        **WAITS,
        mem_mb=growing(2000 + 2000 * len(config["sites"])),
        runtime=growing(60),
        gpu=GPU,
    params:
        **step("evaluate_federated"),
        results=AT.root,
    shell:
        "python {params.script:q} --experiment {input.experiment:q} --kits {input.kits:q}"
        " --points {input.points:q} --comparison {input.comparison:q} --results {params.results:q}"
        " --start-timeout-s {resources.start_timeout_s} --round-timeout-s {resources.round_timeout_s}"
        " --output {output.agreement:q} > {log:q} 2>&1"
