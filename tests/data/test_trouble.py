"""Trouble on purpose: whose images and labels are changed, and how."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.data import make_sites

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, write_json
from fedxray.data.site import load_site, make_site
from fedxray.data.trouble import Trouble

KINDS = {"labels": 0.4, "inverted": math.nan, "clipped": 0.25, "noise": math.nan}


@pytest.fixture
def data():
    """(images, table): 3 hospitals, 20 patients of 1 to 3 images in each split of each; every pixel of another grey."""
    rng, rows = np.random.default_rng(0), []
    for hospital in ("us", "europe", "asia"):
        for split in ("train", "validation", "test", "unused"):
            for patient in range(20):
                key = f"{hospital}-{split}-{patient}"
                site = "shared" if split == "validation" else hospital
                rows += [(f"{key}-{n}", patient % 2, key, split, site, hospital) for n in range(1 + patient % 3)]
    table = pd.DataFrame(rows, columns=["image", "label", "patient", "split", "site", "hospital"])
    return rng.integers(0, 256, (len(table), 4, 4), dtype=np.uint8), table.sample(frac=1, random_state=1)


def spoiled(data, kind, site="asia", seed=1, **changes):
    return Trouble(kind, site, changes.get("share", KINDS[kind]), seed).spoil(*data)


@pytest.mark.parametrize("kind", KINDS)
def test_it_changes_what_it_says_and_nothing_else(data, kind):
    images, table = (part.copy() for part in data)
    found, rows = spoiled(data, kind)
    assert np.array_equal(data[0], images)  # what it was given stays
    assert data[1].equals(table)
    splits = ["train"] if kind in ("labels", "noise") else ["train", "validation", "test"]
    mine = ((table["hospital"] == "asia") & table["split"].isin(splits)).to_numpy()
    assert np.array_equal(Trouble(kind, "asia", KINDS[kind], 1).changed(table), mine)
    assert np.array_equal(found[~mine], images[~mine])
    assert rows[~mine].equals(table[~mine])
    if kind == "labels":
        assert np.array_equal(found, images)
        assert rows.drop(columns="label").equals(table.drop(columns="label"))
    else:
        assert rows.equals(table)
        assert (found.dtype, found.shape) == (np.uint8, images.shape)
        assert (found[mine] != images[mine]).any(axis=(1, 2)).all()


@pytest.mark.parametrize(("share", "patients"), [(0.4, 8), (0.01, 1), (1, 20)])
def test_whole_patients_have_their_labels_turned_round(data, share, patients):
    _, rows = spoiled(data, "labels", share=share)
    turned = rows["label"] != data[1]["label"]
    assert set(rows["label"]) == {0, 1}
    assert turned.groupby(rows["patient"]).nunique().max() == 1
    assert rows["patient"][turned].nunique() == patients


def test_the_seed_of_the_split_and_the_hospital_decide(data):
    for kind in ("labels", "noise"):
        results = [spoiled(data, kind, seed=seed) for seed in (1, 1, 2)]
        same = [np.array_equal(results[0][0], o[0]) and results[0][1].equals(o[1]) for o in results]
        assert same == [True, True, False]
    keys = data[1].assign(patient=data[1]["patient"].map({key: str(hash(key)) for key in data[1]["patient"]}))
    assert spoiled((data[0], keys), "labels")[1]["label"].equals(spoiled(data, "labels")[1]["label"])


def test_greys_by_the_scanner():
    table = pd.DataFrame({"patient": ["p"], "label": [1], "split": ["test"], "hospital": ["asia"]})
    greys = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    assert list(spoiled((greys, table), "inverted")[0].ravel()) == list(range(255, -1, -1))
    clipped = spoiled((greys, table), "clipped", share=0.2)[0].ravel()
    assert (clipped[:52] == 0).all()  # a fifth of 255 is 51
    assert (clipped[204:] == 255).all()
    middle = [round((grey - 51) * 255 / 153) for grey in range(52, 204)]
    assert list(clipped[52:204]) == middle
    assert len(set(middle)) == len(middle)  # no grey of these is lost


def test_noise_has_every_grey_as_often(data):
    table = pd.DataFrame({"patient": "p", "label": 1, "split": "train", "hospital": "asia"}, index=range(64))
    noise = spoiled((np.zeros((64, 32, 32), np.uint8), table), "noise")[0]
    counts = np.bincount(noise.ravel(), minlength=256)
    assert abs(counts / counts.mean() - 1).max() < 0.3  # five standard deviations
    assert not np.array_equal(noise[0], noise[1])


@pytest.mark.parametrize(("kind", "share"), [("labels", 0), ("labels", 1.1), ("clipped", 0.5), ("clipped", math.nan)])
def test_a_share_that_the_kind_cannot_have_is_refused(kind, share):
    with pytest.raises(UserError, match=rf"trouble\.share: {share}, but {kind} needs a share above 0 and "):
        Trouble(kind, "asia", share, 1)


def test_the_script_takes_it_with_the_seed_of_the_split(tmp_path):
    make_sites(tmp_path)
    write_json(tmp_path / "split.json", {"seed": 7})
    write_json(tmp_path / "catalogue.json", {"sha256": "ab" * 32, "synthetic": True, "patients_known": True})
    words = [sys.executable, "scripts/make_site.py", "--split", tmp_path / "split.csv", "--site", "asia"]
    words += ["--pixels", tmp_path / "pixels.npy", "--summary", tmp_path / "catalogue.json", "--fit", "stretch"]
    words += ["--split-settings", tmp_path / "split.json", "--output", tmp_path / "by-hand"]
    words += ["--trouble-kind=labels", "--trouble-site=asia", "--trouble-share=0.25"]
    subprocess.run(words, check=True, cwd=Path(__file__).parents[2])
    trouble = Trouble("labels", "asia", 0.25, 7)
    make_site(tmp_path / "split.csv", [tmp_path / "pixels.npy"], "asia", tmp_path / "here", trouble=trouble)
    one, other = (load_site(tmp_path / name) for name in ("by-hand", "here"))
    assert one.table.equals(other.table)
    assert read_json(tmp_path / "by-hand" / "card.json")["provenance"]["trouble"] == trouble.about
    assert trouble.about == {"kind": "labels", "site": "asia", "share": 0.25}
