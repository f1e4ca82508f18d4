# What the other rules share: the checked configuration, paths, points, and which code a script depends on.

import ast
import json
import sys
from functools import cache
from pathlib import Path

import pandas as pd
import yaml
from snakemake.utils import Paramspace

from fedxray import sweep
from fedxray.config import check_config, typed
from fedxray.errors import UserError

schema = yaml.safe_load(Path("config/schema.yaml").read_text())
config.update(typed(config, schema))
try:
    check_config(config, schema)
except UserError as error:
    sys.exit(f"error: {error}")

OUT = f"results/{config['experiment']}"
KITS = f"{OUT}/federation/kits.json"
NOTE = "Synthetic phantom data" if config["dataset"]["source"] == "phantom" else ""

GPU = 0 if config["training"]["device"] == "cpu" else 1

# The sweep's runs, and for each mode the points as a Paramspace: its pattern names a run's folder, below its cohort's.
RUNS = {run.path: run for run in sweep.runs(config)}
COHORTS = sweep.cohorts(config)
SPACES = {
    mode: Paramspace(
        pd.DataFrame(sweep.space(mode, config)),
        filename_params="*",
        param_sep="=",
        filename_sep=",",
    )
    for mode in sweep.MODES
}
FEDERATED, CENTRAL, LOCAL = (
    f"{mode}/{{cohort}}{space.wildcard_pattern}" for mode, space in SPACES.items()
)
RESULTS = ["learning_curves", "roc", "metrics", "gain", "differences", "cross_site"]
RESULTS += ["calibration", "communication"]
RESULTS += ["sweep"] if len(sweep.points(config)) > len(COHORTS) else []
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
            key: config["federation"][key] for key in ["rounds", "local_epochs"]
        }
    }
)


wildcard_constraints:
    **{name: "[^,/]+" for space in SPACES.values() for name in space.ordered_columns},
    cohort="|([a-z_]+=[^,/]+,?)+/",
    site="|".join([*config["sites"], "shared"]),


def growing(amount):
    """A resource that an attempt after a failure has more of: twice it, then three times. Where a job that ran out of
    memory or time is tried again, as on a cluster (`retries` of its profile), the next attempt may do.
    """
    return lambda wildcards, attempt: amount * attempt


def settings_of(pattern):
    """A param: the training settings (fedxray.training.Settings), as JSON, of the run whose folder is `pattern`."""

    def settings(wildcards):
        run = RUNS[pattern.format(**wildcards)]
        return json.dumps(sweep.settings(run.values | {"seed": run.seed}, config))

    return settings


def site_files(*names, shared=False):
    """The files `names` of each site of the cohort (with `shared`, of the shared validation set too)."""

    def files(wildcards):
        folders = site_folders(wildcards)
        folders += [f"{OUT}/sites/{wildcards.cohort}shared"] if shared else []
        return expand("{folder}/{name}", folder=folders, name=names)

    return files


def site_folders(wildcards):
    """The directory of each site of the cohort, as a script takes it."""
    sites = sweep.sites_of(wildcards.cohort, config)
    return expand(f"{OUT}/sites/{wildcards.cohort}{{site}}", site=sites)


def below(path):
    """For a param: a folder of the results that holds inputs, as a script takes it."""
    return lambda wildcards: f"{OUT}/{path.format(**wildcards)}"


def every_site_file(*names, shared=False):
    """The files `names` of each site of every cohort."""
    folders = [
        f"{OUT}/sites/{cohort}{site}"
        for cohort in COHORTS
        for site in sweep.sites_of(cohort, config) + ["shared"] * shared
    ]
    return expand("{folder}/{name}", folder=folders, name=names)


def run_files(name):
    """The file `name` of each run."""
    return [f"{OUT}/runs/{path}/{name}" for path in RUNS]


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
