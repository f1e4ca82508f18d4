import numpy as np
import pandas as pd
import pytest
from helpers.analysis import predictions_of
from helpers.data import make_settings, make_sites, points_of

from fedxray.analysis.predictions import COLUMNS, predict_chosen, thresholds_of
from fedxray.core.files import read_json, read_table, sha256, write_array, write_json, write_table
from fedxray.core.parameters import save_model
from fedxray.data.site import SiteFolder, load_site, make_site
from fedxray.experiment.cohorts import Cohort
from fedxray.experiment.folder import Folder
from fedxray.training.metrics import choose_threshold
from fedxray.training.models import build, get_parameters
from fedxray.training.trainer import predict

COHORT = Cohort("", ("us", "asia"), {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results with the data of two sites and three runs, whose models are as drawn from their seeds."""
    folder = Folder(tmp_path_factory.mktemp("results"))
    make_sites(folder.sites, COHORT.sites)
    for number, site in enumerate(COHORT.sites):
        _own_validation(SiteFolder(folder.site(COHORT, site)), number)
    for seed in (0, 1, 2):
        settings = make_settings(image_size=16, seed=seed)
        run = folder.run(str(seed))
        write_json(run.record, {"settings": vars(settings)})
        save_model(run.model, get_parameters(build(settings)))
    return folder


def _own_validation(files, number):
    """Give the site a third of the validation set as its own."""
    table, card = read_table(files.table), read_json(files.card)
    validation = table["split"] == "validation"
    write_table(files.table, table.assign(own=~validation | (np.arange(len(table)) % 3 == number)))
    write_json(files.card, card | {"sha256": card["sha256"] | {"table": sha256(files.table)}})


@pytest.fixture
def points():
    return points_of(*(("federated", "pooled", 0.1, seed, 0.8) for seed in (0, 1, 2))).assign(
        chosen=[True, False, True]
    )


def test_each_chosen_model_predicts_the_validation_set_and_every_test_set(folder, points):
    table = predict_chosen(points, folder, {"": COHORT})
    assert list(table.columns) == COLUMNS
    sets = table.groupby(["path", "set"], sort=False).size()
    assert list(sets.index) == [(path, name) for path in ("0", "2") for name in ("validation", "us", "asia")]
    assert set(sets) == {24}
    settings = make_settings(image_size=16, seed=2)
    for name, split in (("validation", "validation"), ("asia", "test")):
        site = load_site(folder.site(COHORT, "asia"))
        rows = table[(table["path"] == "2") & (table["set"] == name)]
        assert list(rows["image"]) == list(site.table["image"][site.table["split"] == split])
        expected = predict(build(settings), site.part(split)[0], settings.compute)
        np.testing.assert_array_equal(rows["probability"], expected)


def test_where_there_are_waves_each_image_has_its_own(points, tmp_path):
    folder = Folder(tmp_path)
    make_sites(folder.sites, COHORT.sites)
    split = read_table(folder.sites / "split.csv")
    waves = dict(zip(split["image"], 1 + np.arange(len(split)) // 2 % 2, strict=True))
    write_table(folder.sites / "split.csv", split.assign(wave=split["image"].map(waves)))
    for site in COHORT.sites:
        make_site(folder.sites / "split.csv", [folder.sites / "pixels.npy"], site, folder.site(COHORT, site))
    write_json(folder.run("0").record, {"settings": vars(make_settings(image_size=16, seed=0))})
    save_model(folder.run("0").model, get_parameters(build(make_settings(image_size=16, seed=0))))
    table = predict_chosen(points[:1], folder, {"": COHORT})
    assert list(table.columns) == [*COLUMNS, "wave"]
    assert list(table["wave"]) == [waves[image] for image in table["image"]]
    assert set(table["set"]) == {"validation", "us", "asia"}


def test_external_tests_are_predicted_after_the_sites_own(folder, points):
    without = predict_chosen(points, folder, {"": COHORT})
    values = dict(zip(("image", "label", "aetiology", "patient"), ("x0", 0, "none", "p"), strict=True))
    table = pd.DataFrame([values, values | {"image": "x1", "label": 1, "aetiology": "unknown"}])
    pixels = np.arange(2 * 16 * 16, dtype=np.uint8).reshape(2, 16, 16)
    at = folder.external("nih")
    write_table(at.split, table.assign(split="test", site="nih", hospital="nih"))
    write_array(at.pixels, pixels)
    make_site(at.split, [at.pixels], "nih", at.site)
    found = predict_chosen(points, folder, {"": COHORT}, ["nih"])
    assert found[found["set"] != "nih"].reset_index(drop=True).equals(without.reset_index(drop=True))
    for path in ("0", "2"):
        rows = found[found["path"] == path]
        assert list(rows["set"])[-2:] == ["nih", "nih"]
        settings = make_settings(image_size=16, seed=int(path))
        expected = predict(build(settings), pixels, settings.compute)
        np.testing.assert_array_equal(rows["probability"][-2:], expected)


def test_personal_models_predict_validation_and_their_hospitals_test_set_alone(folder, points):
    own = points.assign(mode="personal", site=["us", "us", "asia"], method="ditto")
    table = predict_chosen(own, folder, {"": COHORT}, [])
    assert list(table.groupby(["path", "set"], sort=False).size().index) == [
        *(("0", "validation"), ("0", "us")),
        *(("2", "validation"), ("2", "asia")),
    ]
    assert set(table["hospital"][table["set"] == "us"]) == {"us"}


def test_each_image_of_validation_has_the_hospital_that_holds_it_as_its_own(folder, points):
    table = predict_chosen(points[:1], folder, {"": COHORT}).set_index("image")
    validation = table[table["set"] == "validation"]
    for site in COHORT.sites:
        held = load_site(folder.site(COHORT, site)).table
        own = held["image"][(held["split"] == "validation") & held["own"]]
        assert set(validation.index[validation["hospital"] == site]) == set(own)
    assert set(validation["hospital"]) == {"us", "asia", ""}


def test_the_threshold_of_a_hospitals_own_model_is_of_its_own_patients_in_validation():
    modes = {"a": "federated", "b": "alone", "c": "personal", "d": "alone"}
    chosen = pd.DataFrame({"path": modes.keys(), "mode": modes.values(), "site": ["pooled", "us", "asia", "elsewhere"]})
    tables = [predictions_of(path, seed) for seed, path in enumerate(modes)]
    predictions = pd.concat(tables)
    thresholds = thresholds_of(predictions, chosen)
    for table, site in zip(tables, ("", "us", "asia", ""), strict=True):
        rows = table[table["set"] == "validation"]
        rows = rows[rows["hospital"] == site] if site else rows  # of a hospital without images of its own: all
        path = table["path"].iloc[0]
        assert thresholds[path] == choose_threshold(rows["label"].to_numpy(float), rows["probability"].to_numpy())
    tests = predictions["set"] != "validation"
    turned = predictions.assign(label=predictions["label"].where(~tests, 1 - predictions["label"]))
    assert thresholds_of(turned, chosen) == thresholds
    assert thresholds_of(predictions[tests], chosen) == {}
