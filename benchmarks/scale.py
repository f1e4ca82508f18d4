"""How wall time and memory grow: each row varies one thing, and keeps the others small and fixed."""

import math
import statistics
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import psutil
from matplotlib.ticker import NullFormatter

from benchmarks.data import step
from benchmarks.federation import fedxray_command, kits
from benchmarks.inputs import open_options, originals, random_sites, scratch, settings
from benchmarks.measure import ROOT, Cost, Spread, at_most, python, run, shown
from benchmarks.workflow import snakemake, sweep_config, write_config
from fedxray.report.figures import save

TOLERANCE = 1.1  # up to this exponent growth counts as linear, because times scatter
MODELS = {"compact": 0.077, "squeezenet1_0": 0.73, "mobilenet_v3_large": 4.2, "resnet18": 11.2, "resnet50": 23.5}


def grow(what: str, sizes: list, cost: Callable[[float], tuple[float, float]]) -> dict:
    """A row: seconds and MB at each size, and the exponent of time between the last two.

    A size that would need more memory than the machine has, by the growth so far, is left out and named.
    """
    points, left_out = [], []
    for size in sizes:
        if _expected_mb(points, size) > 0.85 * psutil.virtual_memory().total / 1e6:
            left_out.append(size)
            continue
        seconds, peak = cost(size)
        points.append({"size": size, "seconds": seconds, "mb": peak})
        print(f"  {size:g}: {seconds:.2f} s, {peak:.0f} MB", flush=True)
    power = exponent(points)
    sides = " / ".join(f"{shown(point['seconds'], 's')} at {point['size']:g}" for point in points[:-3:-1])
    check = at_most(f"{what}: power of its growth in time", Spread(power, power, power, sides), TOLERANCE)
    return {"what": what, "points": points, "checks": [check], "notes": {"too much memory for this machine": left_out}}


def exponent(points: list[dict]) -> float:
    """The log-log slope of seconds over size between the last two points: 1 is linear."""
    (one, two) = points[-2:]
    return math.log(two["seconds"] / one["seconds"]) / math.log(two["size"] / one["size"])


def _expected_mb(points: list[dict], size: float) -> float:
    """Memory at `size` on the line through the last two points."""
    if len(points) < 2:
        return 0.0
    (one, two) = points[-2:]
    return two["mb"] + max(0.0, two["mb"] - one["mb"]) / (two["size"] - one["size"]) * (size - two["size"])


def resample_images(quick: bool) -> dict:
    """Images, resampled to 64 pixels on two processes: 1,000 phantoms under as many names as are needed."""

    def cost(count: int) -> tuple[float, float]:
        measured = step(originals(count, phantoms=1000), 64, 2)
        return measured.seconds, measured.peak_mb

    return grow("images resampled", [200, 400] if quick else [1000, 10_000, 30_000, 100_000], cost)


def train_images(quick: bool) -> dict:
    """Training images of 64 pixels, one epoch of central training by its script."""

    def cost(count: int) -> tuple[float, float]:
        with scratch() as folder:
            random_sites(folder / "sites", count, 64, ("us",))
            chosen = settings(folder / "sites" / "shared", 1)
            words = ["--sites", folder / "sites" / "us" / "card.json", *open_options(chosen)]
            words += ["--live", folder / "live", "--output", folder / "run" / "model.safetensors"]
            measured = run(python(ROOT / "scripts" / "train_central.py", *words), 3600)
        return measured.seconds, measured.peak_mb

    return grow("images trained on", [300, 600] if quick else [1000, 10_000, 30_000, 100_000], cost)


def federation_sites(quick: bool) -> dict:
    """Sites of a federation, 20 images each, three rounds."""

    def cost(count: int) -> tuple[float, float]:
        measured, _ = _federation([f"site-{number}" for number in range(count)], 3)
        return measured.seconds, measured.peak_mb

    return grow("sites", [2, 3] if quick else [3, 10, 30], cost)


def federation_rounds(quick: bool) -> dict:
    """Rounds of three sites with 20 images each."""

    def cost(count: int) -> tuple[float, float]:
        measured, _ = _federation(["us", "europe", "asia"], count)
        return measured.seconds, measured.peak_mb

    return grow("rounds", [2, 4] if quick else [10, 50, 200], cost)


def model_parameters(quick: bool) -> dict:
    """Millions of parameters: the median round of three sites with 6 images each, 64 pixels."""
    names = {parameters: name for name, parameters in MODELS.items()}

    def cost(parameters: float) -> tuple[float, float]:
        measured, rounds = _federation(["us", "europe", "asia"], 3 if quick else 6, names[parameters], 6)
        return statistics.median(rounds[1:]), measured.peak_mb

    return grow("millions of parameters", list(names)[:2] if quick else list(names), cost)


def _federation(sites: list[str], rounds: int, model: str = "compact", images: int = 0) -> tuple[Cost, list[float]]:
    """(cost of a federated run, seconds of each round)."""
    with scratch() as folder:
        random_sites(folder / "sites", images or 20 * len(sites), 64, tuple(sites))
        chosen = settings(folder / "sites" / "shared", rounds, model=model)
        command = fedxray_command(folder / "sites", kits(sites), chosen, rounds, folder / "run", sites)
        cost = run(command, 3600)
        metrics = pd.read_csv(folder / "run" / "metrics.csv")
    return cost, metrics[metrics["series"] == "global"]["seconds"].tolist()


def plan_points(quick: bool) -> dict:
    """Points of a sweep, five runs each: the dry run."""

    def cost(count: int) -> tuple[float, float]:
        with scratch() as folder:
            path = write_config(folder, sweep_config(count))
            measured = snakemake("--dry-run", "--quiet", "all", "--configfile", path)
        return measured.seconds, measured.peak_mb

    return grow("points of a sweep, planned", [5, 10] if quick else [10, 100, 300, 1000], cost)


def plot(book: dict, folder: Path) -> None:
    """Write docs/figures/scale.svg and .png: for each row a panel with seconds and MB over its size."""
    rows = [row for row in book["rows"].values() if row["status"] == "done"]
    figure, axes = plt.subplots(2, -(-len(rows) // 2), figsize=(4 * -(-len(rows) // 2), 7), layout="constrained")
    for axis, row in zip(axes.flat, rows, strict=False):
        table = pd.DataFrame(row["points"])
        memory = axis.twinx()
        for one, column, unit, style, color in (
            (axis, "seconds", "seconds", "o-", "#0072B2"),
            (memory, "mb", "MB", "s--", "#D55E00"),
        ):
            one.plot(table["size"], table[column], style, color=color)
            one.set_yscale("log")
            one.set_ylim(
                10 ** math.floor(math.log10(table[column].min())), 10 ** math.ceil(math.log10(table[column].max()))
            )
            one.yaxis.set_major_formatter("{x:g}")
            one.yaxis.set_minor_formatter(NullFormatter())
            one.tick_params(axis="y", colors=color)
            one.set_ylabel(unit, color=color)
        memory.grid(False)
        memory.spines["right"].set_visible(True)
        axis.set_xscale("log")
        axis.set_xticks(table["size"], [f"{size:g}" if size < 1000 else f"{size / 1000:g}k" for size in table["size"]])
        axis.tick_params(axis="x", rotation=30)
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel(row["what"])
    for axis in axes.flat[len(rows) :]:
        axis.axis("off")
    files = [(kind, folder / f"scale.{kind}") for kind in ("svg", "png")]
    save(figure, files, "Toy sizes: whether it runs" if book["quick"] else "")
