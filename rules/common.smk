# What the other rules share: the checked configuration, paths, points, and which code a script depends on.

import ast
import gc
import json
import sys
from functools import cache
from hashlib import sha256
from inspect import signature
from pathlib import Path

import pandas as pd
import yaml
from snakemake.utils import Paramspace

import fedxray.core.files
from fedxray.experiment import sweep
from fedxray.experiment.check import check_config, typed
from fedxray.core.errors import UserError

# Or Python searches the growing graph for garbage again and again: a fifth of a large plan's time.
gc.set_threshold(10_000_000)

schema = yaml.safe_load(Path("config/schema.yaml").read_text())
config.update(typed(config, schema))
try:
    check_config(config, schema)
except UserError as error:
    sys.exit(f"error: {error}")

OUT = f"results/{config['experiment']}"
KITS = f"{OUT}/federation/kits.json"
CONFIRMED = (
    [f"{OUT}/confirmed.csv"] if config["federation"]["engine"] == "inprocess" else []
)
REGISTRY = f"{OUT}/sites/registry.csv"

GPU = 0 if config["training"]["device"] == "cpu" else 1

# The sweep's runs by their folders, which the hospitals trained alone share; and for each mode the points as a
# Paramspace: its pattern names a run's folder, below its cohort's.
RUNS = {run.folder: run for run in sweep.runs(config)}
COHORTS = list(dict.fromkeys(run.cohort for run in RUNS.values()))
SPACES = {
    mode: Paramspace(
        pd.DataFrame(sweep.space(mode, RUNS.values())),
        filename_params="*",
        param_sep="=",
        filename_sep=",",
    )
    for mode in sweep.modes(config)
}
PATTERNS = {
    mode: f"{mode}/{{cohort}}{space.wildcard_pattern}" for mode, space in SPACES.items()
}
FEDERATED, ALONE = PATTERNS["federated"], PATTERNS["alone"]
RESULTS = ["learning_curves", "roc", "metrics", "gain", "differences", "cross_site"]
RESULTS += ["calibration", "communication"]
SWEPT = len(RUNS) > len(COHORTS) * len(config["seeds"]) * len(SPACES)
RESULTS += ["sweep"] if SWEPT else []
RESULTS += ["cohorts"] if len(COHORTS) > 1 else []
FIGURES = [*RESULTS, "sites", "gallery", "mistakes"]
PAGES = ["conclusions", "datasheet", "methods", "model_card", "configuration"]
PAGES += ["environment"]

# What a script needs to know which runs there are, as JSON: no more, so that nothing else reruns it.
EXPERIMENT = json.dumps(
    {
        key: config[key]
        for key in ["sites", "split", "model", "training", "seeds", "sweep"]
    }
    | {
        "federation": {
            key: config["federation"][key] for key in ["where", "rounds", "local_epochs"]
        }
    }
)


wildcard_constraints:
    **{name: "[^,/]+" for space in SPACES.values() for name in space.ordered_columns},
    cohort="|([a-z_]+=[^,/]+,?)+/",
    site="|".join([*config["sites"], "shared"]),


def signed(function):
    """A function for a rule, with its signature kept: Snakemake inspects it several times for each job of a plan."""
    function.__signature__ = signature(function)
    return function


def growing(amount):
    """A resource that an attempt after a failure has more of: twice it, then three times. Where a job that ran out of
    memory or time is tried again, as on a cluster (`retries` of its profile), the next attempt may do.
    """
    return signed(lambda wildcards, attempt: amount * attempt)


def settings_of(pattern):
    """A param: the training settings (fedxray.experiment.settings.Settings), as JSON, of the run whose folder is `pattern`."""

    def settings(wildcards):
        run = RUNS[pattern.format(**wildcards)]
        return json.dumps(sweep.settings(run.values | {"seed": run.seed}, config))

    return signed(settings)


# A site's data and a run's files each stand in the graph as one file that is made with the others: card.json has the
# checksums of the images and their table, and record.json comes with the model. Snakemake takes its time over each
# input of each job, which a sweep of thousands feels.
def every_card(shared=False):
    """The data card of each site of every cohort."""
    return [
        f"{OUT}/sites/{cohort}{site}/card.json"
        for cohort in COHORTS
        for site in sweep.sites_of(cohort, config) + ["shared"] * shared
    ]


def cards_of(wildcards):
    """The data card of each site of the cohort."""
    sites = sweep.sites_of(wildcards.cohort, config)
    return [f"{OUT}/sites/{wildcards.cohort}{site}/card.json" for site in sites]


def data_of(wildcards):
    """The data that training on a cohort depends on."""
    return [*cards_of(wildcards), f"{OUT}/sites/{wildcards.cohort}shared/card.json"]


# Training takes the sites' cards as a param. Its input, where there is one cohort, is the registry, which has the
# checksums of all cards: one file a job and not four.
CARDS, DATA = (every_card(), REGISTRY) if COHORTS == [""] else (cards_of, data_of)


def below(path):
    """For a param: a folder of the results that holds inputs, as a script takes it."""
    return lambda wildcards: f"{OUT}/{path.format(**wildcards)}"


def every_record():
    """The record of each run; the folder of each point of the hospitals alone."""
    return [
        (
            f"{OUT}/runs/{folder}"
            if run.mode == "alone"
            else f"{OUT}/runs/{folder}/record.json"
        )
        for folder, run in RUNS.items()
    ]


def shown(path, name, category):
    """The file `path` as a part of the report, with the caption of its name."""
    about = {"category": category, "labels": {"what": name.replace("_", " ")}}
    return report(path, caption=f"../report/{name}.rst", **about)


def figures(*names, category):
    """Outputs that are these figures: each as SVG, which the report shows, and as PNG."""
    svg = {
        f"{name}_svg": shown(f"{OUT}/figures/{name}.svg", name, category)
        for name in names
    }
    return svg | {f"{name}_png": f"{OUT}/figures/{name}.png" for name in names}


def pages(**categories):
    """Outputs that are these pages of the report, each in its category."""
    return {
        name: shown(f"{OUT}/report/{name}.html", name, category)
        for name, category in categories.items()
    }


checksum = cache(fedxray.core.files.sha256)


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
    """For a param: the checksum of the script of a step and of every file of fedxray that it runs.

    So an edit reruns what it touches. `named` are files that a script runs without importing them. One param, because
    Snakemake takes its time over each input of each job.
    """
    files = [f"scripts/{script}.py", *named]
    files = sorted({*files, *(file for one in files for file in imported(one))})
    return sha256("".join(map(checksum, files)).encode()).hexdigest()[:16]
