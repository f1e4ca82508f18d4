"""Fingerprints of results, and the kind of processor that they hold for."""

import hashlib
import io
import json
import os
from pathlib import Path

import pandas as pd
import pytest
import torch

EXPECTED = Path(__file__).with_name("expected.json")
TABLES = ("points", "predictions", "comparison", "summary", "differences", "agreement", "confirmed")


def kind_of_processor():
    """What decides the last bits: the processor's model, the kernels that PyTorch takes for it, and its version."""
    facts = {}
    for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        facts[key.strip()] = value.strip()
    processor = "-".join(facts.get(key, "?") for key in ("vendor_id", "cpu family", "model"))
    return f"{processor}, {torch.backends.cpu.get_cpu_capability()}, PyTorch {torch.__version__}"


def table_sha256(path):
    """The SHA-256 of a table, its cells as they are written, without seconds."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    text = io.StringIO()
    table.drop(columns="seconds", errors="ignore").to_csv(text, index=False, lineterminator="\n")
    return hashlib.sha256(text.getvalue().encode()).hexdigest()


def fingerprints(results):
    """{file: SHA-256} of the models, curves and tables of results/<experiment>."""
    digests = {}
    for path in sorted(results.glob("runs/**/model.safetensors")):
        digests[path.relative_to(results).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
        curves = path.with_name("metrics.csv")
        digests[curves.relative_to(results).as_posix()] = table_sha256(curves)
    for name in TABLES:
        if (results / f"{name}.csv").exists():
            digests[f"{name}.csv"] = table_sha256(results / f"{name}.csv")
    return digests


def compare(name, digests):
    """Assert that `found` is what this kind of processor is known to give; skip if none is known.

    With FEDXRAY_GOLDEN=write it becomes what is known.
    """
    kind, expected = kind_of_processor(), json.loads(EXPECTED.read_text())
    if os.environ.get("FEDXRAY_GOLDEN") == "write":
        expected.setdefault(kind, {})[name] = digests
        EXPECTED.write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")
    if name not in expected.get(kind, {}):
        pytest.skip(f"no golden results of {name} for this kind of processor ({kind})")
    assert digests == expected[kind][name]
