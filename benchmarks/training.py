"""The rows `epoch`, `gpu`, `gpu_sites` and `predict`: one trainer against a bare loop of PyTorch, and prediction."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.alternatives import plain
from benchmarks.federation import fedxray_command, kits
from benchmarks.inputs import (
    default_config,
    experiment,
    open_options,
    originals,
    random_sites,
    scratch,
    settings,
    site_folders,
)
from benchmarks.measure import (
    ROOT,
    NotTheSameWork,
    at_least,
    at_most,
    clock,
    cpu,
    interleave,
    middle,
    python,
    ratio,
    run,
    told,
)
from fedxray.core.parameters import save_model
from fedxray.data.site import load_site, pool
from fedxray.experiment.experiment import Experiment
from fedxray.experiment.settings import Settings
from fedxray.federation.policy import alone
from fedxray.training.exported import export_model, predict_images
from fedxray.training.models import build, get_parameters
from fedxray.training.rows import Segment
from fedxray.training.trainer import Trainer, validate
from fedxray.training.trainer import predict as predict_array


def epoch(quick: bool) -> dict:
    """An epoch of the trainer and one of the bare loop, each with its validation and its own model."""
    turns = 4 if quick else 6
    folder = experiment(quick)
    sites = [load_site(site) for site in site_folders(folder)]
    chosen = Settings(**settings(folder / "sites" / "shared", turns))
    times, losses = compare_epochs(pool(sites, "train"), sites[0].part("validation"), chosen, turns)
    ours, bare = times["fedxray"], times["bare loop"]
    return {
        "samples": {f"{name}, CPU s an epoch": values for name, values in times.items()},
        "checks": [at_most("CPU seconds of an epoch, of the bare loop's", ratio(ours, bare, "s"), 1.03)],
        "notes": {"images": sum(len(site.part("train")[1]) for site in sites), "greatest difference of loss": losses},
    }


def compare_epochs(train: tuple, validation: tuple, chosen: Settings, turns: int):
    """(seconds of each epoch by side, greatest difference of their losses).

    On the CPU, with one thread, they are CPU seconds. The first epoch of both does not count. Both compile the network
    if `chosen` says so, to train it. Raises NotTheSameWork if the difference is not tiny.
    """
    trainer, model, bare = Trainer(chosen, train, validation), build(chosen), build(chosen)
    bare.to(trainer.device)
    network = torch.compile(bare) if chosen.compile else bare
    train_tensors, validation_tensors = (
        [tensor.to(trainer.device) for tensor in plain.tensors(part)] for part in (train, validation)
    )
    losses = {"fedxray": [], "bare loop": []}
    timer = cpu if trainer.device.type == "cpu" else time.perf_counter

    def ours() -> None:
        number = len(losses["fedxray"])
        losses["fedxray"].append(trainer.fit(model, *epochs(trainer, number, number + 1)).rows[0]["train_loss"])

    def bare_loop() -> None:
        torch.use_deterministic_algorithms(False)
        optimizer = plain.make_optimizer(bare, chosen)
        number = len(losses["bare loop"])
        losses["bare loop"].append(plain.train_epoch(network, optimizer, train_tensors, chosen, number))
        with torch.autocast(trainer.device.type, torch.bfloat16, enabled=trainer.device.type == "cuda"):
            plain.evaluate(bare, validation_tensors)
        torch.use_deterministic_algorithms(True, warn_only=True)

    times = interleave({"fedxray": lambda: clock(ours, timer), "bare loop": lambda: clock(bare_loop, timer)}, turns)
    apart = float(np.max(np.abs(np.subtract(*losses.values()))))
    if apart > (0.1 if chosen.compile else 1e-5):
        raise NotTheSameWork(f"losses of the trainer and of the bare loop differ by {apart:.2g}")
    return {name: values[1:] for name, values in times.items()}, apart


def epochs(trainer: Trainer, first: int, last: int) -> tuple[list[Segment], int]:
    """What `Trainer.fit` takes to train the epochs `first`..`last` (from 0, `last` excluded) of the run."""
    schedule = alone(trainer.settings.epochs, "passes", {}, 0)
    return schedule.round_segments(0, trainer.batches)[first:last], schedule.total(trainer.batches)


TOY = {"model": "compact", "size": 32, "batch_size": 8, "images": 24, "turns": 3, "compiled": False}
FULL = {"model": "resnet18", "size": 224, "batch_size": 256, "images": 9_216, "turns": 4, "compiled": True}


def gpu(quick: bool) -> dict:
    """A compiled ResNet-18 in bfloat16, at 224 pixels, in batches of 256; reported as skipped if there is no GPU.

    With `quick` it then runs on the CPU, at a toy size.
    """
    return _on_device(quick, train_on_device)


def gpu_sites(quick: bool) -> dict:
    """A federation of three sites on one GPU against central training there, of the same network as in `gpu`.

    It is skipped, or runs on the CPU, as `gpu`.
    """
    return _on_device(quick, sites_on_device)


def _on_device(quick: bool, row: Callable[..., dict]) -> dict:
    """What `row` measures, at its size, of random images: pixels do not matter."""
    if not (quick or torch.cuda.is_available()):
        return {"status": "skipped", "reason": "no GPU"}
    size = FULL | ({"images": 1536} if quick else {}) if torch.cuda.is_available() else TOY
    with scratch() as folder:
        random_sites(folder / "sites", size["images"], size["size"])
        changed = {"model": size["model"], "batch_size": size["batch_size"], "compile": size["compiled"]}
        device = "cuda" if torch.cuda.is_available() else "cpu"
        fields = settings(folder / "sites" / "shared", size["turns"], device=device, **changed)
        return row(folder, fields, size["images"], size["turns"])


def train_on_device(folder: Path, fields: dict, images: int, turns: int) -> dict:
    """Central training against the bare compiled loop, how busy the GPU is meanwhile, and prediction."""
    sites, chosen = [load_site(site) for site in site_folders(folder)], Settings(**fields)
    train, validation = pool(sites, "train"), sites[0].part("validation")
    times, apart = compare_epochs(train, validation, chosen, turns)
    rates = {side: [images / seconds for seconds in values] for side, values in times.items()}
    busy = gpu_busy(Trainer(chosen, train, validation), build(chosen), turns) if chosen.device == "cuda" else []
    network = build(chosen)
    predicted = [images / clock(lambda: predict_array(network, train[0], chosen.compute)) for _ in range(turns)][1:]
    return {
        "samples": {f"{side}, images/s": values for side, values in rates.items()},
        "checks": [
            at_least("images/s, of the bare loop's", ratio(rates["fedxray"], rates["bare loop"], "images/s"), 0.9),
            *([at_least("the GPU was busy", middle(busy), 95, "%")] if busy else []),
            told("prediction", middle(predicted), "images/s"),
        ],
        "notes": {"images": images, "epochs": turns, "greatest difference of loss": apart},
    }


def sites_on_device(folder: Path, fields: dict, images: int, turns: int) -> dict:
    """(A round of three sites, which train as many images as a central epoch) over (that epoch), by the scripts.

    Both validate once. The first, in which processes start, is left out.
    """
    run(fedxray_command(folder / "sites", kits(), fields, turns, folder / "federated"))
    words = ["--sites", *(site / "card.json" for site in site_folders(folder)), *open_options(fields)]
    words += ["--live", folder / "live", "--output", folder / "central" / "model.safetensors"]
    run(python(ROOT / "scripts" / "train_central.py", *words))
    seconds = {}
    for mode in ("federated", "central"):
        metrics = pd.read_csv(folder / mode / "metrics.csv")
        seconds[mode] = metrics[metrics["series"] == "global"]["seconds"].tolist()[1:]
    rounds, epochs = seconds.values()
    return {
        "samples": {"a federated round, s": rounds, "a central epoch, s": epochs},
        "checks": [at_most("a round of three sites, of a central epoch", ratio(rounds, epochs, "s"), 1.3)],
        "notes": {"images": images, "epochs": turns},
    }


def gpu_busy(trainer: Trainer, model: torch.nn.Module, turns: int) -> list[float]:
    """The percentages of time in which the GPU computed, from NVIDIA's management library, without the first epoch."""
    percents, ended = [], threading.Event()

    def sample() -> None:
        percents.append(torch.cuda.utilization())
        while not ended.wait(0.2):
            percents.append(torch.cuda.utilization())

    trainer.fit(model, *epochs(trainer, 0, 1))
    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        trainer.fit(model, *epochs(trainer, 1, turns))
    finally:  # else a run that is stopped would wait for this thread for ever
        ended.set()
        sampler.join()
    return percents


def predict(quick: bool) -> dict:
    """The work of `fedxray-predict` on originals, on one core: it reads files, resamples and predicts."""
    count, turns = (48, 3) if quick else (480, 5)
    folder, default = originals(count), Experiment.from_config(default_config())
    chosen = default.settings(default.runs[0])
    threads = torch.get_num_threads()
    with scratch() as model:
        save_model(model / "run.safetensors", get_parameters(build(chosen)))
        origin = {"experiment": "benchmark", "cohort": "", "mode": "federated", "run": "none"}
        export_model(model / "run.safetensors", chosen, model / "model", threshold=0.5, origin=origin, fit="stretch")
        torch.set_num_threads(1)
        rates = [count / clock(lambda: predict_images(model / "model", [folder]), cpu) for _ in range(turns)]
        images = np.random.default_rng(1).integers(0, 256, (2048, chosen.image_size, chosen.image_size), np.uint8)
        part = images, np.arange(len(images), dtype=np.float32) % 2
        network = build(chosen)
        bare = [len(images) / clock(lambda: validate(network, part, chosen.compute), cpu) for _ in range(turns)]
    torch.set_num_threads(threads)
    checks = [
        told("images a CPU second, from files of the originals' sizes", middle(rates)),
        told("images a CPU second, the network alone, 64 pixels", middle(bare)),
    ]
    return {
        "samples": {"from files, images a CPU s": rates, "network alone, images a CPU s": bare},
        "checks": checks,
        "notes": {},
    }
