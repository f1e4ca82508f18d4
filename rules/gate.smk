# The rules of the gate, before a test set is read; where the hospitals are says who computes by them (`judge_model`).

PREDECESSOR = config["promotion"]["predecessor"]
GATED = bool(PREDECESSOR)

if GATED:

    # Before a test set is read. Rules that were written stay, so that others than these are refused.
    rule record_gate:
        input:
            predecessor=Path(PREDECESSOR) / "model.safetensors",
            about=Path(PREDECESSOR) / "config.json",
        output:
            rules=update(str(AT.gate_rules)),
        log:
            AT.log("record_gate"),
        benchmark:
            AT.benchmark("record_gate")
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(10),
        params:
            **step("record_gate"),
            results=AT.root,
            bootstrap=BOOTSTRAP,
            predecessor=PREDECESSOR,
            sites=EXPERIMENT.cohorts[0].sites,
            bounds=" ".join(
                f"--{key} {config['promotion'][key]}"
                for key in ["margin", "calibration", "epsilon"]
            ),
        shell:
            "python {params.script:q} --predecessor {params.predecessor:q} --sites {params.sites:q} {params.bounds}"
            " {params.bootstrap} --results {params.results:q} --output {output.rules:q} > {log:q} 2>&1"
