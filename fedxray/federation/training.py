"""Federated training as a run: what it leaves, written as every mode writes it, whichever engine trained."""

import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, sha256
from fedxray.core.machine import EnergyMeter
from fedxray.core.parameters import save_model
from fedxray.experiment.settings import Settings
from fedxray.federation.records import metrics_of, sites_of
from fedxray.flare import engine as run
from fedxray.runs import place_of, write_run


def train_federation(
    federation: run.Federation,
    settings: Settings,
    rounds: int,
    local_epochs: int,
    output: Path,
    say: Callable[[str], None] = print,
    live: str = "",
) -> None:
    """Train by one NVFlare job and write the run into `output`; raises UserError as `fedxray.flare.engine.train`."""
    start, meter = time.perf_counter(), EnergyMeter() if federation.here else None
    with run.private(output / "workspace", say) as workspace:
        trained = run.train(federation, settings, rounds, local_epochs, workspace, say, live)
    _write(output, "nvflare", *trained, settings, local_epochs, start, meter)


def train_alone(
    federation: run.Federation,
    settings: Settings,
    output: Path,
    say: Callable[[str], None] = print,
    live: str = "",
) -> None:
    """Train the one site of `federation` alone, by a job of one round of all epochs, and write the run into `output`.

    That is local training, bit for bit: the mean of one model is that model. Raises UserError as `train_federation`.
    """
    start, epochs = time.perf_counter(), settings.epochs
    with run.private(output / "workspace", say) as workspace:
        parameters, records, checks, place = run.train(federation, settings, 1, epochs, workspace, say, live)
    (record,) = records
    (site,) = record["sites"]
    write_run(
        output,
        parameters,
        pd.DataFrame(record["sites"][site]).assign(series="global"),
        settings,
        mode="alone",
        engine="nvflare",
        sites=[site],
        train_images=record["images"][site],
        seconds=time.perf_counter() - start,
        energy_j=None,  # it was used elsewhere
        place=place,
        checks=checks,
    )


def train_in_process(
    sites: dict[str, Path],
    shared: Path,
    settings: Settings,
    rounds: int,
    local_epochs: int,
    output: Path,
    say: Callable[[str], None] = print,
) -> None:
    """Train in this process, from the directories of `sites` and `shared`, and write the run into `output`."""
    from fedxray.federation import inprocess  # PyTorch, for which a federation's own process need not wait

    start, meter = time.perf_counter(), EnergyMeter()
    parameters, records = inprocess.train(sites, shared, settings, rounds, local_epochs, say)
    _write(output, "inprocess", parameters, records, {}, place_of(settings), settings, local_epochs, start, meter)


def confirm(federation: run.Federation, folder: Path, workspace: Path, say: Callable[[str], None] = print) -> str:
    """Repeat the run in `folder` by one NVFlare job; returns the SHA-256 of the model, the same for both.

    `workspace` is removed at the end. Raises UserError if the models differ in a bit, and as `train_federation`.
    """
    record = read_json(folder / "record.json")
    settings, schedule = Settings(**record["settings"]), (record["rounds"], record["local_epochs"])
    with run.private(workspace, say) as private:
        parameters, *_ = run.train(federation, settings, *schedule, private, say)
        save_model(private / "model.safetensors", parameters)
        there, here = sha256(private / "model.safetensors"), sha256(folder / "model.safetensors")
    if there != here:
        raise UserError(
            f"{folder}/model.safetensors: trained in one process, it differs from the federation's model; "
            "set federation.engine: nvflare, and report it with the logs"
        )
    return here


def _write(
    output: Path,
    engine: str,
    parameters: dict,
    records: list[dict],
    checks: dict,
    place: dict,
    settings: Settings,
    local_epochs: int,
    start: float,
    meter: EnergyMeter | None,
) -> None:
    size = sum(array.nbytes for array in parameters.values())
    write_run(
        output,
        parameters,
        metrics_of(records),
        settings,
        mode="federated",
        engine=engine,
        sites=sites_of(records),
        train_images=sum({site: images for record in records for site, images in record["images"].items()}.values()),
        seconds=time.perf_counter() - start,
        energy_j=meter and meter.joules(),
        place=place,
        rounds=len(records),
        local_epochs=local_epochs,
        bytes_sent=2 * size * sum(len(record["sites"]) for record in records),  # down and up, each site, each round
        checks=checks,
    )
