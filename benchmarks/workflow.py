"""The rows `idle` and `sweep`, and those that run by name alone, `graph`, `real` and `analyse`: the whole workflow."""

import shutil
from pathlib import Path

import pandas as pd
import yaml

from benchmarks.events import make_up_run
from benchmarks.inputs import ARCHIVE, SNAKEMAKE, default_config, scratch
from benchmarks.measure import ROOT, Spread, at_least, at_most, middle, python, run, shown, told
from fedxray.core.files import write_json, write_table
from fedxray.experiment.experiment import Experiment
from fedxray.experiment.folder import Folder

SMOKE = ["--configfile", "config/smoke.yaml"]


def snakemake(*words: str, config: tuple[str, ...] = ()):
    """The cost of one command of Snakemake."""
    return run([*SNAKEMAKE, *words, *(["--config", *config] if config else [])], 3600)


def idle(quick: bool) -> dict:
    """The time of the workflow when there is nothing to do, and of its plan (dry run)."""
    turns, points = (2, 50) if quick else (3, 1000)
    runs = len(Experiment.from_config(sweep_config(points)).runs)
    done = ("experiment=benchmark-idle",)
    snakemake(*SMOKE, config=done)
    with scratch() as folder:
        path = write_config(folder, sweep_config(points))
        plan = [snakemake("--dry-run", "--quiet", "all", "--configfile", path).seconds for _ in range(turns)]
    nothing = [snakemake(*SMOKE, config=done).seconds for _ in range(turns)]
    dry = [snakemake("--dry-run", "--quiet", config=("experiment=benchmark-none",)).seconds for _ in range(turns)]
    return {
        "samples": {"nothing to do, s": nothing, "dry run, s": dry, f"dry run of {points} points, s": plan},
        "checks": [
            at_most("a run with nothing to do", middle(nothing), 3, "s"),
            at_most("the plan (dry run) of the default experiment", middle(dry), 3, "s"),
            at_most(f"the plan of a sweep of {points} points, {runs} runs", middle(plan), 6, "s"),
        ],
        "notes": {},
    }


def sweep_config(points: int) -> dict:
    """The default configuration with a sweep of `points` learning rates."""
    config = default_config() | {"experiment": "benchmark-sweep"}
    config["sweep"]["grid"] = {"training.lr": [round(0.0001 * (1 + number), 6) for number in range(points)]}
    return config


def write_config(folder: Path, config: dict) -> str:
    """A file for --configfile."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def sweep(quick: bool) -> dict:
    """A sweep from nothing, against as many runs of the whole workflow. Two of these are run, the others estimated.

    The sweep trains in one process and confirms what it chooses by a federation, as those in config/sweeps do; a single
    run is a federation, as `make run` is.
    """
    rates, epochs = ([0.001, 0.003], [1]) if quick else ([0.0003 * 1.5**n for n in range(9)], [1, 2, 3])
    config = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
    grid = {"training.lr": [round(rate, 6) for rate in rates], "training.epochs": epochs}
    count = len(rates) * len(epochs)
    with scratch() as folder:
        _forget("benchmark-sweep")
        path = write_config(folder, config | {"sweep": {"grid": grid}, "federation": {"engine": "inprocess"}})
        whole = snakemake("--configfile", path, config=("experiment=benchmark-sweep",))
        one = []
        for epoch in sorted({epochs[0], epochs[-1]}):
            _forget("benchmark-one")
            values = ("experiment=benchmark-one", f"training={{epochs: {epoch}}}")
            one.append(snakemake(*SMOKE, config=values).seconds)
    separate = count * sum(one) / len(one)
    low, high = (count * pick(one) / whole.seconds for pick in (min, max))
    sides = f"{shown(separate, 's')} / {shown(whole.seconds, 's')}"
    return {
        "samples": {"the sweep, s": [whole.seconds], "one separate run, s": one},
        "checks": [
            at_least(
                f"{count} separate runs, of the time of one sweep",
                Spread(separate / whole.seconds, low, high, sides),
                3,
            ),
            told("peak memory of the sweep", middle([whole.peak_mb]), "MB"),
        ],
        "notes": {"points": count, "runs": 5 * count, "separate runs that were made": len(one)},
    }


def _forget(name: str) -> None:
    shutil.rmtree(ROOT / "results" / name, ignore_errors=True)


def graph(quick: bool) -> dict:
    """The default experiment, or the smallest, from nothing."""
    _forget("benchmark")
    cost = snakemake(*(SMOKE if quick else []), config=("experiment=benchmark",))
    checks = [told("the whole graph on the phantom", middle([cost.seconds]), "s")]
    return {"samples": {}, "checks": [*checks, told("its peak memory", middle([cost.peak_mb]), "MB")], "notes": {}}


def real(quick: bool) -> dict:
    """The real images from nothing, and what the models reach on the pooled test set."""
    if quick or not ARCHIVE.exists():
        return {"status": "skipped", "reason": "quick" if quick else f"no {ARCHIVE.name} here"}
    _forget("benchmark-whole")
    values = (f"dataset={{archive: {ARCHIVE}}}", "experiment=benchmark-whole")
    cost = snakemake("--configfile", "config/kermany.yaml", config=values)
    table = pd.read_csv(ROOT / "results" / "benchmark-whole" / "summary.csv")
    rows = table[(table["test_set"] == "pooled") & (table["metric"] == "auroc")].set_index("mode")["estimate"]
    checks = [told("the whole graph on the real images", middle([cost.seconds]), "s")]
    notes = {"test AUROC": {mode: rows[mode] for mode in ("federated", "central")}}
    return {"samples": {}, "checks": [*checks, told("its peak memory", middle([cost.peak_mb]), "MB")], "notes": notes}


def analyse(quick: bool) -> dict:
    """The steps that grow with the runs of a sweep, for invented runs: choice of points, TensorBoard and figures."""
    experiment = Experiment.from_config(sweep_config(10 if quick else 200))
    with scratch() as root:
        folder = Folder(root)
        write_json(folder.experiment, experiment.config)
        for number, one in enumerate(experiment.runs):
            point = {"mode": one.model.mode, "site": one.model.site, "lr": one.point["lr"]}
            point |= {"schedule": {"rounds": 20, "round": 1.0}, "method": {} if one.model.mode == "federated" else None}
            make_up_run(folder.run(one.path).path, number, **point)
        for table in (folder.chosen, folder.predictions, folder.summary, folder.differences):
            write_table(table, pd.DataFrame({"none": [0]}))
        write_table(folder.registry, pd.DataFrame({"synthetic": [True], "patients_known": [True], "trouble": [""]}))
        common = ["--experiment", folder.experiment, "--results", root, "--output"]
        statistics = ["--replicates", 1, "--confidence", 0.95, "--seed", 1, "--margin", 0.02]
        commands = {
            "choose_points": [*common, folder.points],
            "export_tensorboard": [*common, folder.tensorboard],
            "plot_results": ["--figures", "sweep", "communication", "--results", root, *statistics],
        }
        costs = {name: run(python(ROOT / "scripts" / f"{name}.py", *words)) for name, words in commands.items()}
    runs = len(experiment.runs)
    checks = [told(f"{name} of {runs} runs", middle([cost.seconds]), "s") for name, cost in costs.items()]
    checks.append(told("their peak memory", middle([max(cost.peak_mb for cost in costs.values())]), "MB"))
    return {"samples": {}, "checks": checks, "notes": {}}
