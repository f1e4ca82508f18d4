"""The results of a small experiment: made-up models of two hospitals and two seeds, on the data of two sites."""

from pathlib import Path

import pandas as pd
import pytest
import yaml
from helpers.analysis import DRAW, SITES, chosen_models
from helpers.data import make_settings, make_sites

from fedxray.analysis.adaptation import adapt
from fedxray.analysis.comparison import compare, summarise
from fedxray.analysis.contrasts import contrast
from fedxray.analysis.methods import table_of_methods
from fedxray.core.files import read_json, read_table, write_json, write_table
from fedxray.core.parameters import save_model
from fedxray.data.registry import tabulate_cohorts
from fedxray.data.site import SiteFolder
from fedxray.experiment.cohorts import Cohort
from fedxray.experiment.folder import Folder
from fedxray.experiment.method import PLAIN
from fedxray.training import exported
from fedxray.training.models import build, get_parameters

REPOSITORY = Path(__file__).parents[2]
COHORT = Cohort("", SITES, {})


@pytest.fixture(scope="session")
def config():
    """The default configuration, of these two sites and two seeds."""
    config = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
    return config | {"experiment": "made-up", "sites": list(SITES), "seeds": [1, 2], "image_size": 16}


@pytest.fixture(scope="session")
def results(tmp_path_factory, config):
    """The folder of the experiment, with all that figures and pages read."""
    folder = Folder(tmp_path_factory.mktemp("results") / "made-up")
    make_sites(folder.sites, SITES)
    unlike = {"label_divergence": 0.01, "aetiology_divergence": 0.02, "size_ratio": 1.5}
    write_json(folder.cohort(COHORT).heterogeneity, unlike | {"sites": {site: {} for site in SITES}})
    cards = [read_json(SiteFolder(folder.site(COHORT, site)).card) for site in SITES]
    write_table(folder.registry, tabulate_cohorts({"": cards}))
    data = {
        "files": 50,
        "images": 48,
        "left_out": {"hidden": 2},
        "patients": 48,
        "patients_from": {"column patient": 48},
    }
    write_json(folder.root / "data" / "catalogue.json", data | {"duplicate_groups": 0, "sha256": "0" * 64})
    chosen, predictions = (table.assign(path="run-" + table["path"]) for table in chosen_models())
    write_table(folder.points, chosen.drop(columns="threshold"))
    write_table(folder.chosen, chosen)
    write_table(folder.predictions, predictions)
    write_table(folder.comparison, compare(chosen, predictions, *DRAW))
    summary = summarise(chosen, predictions, *DRAW)
    contrasts = contrast(chosen, predictions, *DRAW, margin=0.02, reference="central")
    write_table(folder.summary, summary)
    write_table(folder.differences, contrasts)
    write_table(folder.methods, table_of_methods(chosen, predictions, summary, contrasts))
    write_table(folder.own_thresholds, adapt(chosen, predictions))
    write_table(folder.agreement, pd.DataFrame({"metric": ["auroc"] * 36}))
    for _, run in chosen.iterrows():
        _write_run(folder.run(run["path"]), run)
    origin = {"experiment": config["experiment"], "cohort": "", "mode": "federated", "run": "run-0"}
    about = {"threshold": chosen["threshold"][0], "origin": origin, "fit": "stretch"}
    with pytest.MonkeyPatch.context() as patch:
        # No figure or page reads model.onnx, and its export takes seconds.
        patch.setattr(exported, "write_onnx", lambda path, *_, **__: path.write_bytes(b""))
        exported.export_model(folder.run("run-0").model, make_settings(image_size=16), folder.model, **about)
    return folder


@pytest.fixture(scope="session")
def swept(tmp_path_factory, config, results):
    """(configuration, folder) of the same with a second learning rate, which validation chose for no model."""
    folder = Folder(tmp_path_factory.mktemp("swept") / "made-up")
    folder.root.mkdir()
    for path in results.root.iterdir():
        if path != results.points:
            (folder.root / path.name).symlink_to(path)
    points = read_table(results.points)
    others = points.assign(lr=points["lr"] * 50, validation_auroc=points["validation_auroc"] - 0.1, chosen=False)
    write_table(folder.points, pd.concat([points, others], ignore_index=True))
    grid = {"grid": {"training.lr": sorted({*points["lr"], *others["lr"]})}, "points": [], "exclude": []}
    config = config | {"sweep": grid}
    write_json(folder.root / "config.json", config)
    return config, folder


def _write_run(folder, run):
    """The record, curves and model of a run that was never trained."""
    settings = make_settings(image_size=16)
    record = {"mode": run["mode"], "engine": "nvflare" if run["mode"] == "federated" else "inprocess"}
    federated = run["mode"] not in ("central", "alone")
    record |= {"method": vars(PLAIN) if federated else None, "schedule": {"rounds": 4, "round": 1.0, "tail": 0}}
    record |= {"sites": list(SITES), "train_images": 48, "parameters": 76977, "seed": int(run["seed"])}
    record |= {"energy_j": 3.6e5, "device": "cpu", "machine": {"processor": "abacus"}, "settings": vars(settings)}
    record |= {"partners": {}, "rounds_at_sites": [{"round": 1, "distance": {"us": 1.0, "europe": 1.0, "asia": 1.0}}]}
    write_json(folder.record, record)
    rows = [(series, epoch, 0.5 + epoch / 10) for series in ("global", *SITES) for epoch in (1, 2, 3, 4)]
    curves = pd.DataFrame(rows, columns=["series", "epoch", "validation_auroc"])
    curves = curves.assign(validation_loss=0.5, train_loss=0.5)
    write_table(folder.curves, curves)
    save_model(folder.model, get_parameters(build(settings)))
