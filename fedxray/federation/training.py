"""Federated training as a run: what one job leaves, written as every mode writes it."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from fedxray.federation import run
from fedxray.files import read_table
from fedxray.machine import EnergyMeter
from fedxray.models import load_model
from fedxray.runs import write_run
from fedxray.training import Settings


def train_federation(
    federation: run.Federation,
    settings: Settings,
    rounds: int,
    local_epochs: int,
    tensorboard: Path,
    output: Path,
    say: Callable[[str], None] = print,
) -> None:
    """Train by one NVFlare job and write the run into `output`; raises UserError as `fedxray.federation.run.train`."""
    start, meter = time.perf_counter(), EnergyMeter()
    with run.private(output / "workspace", say) as workspace:
        result, checks = run.train(federation, settings, rounds, local_epochs, tensorboard, workspace, say)
        lines = [json.loads(line) for line in (result / "rounds.jsonl").read_text().splitlines()]
        metrics = [pd.DataFrame(lines).assign(series="global")]
        metrics += [read_table(result / f"{site}.csv").assign(series=site) for site in federation.sites]
        parameters = load_model(result / "model.safetensors")
    size = sum(array.nbytes for array in parameters.values())
    write_run(
        output,
        parameters,
        pd.concat(metrics),
        settings,
        mode="federated",
        sites=list(federation.sites),
        train_images=sum(lines[-1]["images"].values()),
        seconds=time.perf_counter() - start,
        energy_j=meter.joules(),
        rounds=rounds,
        local_epochs=local_epochs,
        bytes_sent=2 * size * len(federation.sites) * rounds,  # down and up, each site, each round
        checks=checks,
    )
