"""A hospital's own images to its data set: the workflow's code, patients apart, and errors that say what to do."""

import re

import numpy as np
import pytest
from helpers.data import jpeg, write_patients

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, read_table
from fedxray.data.pixels import to_grey
from fedxray.data.reading import Reading
from fedxray.data.site import load_site
from fedxray.operators.preparation import prepare_shared, prepare_site


@pytest.fixture
def hospital(tmp_path):
    """A folder of 2 images of each of 20 patients, after Kaggle's names."""
    return write_patients(tmp_path / "images", 20)


@pytest.fixture
def shared(tmp_path):
    prepare_shared(write_patients(tmp_path / "common", 6, first=30), 16, tmp_path / "shared")
    return tmp_path / "shared"


def test_patients_are_in_one_split_and_the_shared_set_validates(hospital, shared, tmp_path):
    prepare_site(hospital, "us", 16, tmp_path / "data", shared=shared, test_fraction=0.3)
    site, common = load_site(tmp_path / "data"), load_site(shared)
    assert site.name == "us"
    assert (site.table.groupby("patient")["split"].nunique() == 1).all()
    assert np.array_equal(site.part("validation")[0], common.images)
    assert np.array_equal(site.part("validation")[1], common.part("validation")[1])
    assert np.array_equal(site.own_validation()[0], common.images)  # none of it is known to be the hospital's
    own = site.table[site.table["split"] != "validation"]
    assert (site.table["own"] == (site.table["split"] != "validation")).all()
    assert read_json(tmp_path / "data" / "card.json")["splits"]["validation"]["own"] == {"images": 0, "patients": 0}
    assert len(own) == 40
    assert (own["split"] == "test").sum() == 12
    for row in own.itertuples():
        assert np.array_equal(site.images[row.Index], to_grey((hospital / row.image).read_bytes(), 16))
    provenance = read_json(tmp_path / "data" / "card.json")["provenance"]
    assert provenance["split"] == {"seed": 1, "test_fraction": 0.3, "validation_fraction": 0.0}
    assert provenance["shared_sha256"] == read_json(shared / "card.json")["sha256"]["images"]
    files = ["account.csv", "account.html", "card.json", "images.csv", "images.npy"]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == files
    assert (provenance["fit"], provenance["patients_known"], provenance["synthetic"]) == ("stretch", True, False)
    assert list(read_table(tmp_path / "data" / "account.csv")["taken"]) == ["yes"] * 40


def test_without_a_shared_set_a_part_of_the_own_patients_validates(hospital, tmp_path):
    prepare_site(hospital, "us", 16, tmp_path / "data", own_validation=0.2, processes=2)
    table = load_site(tmp_path / "data").table
    assert set(table["image"]) == {path.relative_to(hospital).as_posix() for path in hospital.rglob("*.jpeg")}
    assert (table["split"] == "validation").sum() == 8
    assert table["own"].all()
    assert (table.groupby("patient")["split"].nunique() == 1).all()
    again, other = tmp_path / "again", tmp_path / "other"
    prepare_site(hospital, "us", 16, again, own_validation=0.2)
    assert (again / "card.json").read_text() == (tmp_path / "data" / "card.json").read_text()
    prepare_site(hospital, "us", 16, other, own_validation=0.2, seed=2)
    assert not load_site(other).table["split"].equals(table["split"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs one validation set: --shared DIR"),
        ({"shared": True, "own_validation": 0.1}, "needs one validation set"),
        ({"shared": True, "image_size": 32}, "images of 16 pixels, but the federation has 32"),
        ({"own_validation": 0.9}, "leave nothing to train on"),
        ({"own_validation": 0.1, "test_fraction": -0.1}, "shares of the patients, between 0 and 1"),
    ],
)
def test_what_cannot_be_prepared_is_said_and_leaves_nothing(hospital, shared, tmp_path, options, said):
    options = options | ({"shared": shared} if options.get("shared") else {})
    with pytest.raises(UserError, match=said):
        prepare_site(hospital, "us", options.pop("image_size", 16), tmp_path / "data", **options)
    assert not (tmp_path / "data").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"images", "common", "shared"}


def test_too_few_patients_are_told_in_the_words_of_the_command(hospital, tmp_path):
    for path in hospital.rglob("*"):
        if path.is_file() and (path.name.endswith("2.jpeg") or int(re.search(r"\d+", path.name)[0]) > 5):
            path.unlink()
    with pytest.raises(UserError, match=r"1 NORMAL image in train and needs 2: add patients, or .* --seed$"):
        prepare_site(hospital, "us", 16, tmp_path / "data", own_validation=0.2)


def test_what_is_wrong_with_the_images_is_told_in_the_words_of_the_command(hospital, tmp_path):
    with pytest.raises(UserError, match=r"/nowhere: no such file or directory; "):
        prepare_site(tmp_path / "nowhere", "us", 16, tmp_path / "data", own_validation=0.2)
    (hospital / "NORMAL" / "IM-0000-0001.jpeg").write_bytes(b"none")
    with pytest.raises(UserError, match=r"IM-0000-0001.jpeg: neither .*; put them right, or .*--bad-images drop"):
        prepare_shared(hospital, 16, tmp_path / "shared")
    prepare_shared(hospital, 16, tmp_path / "shared", reading=Reading(bad_images="drop"))
    assert len(load_site(tmp_path / "shared").table) == 39


def test_an_image_of_the_shared_set_may_not_be_trained_on(hospital, shared, tmp_path):
    (hospital / "NORMAL" / "IM-0100-0001.jpeg").write_bytes(jpeg(40 + 3 * 30 + 1))
    with pytest.raises(UserError, match=r"1 of your images are in the shared .* such as NORMAL/IM-0100-0001.jpeg"):
        prepare_site(hospital, "us", 16, tmp_path / "data", shared=shared)


def test_only_a_validation_set_can_be_shared(hospital, tmp_path):
    prepare_site(hospital, "us", 16, tmp_path / "data", own_validation=0.2)
    with pytest.raises(UserError, match="no shared validation set"):
        prepare_site(hospital, "us", 16, tmp_path / "again", shared=tmp_path / "data")
