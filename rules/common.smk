# What the other rules share: paths, points, and which code a script depends on.

import ast
import json
import re
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

OUT = f"results/{config['experiment']}"
SITES = config["sites"]
MODES = ["federated", "central", "local"]
FIGURES = ["learning_curves", "roc", "metrics", "gain", "sites", "gallery"]
NOTE = "Synthetic phantom data" if config["dataset"]["source"] == "phantom" else ""

EPOCHS = config["federation"]["rounds"] * config["federation"]["local_epochs"]

# A point is what a run's path says of it. Central and local training know epochs, a federation rounds of local epochs.
POINT = "lr={lr},epochs={epochs},seed={seed}"
FEDERATED_POINT = "lr={lr},rounds={rounds},local_epochs={local_epochs},seed={seed}"


wildcard_constraints:
    site="|".join(SITES + ["shared"]),
    lr=r"[0-9.e+-]+",
    epochs=r"\d+",
    rounds=r"\d+",
    local_epochs=r"\d+",
    seed=r"\d+",
    run=r"(federated|central|local)/.+",


def runs_of(mode):
    """The runs of `mode`, one per seed (and, trained alone, per site), as paths under `runs/`."""
    pattern = {
        "federated": FEDERATED_POINT,
        "central": POINT,
        "local": f"{POINT}/{{site}}",
    }[mode]
    return expand(
        f"{mode}/{pattern}",
        lr=config["training"]["lr"],
        epochs=EPOCHS,
        rounds=config["federation"]["rounds"],
        local_epochs=config["federation"]["local_epochs"],
        seed=config["seeds"],
        site=SITES,
    )


RUNS = [run for mode in MODES for run in runs_of(mode)]


def settings_of(wildcards):
    """The training settings of one run (fields of fedxray.training.Settings), as JSON for its script."""
    named = re.findall(r"(\w+)=([^,/]+)", wildcards.get("run", ""))
    point = dict(named) | {
        key: value for key, value in wildcards.items() if key != "run"
    }
    training = {
        key: value for key, value in config["training"].items() if key != "augmentation"
    }
    settings = training | config["training"]["augmentation"]
    settings |= {
        "model": config["model"]["name"],
        "image_size": config["image_size"],
        "class_weights": config["split"]["balance"] == "weighted_loss",
        "lr": float(point["lr"]),
        "seed": int(point["seed"]),
        "epochs": int(
            point.get("epochs") or int(point["rounds"]) * int(point["local_epochs"])
        ),
    }
    return json.dumps(settings)


def site_files(*names, sites=SITES):
    """The files `names` of each of `sites`."""
    return expand(f"{OUT}/sites/{{site}}/{{name}}", site=sites, name=names)


def site_folders(sites=SITES):
    """The directory of each of `sites`, as a script takes it."""
    return [f"{OUT}/sites/{site}" for site in sites]


def run_files(name, runs=RUNS):
    """The file `name` of each of `runs`."""
    return [f"{OUT}/runs/{run}/{name}" for run in runs]


def run_folders(runs=RUNS):
    """The directory of each of `runs`, as a script takes it."""
    return [f"{OUT}/runs/{run}" for run in runs]


@cache
def imported(path):
    """The files of fedxray that the Python file `path` imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(Path(path).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {
                node.module,
                *(f"{node.module}.{alias.name}" for alias in node.names),
            }
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    files = {
        f"{Path(*name.split('.'))}.py"
        for name in names
        if name.split(".")[0] == "fedxray"
    }
    files = {file for file in files if Path(file).exists() and file != str(path)}
    return frozenset(files.union(*(imported(file) for file in files)))


def code(script, *named):
    """The script of a step and every file of fedxray that it runs, as its inputs: an edit reruns what it touches.

    `named` are files that a script runs without importing them.
    """
    files = [f"scripts/{script}.py", *named]
    return sorted({*files, *(file for one in files for file in imported(one))})
