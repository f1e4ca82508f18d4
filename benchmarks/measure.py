"""Measure what the README claims, on this machine; each line says what took how many seconds, and what was reached.

python benchmarks/measure.py graph               # the phantom experiment, from nothing
python benchmarks/measure.py nothing             # then a run with nothing to do
python benchmarks/measure.py real images.zip     # the real images at 64 pixels, from nothing: seconds and AUROC
python benchmarks/measure.py resample images.zip # reduced against full decoding, and peak memory of all processes
python benchmarks/measure.py plan 200            # the dry run of a sweep of so many points (of five runs each)
python benchmarks/measure.py analyse 200         # choice, TensorBoard and curves of such a sweep: seconds and memory
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pandas as pd
import psutil
import yaml

from fedxray.data.catalogue import build_catalogue
from fedxray.data.pixels import resample
from fedxray.files import write_json, write_table
from fedxray.sweep import Run, runs
from fedxray.tensorboard import SCALARS

SNAKEMAKE = [sys.executable, "-m", "snakemake", "--cores", "2"]


def seconds(command: list[str]) -> float:
    """Wall-clock seconds of a command that must succeed."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit((done.stdout + done.stderr)[-3000:])
    return time.perf_counter() - start


def peak_memory(work) -> tuple[float, float]:
    """(seconds of `work()`, most MB that this process and its children held; shared pages count once)."""
    peak, done = [0.0], threading.Event()

    def sample():
        while not done.wait(0.05):
            total = 0
            for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            peak[0] = max(peak[0], total / 1e6)

    thread = threading.Thread(target=sample)
    thread.start()
    start = time.perf_counter()
    work()
    elapsed = time.perf_counter() - start
    done.set()
    thread.join()
    return elapsed, peak[0]


def measure_graph() -> None:
    """The phantom experiment from nothing."""
    took = seconds([*SNAKEMAKE, "--config", "experiment=benchmark", "--forceall"])
    print(f"phantom, the whole graph: {took:.0f} s")


def measure_nothing() -> None:
    """The median of three runs with nothing to do, after `graph`."""
    took = sorted(seconds([*SNAKEMAKE, "--config", "experiment=benchmark"]) for _ in range(3))
    print(f"nothing to do: {took[1]:.1f} s")


def measure_real(path: Path) -> None:
    """The real images from nothing, and what the models reach on the pooled test set."""
    config = ["--configfile", "config/kaggle.yaml", "--config", f"dataset={{archive: {path}}}"]
    took = seconds([*SNAKEMAKE, *config, "experiment=benchmark-real", "--forceall"])
    table = pd.read_csv("results/benchmark-real/summary.csv")
    rows = table[(table["test_set"] == "pooled") & (table["metric"] == "auroc")]
    table = rows.set_index(["mode", "site"])["estimate"]
    federated, central = table["federated", "pooled"], table["central", "pooled"]
    print(f"real images, the whole graph: {took:.0f} s")
    print(f"AUROC federated {federated:.4f}, central {central:.4f}, apart {federated - central:+.4f}")


def measure_resample(path: Path) -> None:
    """Resample every image of `path` to 64 pixels on two processes, with and without reduced decoding."""
    with tempfile.TemporaryDirectory() as folder:
        catalogue, output = Path(folder) / "catalogue.csv", Path(folder) / "pixels.npy"
        table, _ = build_catalogue(path, "drop", 2)
        write_table(catalogue, table)
        took = {}
        for draft in (True, False):
            took[draft], memory = peak_memory(lambda draft=draft: resample(path, catalogue, 64, 2, output, draft))
            name = "reduced" if draft else "full"
            print(f"{name} decoding of {len(table)} images: {took[draft]:.1f} s, at most {memory:.0f} MB")
        print(f"full / reduced: {took[False] / took[True]:.2f}")


def sweep_config(points: int) -> dict:
    """The default configuration with a sweep of so many learning rates."""
    config = yaml.safe_load(Path("config/config.yaml").read_text())
    config["sweep"]["grid"] = {"training.lr": [round(0.0001 * (1 + number), 6) for number in range(points)]}
    return config | {"experiment": "benchmark-sweep"}


def measure_plan(points: int) -> None:
    """The dry run of a sweep."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(sweep_config(points)))
        took = seconds([*SNAKEMAKE, "--dry-run", "--quiet", "all", "--configfile", str(path)])
    print(f"dry run of {points} points, {len(runs(sweep_config(points)))} runs: {took:.1f} s")


def measure_analysis(points: int) -> None:
    """What grows with the runs of a sweep: choice of points, TensorBoard, figures; of made-up records of 20 epochs."""
    config = sweep_config(points)
    keys = ("sites", "split", "model", "training", "federation", "seeds", "sweep")
    experiment = json.dumps({key: config[key] for key in keys})
    with tempfile.TemporaryDirectory() as name:
        folder, count = Path(name), len(runs(config))
        for number, run in enumerate(runs(config)):
            _make_up(folder / "runs" / run.path, run, number)
        given = ["--experiment", experiment, "--runs", str(folder / "runs"), "--output"]
        commands = {
            "choose_points": [*given, str(folder / "points.csv")],
            "export_tensorboard": [*given, str(folder / "tensorboard")],
            "plot_results": ["--figures", "sweep", "communication", *given[2:], str(folder / "figures")],
        }
        for table in ("points", "predictions", "summary", "differences"):
            commands["plot_results"] += [f"--{table}", str(folder / f"{table}.csv")]
            write_table(folder / f"{table}.csv", pd.DataFrame({"none": [0]}))
        commands["plot_results"] += ["--cohorts", name]
        for script, words in commands.items():
            command = [sys.executable, f"scripts/{script}.py", *words]
            took, memory = peak_memory(lambda command=command: seconds(command))
            print(f"{script} of {count} runs: {took:.1f} s, at most {memory:.0f} MB")


def _make_up(folder: Path, run: Run, number: int) -> None:
    """The record and the metrics of a run that never was."""
    record = {"mode": run.mode, "site": run.site, "lr": run.values["lr"], "epochs": 20, "rounds": None}
    record |= {"local_epochs": None, "seed": 1, "parameters": 76977, "bytes_sent": 0, "seconds": 9.0}
    if run.mode == "federated":
        record |= {"rounds": 20, "local_epochs": 1}
    rows = {column: [number / 1e6 + epoch / 100 for epoch in range(20)] for column in SCALARS}
    write_json(folder / "record.json", record)
    table = pd.DataFrame({"epoch": range(1, 21), "series": "global", **rows, "seconds": 1.0})
    write_table(folder / "metrics.csv", table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["graph", "nothing", "real", "resample", "plan", "analyse"])
    parser.add_argument("of", nargs="?", help="the archive, or the number of points")
    options = parser.parse_args()
    match options.what:
        case "graph":
            measure_graph()
        case "nothing":
            measure_nothing()
        case "real":
            measure_real(Path(options.of))
        case "resample":
            measure_resample(Path(options.of))
        case "plan":
            measure_plan(int(options.of))
        case "analyse":
            measure_analysis(int(options.of))
