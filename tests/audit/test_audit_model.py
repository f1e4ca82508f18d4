"""The script audit_model.py, on a small experiment; the attacks on updates have tests of their own."""

import runpy
from argparse import Namespace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.data import make_settings, make_sites
from helpers.federation import make_method, rounds_of

from fedxray.audit import power
from fedxray.audit.findings import COLUMNS
from fedxray.core.files import write_json, write_table
from fedxray.experiment.cohorts import Cohort
from fedxray.experiment.experiment import POOLED
from fedxray.experiment.folder import Folder
from fedxray.federation.inprocess import InProcess
from fedxray.federation.policy import sampled
from fedxray.runs import train_run
from fedxray.training.mechanism import Mechanism

SITES, SCRIPT = ("us", "asia"), Path(__file__).parents[2] / "scripts" / "audit_model.py"
NOISE = Mechanism("sites", 2.0, 0.25, 8, 0.5, 3.0, 1e-5, 48, 48, 2, 0, "patient", False)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """(rows of audit.csv, arguments of each call of `of_step`) of two federations, the second one private."""
    folder = Folder(tmp_path_factory.mktemp("results") / "small")
    folders = make_sites(folder.sites, SITES)
    write_table(folder.registry, pd.DataFrame({"site": SITES, "cohort": ""}))
    write_json(folder.cohort(Cohort("", SITES, {})).heterogeneity, {"sites": {site: {} for site in SITES}})
    settings, method, rows = make_settings(image_size=16), make_method(), []
    runs = {"fedavg": (None, rounds_of(2)), "fedavg+sites": (NOISE, sampled(8, 0.25, 4))}
    for name, (noise, schedule) in runs.items():
        path = f"federated/{name}"
        engine = InProcess(folders, folder.sites / "shared", noise)
        train_run(engine, "federated", settings, method, schedule, folder.run(path).path)
        row = {"cohort": "", "mode": "federated", "method": name, "site": POOLED, "seed": 1, "path": path}
        rows.append(row | {"validation_auroc": 0.9 if noise is None else 0.8, "lr": 0.1, "epochs": 2})
    write_table(folder.chosen, pd.DataFrame(rows))
    options = {"chosen": folder.chosen, "results": folder.root, "output": folder.audit}
    options |= {"replicates": 50, "confidence": 0.95, "seed": 1}
    script, calls = runpy.run_path(str(SCRIPT), run_name="looked at"), []

    def of_step(*arguments):
        calls.append(arguments)
        row = dict.fromkeys(COLUMNS, np.nan) | {"attack": "inversion", "target": arguments[0], "power": 1.0}
        return [row], [{"true": np.eye(8), "in clear": np.eye(8)} for _ in arguments[6]]

    quick = {
        "of_step": of_step,
        "memorise": partial(power.memorise, canaries=20, epochs=2),
        "PIXELS": 16,
        "AVERAGED": 12,
    }
    script["main"].__globals__.update(quick | {"SMALL": 16})
    script["main"](Namespace(**options))
    assert all(path.exists() for _, path in folder.figure("inversion"))
    return pd.read_csv(folder.audit), calls


def test_every_model_is_attacked_by_its_loss_and_the_exported_one_by_shadow_models(found):
    table, _ = found
    areas = table[table["statistic"] == "AUC"]
    heart = "phantom images learnt by heart"
    assert list(areas["target"][areas["attack"] == "membership by loss"]) == [heart, "fedavg", "fedavg+sites"]
    assert list(areas["target"][areas["attack"] == "membership by LiRA"]) == [heart, "fedavg"]
    assert (areas["low"] <= areas["value"]).all()
    assert (areas["value"] <= areas["high"]).all()


def test_what_canaries_prove_is_beside_what_is_claimed(found):
    table, _ = found
    rows = table[table["attack"] == "canaries"].set_index("target")
    assert list(rows.index) == ["phantom images learnt by heart", "fedavg", "fedavg+sites"]
    assert rows["claimed"].isna().tolist() == [True, True, False]
    assert rows["claimed"]["fedavg+sites"] == 3.0
    assert rows["value"]["fedavg+sites"] <= 3.0


def test_a_search_is_beside_what_it_finds_in_the_demos_network(found):
    table, _ = found
    rows = table[table["attack"] == "inversion by search"]
    assert list(rows["statistic"]) == ["picture correlation", "average of its label"]
    assert (rows["power"] == 1).all()  # `of_step` of this test gives the true picture


def test_updates_get_the_noise_of_the_experiment(found):
    _, calls = found
    assert [(call[0], len(call[3])) for call in calls] == [("demo", 1), ("demo", 4), ("compact", 1), ("compact", 4)]
    assert all((call[5].clip, call[5].deviation) == (0.5, 1.0) for call in calls)
    assert [call[7] for call in calls] == [None, None, 1.0, 1.0]
