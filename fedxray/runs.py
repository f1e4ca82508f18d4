"""One run, of any mode: trained by an engine, and written to its folder."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from fedxray.core.errors import UserError
from fedxray.core.events import SCALARS, EventFile
from fedxray.core.files import private_folder, sha256
from fedxray.core.parameters import save_model
from fedxray.experiment.experiment import POOLED
from fedxray.experiment.folder import RunFolder, RunRecord
from fedxray.experiment.method import PLAIN, Method
from fedxray.experiment.settings import Settings
from fedxray.federation.engine import Engine, Own, Trained
from fedxray.federation.policy import Schedule
from fedxray.federation.records import curves_of, distances_of, images_of, point_of, sites_of


def train_run(
    engine: Engine,
    mode: str,
    settings: Settings,
    method: Method,
    schedule: Schedule,
    output: Path,
    sites: Sequence[str] = (),
    live: Path | None = None,
) -> None:
    """Train by `engine`, and write the run into the folder `output`, each site's own model into a folder below.

    `sites` names the hospitals of a central run, whose engine has one site for the images of all of them. The folder
    `live` gets events for TensorBoard, if the engine writes none itself: that the run is there from the beginning on,
    and its curve at the end. Raises UserError if the engine fails; then `output` has no model.
    """
    start, federated = time.perf_counter(), mode in ("federated", "coalition")
    site = {"alone": engine.sites[0], "coalition": "+".join(engine.sites)}.get(mode, POOLED)
    point = point_of(mode, site, settings, schedule, method, engine.noise)
    with private_folder(output / "workspace") as scratch, _watched(live, point) as show:
        trained = engine.train(settings, method, schedule, scratch)
        curves = curves_of(trained.rounds) if federated else _curves_of_one(trained)
        show(curves)
    seconds, records = round(time.perf_counter() - start, 3), trained.rounds
    trained_on = list(sites) or sites_of(records)
    record: RunRecord = {
        "mode": mode,
        "engine": engine.name,
        "site": site,
        "lr": settings.lr,
        "epochs": schedule.epochs,
        "schedule": asdict(schedule),
        "method": asdict(method) if federated else None,
        "seed": settings.seed,
        "sites": trained_on,
        "train_images": images_of(records),
        "parameters": trained.size or sum(array.size for array in trained.parameters.values()),
        "bytes_sent": sum(part["bytes"] for part in records),
        "seconds": seconds,
        "energy_j": trained.energy_j,
        "device": trained.device,
        "machine": trained.machine,
        "secure_aggregation": bool(trained.partners),
        "partners": trained.partners,
        "rounds_at_sites": distances_of(records) if federated else [],
    }
    if trained.privacy:
        record["privacy"] = trained.privacy
    if own := trained.personal.get(record["site"]):  # trained alone, and kept at the site
        RunFolder(output).write(None, curves, record, settings, trained.checks | {"job": own.job})
        return
    for site, own in trained.personal.items():
        _write_personal(RunFolder(output).personal(site), own, record, site, settings)
    RunFolder(output).write(trained.parameters, curves, record, settings, trained.checks)


def _write_personal(folder: RunFolder, own: Own, record: RunRecord, site: str, settings: Settings) -> None:
    """Write a site's own model, with the cost of the federation that it comes from."""
    shutil.rmtree(folder.path, ignore_errors=True)
    curves = pd.DataFrame(own.rows).assign(series="global")
    about: RunRecord = {**record, "mode": "personal", "site": site, "rounds_at_sites": []}
    folder.write(own.parameters, curves, about, settings, {"job": own.job} if own.job else {})


@contextmanager
def _watched(live: Path | None, point: dict) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Let the folder `live`, if any, have the run with this `point`; yields what adds its curves and its end."""
    if live is None:
        yield lambda curves: None
        return
    shutil.rmtree(live, ignore_errors=True)
    file = EventFile(live, point)

    def show(curves: pd.DataFrame) -> None:
        for row in curves[curves["series"] == "global"].to_dict("records"):
            file.add({tag: float(row[column]) for column, tag in SCALARS.items()}, int(row["epoch"]))
        file.end()

    try:
        yield show
    finally:
        file.close()


def train_alone(engine: Engine, settings: Settings, schedule: Schedule, output: Path, live: Path | None = None) -> None:
    """Train the one site of `engine` alone: the mean of one model is that model. One that it keeps has no file here.

    `live` is as of `train_run`.
    """
    train_run(engine, "alone", settings, PLAIN, schedule, output, live=live)


def confirm(engine: Engine, run: Path, scratch: Path) -> str:
    """Repeat the federated run in the folder `run` by another engine; returns the SHA-256 that both models have.

    Of a personal method the sites' own models are compared too. Raises UserError if two models differ in a bit, or if
    the engine fails.
    """
    folder = RunFolder(run)
    record = folder.read_record()
    with private_folder(scratch) as private:
        method, schedule = Method(**record["method"]), Schedule(**record["schedule"])
        trained = engine.train(folder.settings(), method, schedule, private)
        models = {folder.model: trained.parameters}
        owns = {folder.personal(site).model: own.parameters for site, own in trained.personal.items()}
        models |= {path: parameters for path, parameters in owns.items() if parameters is not None}
        for path, parameters in models.items():
            save_model(private / "model.safetensors", parameters)
            if sha256(private / "model.safetensors") != sha256(path):
                raise UserError(
                    f"{path}: trained in one process, it differs from the federation's model; "
                    "set federation.engine: nvflare, and report it with the logs"
                )
    return sha256(folder.model)


def _curves_of_one(trained: Trained) -> pd.DataFrame:
    """The curves of a run of one site: the site's model is the global one."""
    rows = [row for record in trained.rounds for of_site in record["sites"].values() for row in of_site]
    return pd.DataFrame(rows).assign(series="global")
