"""One run, of any mode: trained by an engine, and written to its folder."""

import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fedxray.core.errors import UserError
from fedxray.core.files import private_folder, sha256
from fedxray.core.parameters import save_model
from fedxray.experiment.folder import RunFolder
from fedxray.experiment.settings import Settings
from fedxray.federation.engine import Engine, Trained
from fedxray.federation.policy import Schedule
from fedxray.federation.records import curves_of, images_of, sites_of


def train_run(
    engine: Engine, mode: str, settings: Settings, schedule: Schedule, output: Path, sites: Sequence[str] = ()
) -> None:
    """Train by `engine`, and write the run into the folder `output`.

    `sites` names the hospitals of a central run, whose engine has one site for the images of all of them. Raises
    UserError if the engine fails; then `output` has no model.
    """
    start = time.perf_counter()
    with private_folder(output / "workspace") as scratch:
        trained = engine.train(settings, schedule, scratch)
    seconds = round(time.perf_counter() - start, 3)
    federated, records = mode == "federated", trained.rounds
    trained_on = list(sites) or sites_of(records)
    record = {
        "mode": mode,
        "engine": engine.name,
        "site": trained_on[0] if mode == "alone" else "pooled",
        "lr": settings.lr,
        "epochs": settings.epochs,
        "rounds": schedule.rounds if federated else None,
        "local_epochs": schedule.local_epochs if federated else None,
        "seed": settings.seed,
        "sites": trained_on,
        "train_images": images_of(records),
        "parameters": sum(array.size for array in trained.parameters.values()),
        "bytes_sent": _bytes_sent(trained) if federated else 0,
        "seconds": seconds,
        "energy_j": trained.energy_j,
        "device": trained.device,
        "machine": trained.machine,
    }
    curves = curves_of(records) if federated else _curves_of_one(trained)
    RunFolder(output).write(trained.parameters, curves, record, settings, trained.checks)


def train_alone(engine: Engine, settings: Settings, output: Path) -> None:
    """Train the one site of `engine` alone, in one round of all epochs: the mean of one model is that model."""
    train_run(engine, "alone", settings, Schedule(1, settings.epochs), output)


def confirm(engine: Engine, run: Path, scratch: Path) -> str:
    """Repeat the federated run in the folder `run` by another engine; returns the SHA-256 that both models have.

    Raises UserError if the models differ in a bit, or if the engine fails.
    """
    folder = RunFolder(run)
    record = folder.read_record()
    with private_folder(scratch) as private:
        trained = engine.train(folder.settings(), Schedule(record["rounds"], record["local_epochs"]), private)
        save_model(private / "model.safetensors", trained.parameters)
        there, here = sha256(private / "model.safetensors"), sha256(folder.model)
    if there != here:
        raise UserError(
            f"{folder.model}: trained in one process, it differs from the federation's model; "
            "set federation.engine: nvflare, and report it with the logs"
        )
    return here


def _bytes_sent(trained: Trained) -> int:
    """The model's bytes, down and up, for each site that answered in each round."""
    size = sum(array.nbytes for array in trained.parameters.values())
    return 2 * size * sum(len(record["sites"]) for record in trained.rounds)


def _curves_of_one(trained: Trained) -> pd.DataFrame:
    """The curves of a run of one site and one round: the site's model is the global one."""
    (record,) = trained.rounds
    (rows,) = record["sites"].values()
    return pd.DataFrame(rows).assign(series="global")
