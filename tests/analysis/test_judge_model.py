"""The scripts record_gate.py and judge_model.py, on a small experiment: from two exported models to gate.csv."""

import shutil

import pandas as pd
import pytest
from helpers.data import make_settings
from helpers.promotion import SITES, experiment_to_judge, judge, record

from fedxray.analysis.gate import Rules, read_gate
from fedxray.core.errors import UserError
from fedxray.core.files import read_json, sha256, write_json, write_table
from fedxray.core.parameters import load_model
from fedxray.data.site import load_site
from fedxray.training.exported import write_config
from fedxray.training.metrics import auroc
from fedxray.training.models import restore
from fedxray.training.trainer import predict


@pytest.fixture
def folder(tmp_path):
    """A small experiment, with its predecessor in `before` beside it."""
    return experiment_to_judge(tmp_path)


def test_both_models_are_compared_on_the_test_images_of_each_hospital(folder):
    judge(folder)
    table = read_gate(folder.gate, Rules.read(folder.gate_rules))
    settings, before = make_settings(image_size=16), folder.root.parent / "before.safetensors"
    for site in SITES:
        images, labels = load_site(folder.sites / site).part("test")
        networks = (restore(settings, load_model(path)) for path in (folder.run("0").model, before))
        areas = [auroc(labels, predict(network, images, settings.compute)) for network in networks]
        row = table[(table["hospital"] == site) & (table["what"] == "AUROC minus predecessor's")].iloc[0]
        assert row["value"] == pytest.approx(areas[0] - areas[1], abs=1e-12)
    assert set(table["candidate_sha256"]) == {sha256(folder.model / "model.safetensors")}
    assert set(table["predecessor_sha256"]) == {sha256(before)}
    assert "Nothing says on which data the predecessor was trained" in table["sentence"].iloc[-1]


def test_the_lineage_of_the_predecessor_says_what_it_was_trained_on(folder):
    path = folder.root.parent / "before" / "config.json"
    data = {site: read_json(folder.sites / site / "card.json")["sha256"] for site in SITES}
    write_json(path, read_json(path) | {"lineage": {"version": "1", "data": data}})
    judge(folder)
    assert "on the same data and splits at us, asia" in pd.read_csv(folder.gate)["sentence"].iloc[-1]


def test_rules_cannot_change_once_test_sets_were_read(folder):
    before = folder.gate_rules.read_bytes()
    record(folder)
    with pytest.raises(UserError, match=r"gate\.json: other rules were written when the test sets were read"):
        record(folder, margin=0.6)
    assert folder.gate_rules.read_bytes() == before
    folder.predictions.unlink()
    record(folder, margin=0.6)
    assert Rules.read(folder.gate_rules).margin == 0.6


def test_rules_cannot_change_while_predictions_are_made_again_and_older_tables_are_there(folder):
    folder.predictions.unlink()
    names = ["comparison", "summary", "differences", "methods", "updates", "contributions", "own_thresholds"]
    for name in [*names, "agreement", "audit", "at_sites", "gate"]:
        getattr(folder, name).touch()
        with pytest.raises(UserError, match=r"gate\.json: other rules were written when the test sets were read"):
            record(folder, margin=0.6)
        getattr(folder, name).unlink()


def test_models_and_predictions_that_do_not_belong_together_are_refused(folder):
    predictions = pd.read_csv(folder.predictions)
    write_table(folder.predictions, predictions.iloc[:-1])
    with pytest.raises(UserError, match=r"predictions\.csv: not of the test images of asia"):
        judge(folder)
    write_table(folder.predictions, predictions)
    config = read_json(folder.model / "config.json")
    write_json(folder.model / "config.json", config | {"run": "7"})
    with pytest.raises(UserError, match=r"model: not the model of 0; run the workflow again"):
        judge(folder)
    before = folder.root.parent / "before"
    shutil.copyfile(folder.run("0").model, before / "model.safetensors")
    with pytest.raises(UserError, match=r"not the file that config\.json was written for"):
        record(folder)
    write_config(
        before,
        make_settings(image_size=16),
        threshold=0.5,
        origin={"experiment": "x", "cohort": "", "mode": "federated", "run": "1"},
        fit="stretch",
        note="",
    )
    with pytest.raises(UserError, match=r"another model than when .*gate\.json was written"):
        judge(folder)
    assert not folder.gate.exists()
