"""A small experiment whose exported model is to be judged, and calls of the scripts that do it."""

import runpy
import shutil
from argparse import Namespace
from pathlib import Path

from helpers.data import make_settings, make_sites, points_of

from fedxray.analysis.choice import with_thresholds
from fedxray.analysis.predictions import predict_chosen, thresholds_of
from fedxray.core.files import read_json, read_table, write_json, write_table
from fedxray.core.parameters import save_model
from fedxray.data.registry import tabulate_cohorts
from fedxray.data.site import make_site
from fedxray.experiment.cohorts import Cohort
from fedxray.experiment.folder import Folder
from fedxray.training.exported import write_config
from fedxray.training.models import build, get_parameters

SITES, SCRIPTS = ("us", "asia"), Path(__file__).parents[2] / "scripts"
COHORT = Cohort("", SITES, {})


def experiment_to_judge(root, second=0):
    """The folder of an experiment whose one federated model, never trained, was predicted and exported.

    Its predecessor is the directory `before` beside it. The last `second` of the 24 test images of each site, all of
    patients of their own, are of a second wave.
    """
    folder, settings = Folder(root / "small"), make_settings(image_size=16)
    make_sites(folder.sites, SITES)
    if second:
        split = read_table(folder.sites / "split.csv")
        late = split["image"].str.extract(r"(\d+)$")[0].astype(int) >= 24 - second
        write_table(folder.sites / "split.csv", split.assign(wave=1 + late.astype(int)))
        for site in (*SITES, "shared"):
            make_site(folder.sites / "split.csv", [folder.sites / "pixels.npy"], site, folder.sites / site)
    cards = [read_json(folder.sites / site / "card.json") for site in (*SITES, "shared")]
    write_table(folder.registry, tabulate_cohorts({"": cards}))
    write_json(folder.cohort(COHORT).heterogeneity, {"sites": {site: {} for site in SITES}})
    points = points_of(("federated", "pooled", 0.1, 1, 0.9)).assign(chosen=True)
    run = folder.run("0")
    write_json(run.record, {"settings": vars(settings)})
    for seed, path in ((1, run.model), (2, root / "before.safetensors")):
        save_model(path, get_parameters(build(make_settings(image_size=16, seed=seed))))
    predictions = predict_chosen(points, folder, {"": COHORT})
    write_table(folder.chosen, with_thresholds(points, thresholds_of(predictions, points)))
    export(run.model, folder.model, settings, "0")
    export(root / "before.safetensors", root / "before", settings, "1")
    record(folder)
    write_table(folder.predictions, predictions)
    return folder


def export(path, output, settings, run):
    output.mkdir()
    shutil.copyfile(path, output / "model.safetensors")
    origin = {"experiment": "small", "cohort": "", "mode": "federated", "run": run}
    write_config(output, settings, threshold=0.5, origin=origin, fit="stretch", note="")


def call(name, **options):
    script = runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="looked at")
    script["main"](Namespace(**options))


def record(folder, **changed):
    options = {"predecessor": folder.root.parent / "before", "sites": list(SITES), "results": folder.root}
    options |= {"margin": 0.5, "calibration": 1.0, "epsilon": 0.0, "replicates": 20, "confidence": 0.95, "seed": 1}
    call("record_gate", **options | {"output": folder.gate_rules} | changed)


def judge(folder, script="judge_model", **options):
    paths = {"rules": folder.gate_rules, "results": folder.root, "output": folder.gate}
    call(script, **{"predecessor": folder.root.parent / "before"} | paths | options)
