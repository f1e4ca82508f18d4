"""A run and what it leaves: `model.safetensors`, `metrics.csv` and `record.json` in one directory, for every mode."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from fedxray.core.files import write_json, write_table
from fedxray.core.machine import EnergyMeter, machine
from fedxray.core.parameters import save_model
from fedxray.data.site import load_site, pool
from fedxray.experiment.settings import Settings

METRICS = ["epoch", "series", "train_loss", "validation_loss", "validation_accuracy", "validation_auroc", "seconds"]


def train_here(mode: str, directories: list[Path], settings: Settings, output: Path, say: Callable = print) -> None:
    """Train on the union of the sites' training images in this process: central, or local with one site."""
    from fedxray.training.models import get_parameters  # PyTorch, for which who only writes a run need not wait
    from fedxray.training.trainer import Trainer

    start, meter = time.perf_counter(), EnergyMeter()
    sites = [load_site(directory) for directory in directories]
    train = pool(sites, "train")

    def report(row: dict) -> None:
        say(
            f"epoch {row['epoch']}/{settings.epochs}  loss {row['train_loss']:.4f}  "
            f"validation AUROC {row['validation_auroc']:.4f}  {row['seconds']:.1f} s"
        )

    model = settings.build()
    rows = Trainer(settings, train, sites[0].part("validation")).fit(model, 0, settings.epochs, report)
    write_run(
        output,
        get_parameters(model),
        pd.DataFrame(rows).assign(series="global"),
        settings,
        mode=mode,
        sites=[site.name for site in sites],
        train_images=len(train[1]),
        seconds=time.perf_counter() - start,
        energy_j=meter.joules(),
        place=place_of(settings),
    )


def place_of(settings: Settings) -> dict:
    """Where a run is trained, if it is trained in this process: `device` and `machine`."""
    from fedxray.training.trainer import pick_device

    return {"device": str(pick_device(settings.device)), "machine": machine()}


def write_run(
    output: Path,
    parameters: dict,
    metrics: pd.DataFrame,
    settings: Settings,
    *,
    mode: str,
    engine: str = "inprocess",
    sites: list[str],
    train_images: int,
    seconds: float,
    energy_j: float | None,
    place: dict,
    rounds: int | None = None,
    local_epochs: int | None = None,
    bytes_sent: int = 0,
    checks: dict | None = None,
) -> None:
    """Write a run's files (docs/architecture.md has their columns); the model last, so that it means a whole run.

    `engine` is `nvflare` if a federation of separate processes trained, `inprocess` if this process did; `place` is
    `place_of` where it was trained (of a federation, at its server).
    """
    write_table(output / "metrics.csv", metrics[METRICS])
    write_json(
        output / "record.json",
        {
            "mode": mode,
            "engine": engine,
            "site": sites[0] if mode == "alone" else "pooled",
            "lr": settings.lr,
            "epochs": settings.epochs,
            "rounds": rounds,
            "local_epochs": local_epochs,
            "seed": settings.seed,
            "sites": sites,
            "train_images": train_images,
            "parameters": sum(array.size for array in parameters.values()),
            "bytes_sent": bytes_sent,
            "seconds": round(seconds, 3),
            "energy_j": energy_j,
            **place,
            "settings": asdict(settings),
            "checks": checks or {},
        },
    )
    save_model(output / "model.safetensors", parameters)
