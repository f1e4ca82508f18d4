# What the other rules share: the checked configuration, the experiment and its paths, and parts that many rules have.

import gc
import json
import os
import re
import shlex
import sys
from inspect import signature
from pathlib import Path

import yaml
from snakemake.common import overwrite_function_params
from snakemake.utils import update_config

# The package beside this file is the one that runs, wherever the workflow is started and whatever else is installed.
HOME = Path(str(workflow.current_basedir)).parent
sys.path.insert(0, str(HOME))
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [str(HOME), os.environ.get("PYTHONPATH")]))
)

# The rules call `python`, which is the one that runs Snakemake, whether its environment is active or not.
BESIDE = Path(sys.executable).parent
if not (BESIDE / "python").exists():
    sys.exit(
        f"error: {BESIDE}: no program python beside {sys.executable}; make an environment (make .venv/ready)"
    )
os.environ.update(
    PATH=os.pathsep.join(filter(None, [str(BESIDE), os.environ.get("PATH")]))
)

from fedxray.core.errors import UserError
from fedxray.core.machine import gpu_count
from fedxray.data import datasets
from fedxray.data.site import SiteFolder
from fedxray.experiment.check import (
    check_config,
    check_files,
    check_names,
    check_predecessor,
    typed,
)
from fedxray.experiment.code import Code
from fedxray.experiment.content import Content
from fedxray.experiment.experiment import Experiment
from fedxray.experiment.start import digest_of, file_of
from fedxray.experiment.folder import CohortFolder, DataFolder, Folder, RunFolder
from fedxray.experiment.given import given_of
from fedxray.report import contents

# Collect garbage rarely: collections would take a fifth of the time of a large plan.
gc.set_threshold(10_000_000)

schema = yaml.safe_load((HOME / "config" / "schema.yaml").read_text())
defaults = yaml.safe_load((HOME / "config" / "config.yaml").read_text())
given = given_of(typed(dict(config), schema), defaults)
update_config(defaults, config)
config.update(typed(defaults, schema))
try:
    check_files([HOME / "config" / "config.yaml", *workflow.configfiles])
    check_config(config, schema, given)
    EXPERIMENT = Experiment.from_config(config)
    check_names(EXPERIMENT)
    check_predecessor(config)
    # By the folder of its catalogue and pixels. Hospitals elsewhere have images of their own.
    HERE = config["federation"]["where"] == "here"
    SOURCES = {
        source.folder: source
        for source in [*datasets.sources(config), *datasets.external(config)] * HERE
    }
    datasets.check_apart(SOURCES.values(), Path("results"))
except UserError as error:
    sys.exit(f"error: {error}")

INITIAL = config["model"]["initial"]  # the model that every run begins with
ONCE = config["federation"]["engine"] == "inprocess"  # the chosen runs are confirmed
AT = Folder(f"results/{config['experiment']}")

# In the paths of rules a cohort and a site's data are one wildcard each: their folder, below one of the experiment's. The
# tables below say what each folder means, so that no path is taken apart.
TRAINED_ON = {
    source.name: AT.data(folder)
    for folder, source in SOURCES.items()
    if folder.startswith("data")
}
EXTERNAL = {
    source.name: source
    for folder, source in SOURCES.items()
    if folder.startswith("external")
}
COHORT = CohortFolder(AT.root / "{cohort}")
SITE = SiteFolder(AT.sites / "{site}")


def below(path, folder):
    """The value of one of these wildcards: a path as seen from `folder`."""
    return Path(path).relative_to(folder).as_posix()


COHORTS = {
    below(AT.cohort(cohort).path, AT.root): cohort for cohort in EXPERIMENT.cohorts
}
SITES = {
    below(AT.site(cohort, site), AT.sites): (cohort, site)
    for cohort in EXPERIMENT.cohorts
    for site in (*cohort.sites, "shared")
}
# By mode and the folder that a job writes; the hospitals that are trained alone share it.
RUNS = {mode: {} for mode in EXPERIMENT.modes}
for run in EXPERIMENT.jobs:
    RUNS[run.model.mode].setdefault(run.job, run)

# Such a folder, with a wildcard for each value of its point. One wildcard for all of it would not do: Snakemake splits
# the value of a wildcard at its commas when it hands a job to a node of a cluster.
JOBS, VALUES = {}, set()
for mode, runs in RUNS.items():
    first = next(iter(runs.values()))
    names = [*first.point, "seed"]
    JOBS[mode] = (
        "{within}/" * bool(first.model.cohort.name)
        + "{method}/" * bool(first.folder)
        + ",".join(f"{name}={{{name}}}" for name in names)
    )
    VALUES.update(names)


wildcard_constraints:
    **{name: "[^,/]+" for name in VALUES},
    cohort="cohort(/[^/]+)?",
    external="[^/]+",
    site="([^/]+/)?[^/]+",
    method="[^/]+",
    within="[^/]+",


def run_folder(mode):
    """The folder that a job of this mode writes, with wildcards."""
    return RunFolder(AT.runs / mode / JOBS[mode])


def run_of(mode, wildcards):
    """A run whose folder has these wildcards."""
    return RUNS[mode][JOBS[mode].format(**wildcards)]


def cards(cohort, shared=False):
    """The data card of each site of a cohort, and of the shared validation set."""
    names = [*cohort.sites, *["shared"] * shared]
    return [SiteFolder(AT.site(cohort, name)).card for name in names]


def every_card(shared=False):
    """The data card of each site of every cohort."""
    return [card for cohort in EXPERIMENT.cohorts for card in cards(cohort, shared)]


# The data card of each external test, and the option that tells a script which test sets these are.
EXTERNAL_CARDS = [SiteFolder(AT.external(name).site).card for name in EXTERNAL]
OF_EXTERNAL = shlex.join(["--external", *EXTERNAL]) if EXTERNAL else ""

# How unlike the sites of each cohort are, which also has their order.
HETEROGENEITY = [AT.cohort(cohort).heterogeneity for cohort in EXPERIMENT.cohorts]

# In the graph a run's record stands for the run, because it is written with the model, and a site's card for its data,
# because it has the checksums of images and table. Each input of each job costs time in the plan of a large sweep.
RECORDS = [
    (
        AT.runs / mode / job
        if mode in ("alone", "coalition")
        else RunFolder(AT.runs / mode / job).record
    )
    for mode, runs in RUNS.items()
    for job in runs
]

# On one machine so many jobs share each GPU at a time, unless --resources gpu=N says how many run in all. A cluster (which
# has a number of nodes) hands out its own.
SHARE_A_GPU = 4
GPU = 0 if config["training"]["device"] == "cpu" else 1
if (
    GPU
    and "gpu" not in workflow.global_resources
    and workflow.nodes is None
    and (gpus := gpu_count())
):
    workflow.register_resource("gpu", SHARE_A_GPU * gpus)


def kept(function):
    """A function for a rule, with its parameters kept, for which Snakemake asks several times for each job of a plan."""
    overwrite_function_params(function, signature(function).parameters)
    return function


def growing(amount):
    """A resource of which each attempt after a failure gets more: twice as much, then three times. Where a job that ran
    out of memory or time is tried again, as on a cluster (`retries` of its profile), the next attempt may succeed.
    """
    return kept(lambda wildcards, attempt: amount * attempt)


CODE = Code(HOME, memory=Path(".snakemake") / "fedxray-code.json")


def step(name, *files):
    """Parameters for scripts/<name>.py: its place, and the checksum of all code that it runs and of further files that
    it reads. Another place alone runs no job again, because Snakemake does not compare a parameter that is computed
    from the inputs.
    """
    path = HOME / "scripts" / f"{name}.py"
    return {
        "script": kept(lambda wildcards, input: path),
        "code": CODE.checksum(path, *files),
    }


def options(mode):
    """A parameter: what a run of this mode is trained with, as its script takes it: training settings, model to begin
    with, schedule, method and privacy. It is one text, quoted here, because each function for a parameter costs a plan
    time at each job, and Snakemake is slow with a list of words.
    """

    def words_of(wildcards):
        run = run_of(mode, wildcards)
        words = EXPERIMENT.settings(run).options()
        for path in started(run):
            words += ["--initial", str(path)]
        if mode != "central":
            words += ["--budget", run.budget]
        if mode in ("federated", "coalition"):
            words += ["--round", str(run.point["round"])]
            words += ["--steps", str(run.point.get("steps", 0))]
            words += run.method.options()
        if mode != "coalition":  # coalitions know no noise
            words += run.privacy.options()
        return shlex.join(words)

    return kept(words_of)


def started(run):
    """The model that a run begins with: that of another run, the one that is given, or none. Of hospitals that are trained
    alone it is the folder of the other runs.
    """
    if not run.goes_on_from:
        return [AT.initial] * bool(INITIAL)
    folder = RunFolder(AT.runs / run.model.mode / run.goes_on_from)
    return [folder.path if run.model.mode == "alone" else folder.model]


def live(mode):
    """A parameter: the folder in which TensorBoard sees a job's runs as they are trained."""
    return str(AT.live / mode / JOBS[mode])


# The statistics' options, as the scripts take them.
EVALUATION = config["evaluation"]
BOOTSTRAP = " ".join(
    f"--{key} {EVALUATION[key]}" for key in ["replicates", "confidence", "seed"]
)


def shown(path, item):
    """The file `path` as a part of the report: an item of report/contents.py, with the caption of its name."""
    about = {
        "category": contents.category(item),
        "labels": {"what": item.replace("_", " ")},
    }
    return report(str(path), caption=f"../report/{item}.rst", **about)


def of_cohort(name):
    """For an input: the file `name` of the cohort of a site."""
    return kept(lambda wildcards: getattr(AT.cohort(SITES[wildcards.site][0]), name))


def of_run(mode, function):
    """For a parameter or input: what a function makes of a run's cohort. Where all runs have one cohort it is a value,
    which costs a plan less than a function.
    """
    if len(EXPERIMENT.cohorts) == 1:
        return function(EXPERIMENT.cohorts[0])
    return kept(lambda wildcards: function(run_of(mode, wildcards).model.cohort))


def site_cards(mode, shared=False):
    """For a parameter or input: the data card of each site of a run's cohort, and of the shared validation set."""
    return of_run(mode, lambda cohort: cards(cohort, shared))


def shared_card(mode):
    """For a parameter or input: the data card of the validation set of a run's cohort."""
    return of_run(mode, lambda cohort: cards(cohort, True)[-1])


# Training takes the sites' cards as parameters. If there is one cohort, its input is the registry, which has the
# checksums of all cards: one input for each job and not four.
def data(mode):
    """For an input: the data that training on a run's cohort depends on."""
    return AT.registry if len(EXPERIMENT.cohorts) == 1 else site_cards(mode, True)


# For an input: the model that is given for all runs to begin with, if one is.
START = [AT.initial] * bool(INITIAL)


def initial(mode):
    """For an input: the model that a run begins with."""
    if not any(cohort.before for cohort in EXPERIMENT.cohorts):
        return START
    return kept(lambda wildcards: started(run_of(mode, wildcards)))


def drawn(script):
    """The figures that a script draws, as outputs: each as SVG, which the report shows, and as PNG."""
    files = {
        f"{name}_{kind}": (name, file)
        for name in contents.figures(EXPERIMENT, script)
        for kind, file in AT.figure(name)
    }
    return {
        output: shown(file, name) if file.suffix == ".svg" else str(file)
        for output, (name, file) in files.items()
    }


CONTENT = Content(Path(".snakemake") / "fedxray-content", look=workflow.is_main_process)


def made_by(rule):
    """A pattern of the wildcard `source`: the sources whose images this rule makes; none has an empty folder."""
    folders = [
        folder
        for folder, source in SOURCES.items()
        if source.dataset.rule == rule and not source.path
    ]
    return "|".join(map(re.escape, folders)) or "-"


def images_of(wildcards):
    """Where the images of a source are: where a rule makes them, or where the user has them. These are dated by their
    content, and not by the time of the folder or archive.
    """
    source = SOURCES[wildcards.source]
    return ancient(source.path) if source.path else AT.data(source.folder).images


def content_of(wildcards):
    """A parameter: a digest of the images that the user has; empty if a rule makes them."""
    source = SOURCES[wildcards.source]
    if not source.path:
        return ""
    account = AT.data(source.folder).account
    return CONTENT.digest(source.path, account, source.reading.table)


def read_by(wildcards):
    """A parameter: how the files of a source are read, as the script takes it."""
    return shlex.join(SOURCES[wildcards.source].reading.options())


def same_patients(wildcards):
    """A parameter: the catalogues of hospitals' images in which a patient's key means the same person as in a test's,
    because both are of one published data set.
    """
    dataset = EXTERNAL[wildcards.external].dataset
    return [
        AT.data(folder).catalogue
        for folder, source in SOURCES.items()
        if folder.startswith("data") and dataset.handle and source.dataset == dataset
    ]
