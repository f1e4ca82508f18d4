"""A hospital's own images to its data set: the workflow's code, patients apart, and errors that say what to do."""

import re
from dataclasses import replace

import numpy as np
import pytest
from helpers.data import jpeg, write_patients
from helpers.dicom import dicom
from PIL import Image

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, read_table, write_table
from fedxray.data.pixels import to_grey
from fedxray.data.reading import Reading
from fedxray.data.site import load_site
from fedxray.operators.preparation import extend_site, prepare_shared, prepare_site


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
    files = ["account.csv", "account.html", "card.json", "catalogue.csv", "catalogue.json", "images.csv", "images.npy"]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == files
    assert sorted(path.name for path in shared.iterdir()) == ["card.json", "images.csv", "images.npy"]
    assert list(read_table(tmp_path / "shared-account.csv")["taken"]) == ["yes"] * 12
    assert "common" in (tmp_path / "shared-account.html").read_text()  # it names files, and hospitals get shared/
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
    assert {path.name for path in tmp_path.iterdir()} == {
        "images",
        "common",
        "shared",
        "shared-account.csv",
        "shared-account.html",
    }


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


def extend(folder, tmp_path, name="data-2", size=16, old="data", **options):
    extend_site(folder, size, tmp_path / old, tmp_path / name, salt=tmp_path / "salt", **options)


@pytest.fixture
def later(tmp_path):
    """A folder of 14 new patients, numbered on, and of a further image of each of persons 1 and 3."""
    folder = tmp_path / "later"
    for number in range(20, 34):
        label = number % 2
        name = f"person{number}_virus_1.jpeg" if label else f"IM-{number:04}-0001.jpeg"
        path = folder / ("PNEUMONIA" if label else "NORMAL") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(255 - number))
    for number in (1, 3):
        (folder / "PNEUMONIA" / f"person{number}_virus_9.jpeg").write_bytes(jpeg(10 + number))
    return folder


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("own", [True, False])
def test_new_patients_are_a_further_wave_and_the_old_ones_stay_as_they_are(
    hospital, shared, later, tmp_path, capsys, own
):
    validation = {"own_validation": 0.2} if own else {"shared": shared}
    prepare_site(hospital, "us", 16, tmp_path / "data", test_fraction=0.3, seed=5, **validation)
    kept, old = bytes_of(tmp_path / "data"), load_site(tmp_path / "data")
    extend(later, tmp_path)
    assert bytes_of(tmp_path / "data") == kept
    site, card = load_site(tmp_path / "data-2"), read_json(tmp_path / "data-2" / "card.json")
    assert np.array_equal(site.images[: len(old.images)], old.images)
    assert site.table.iloc[: len(old.table)].drop(columns="wave").equals(old.table)
    assert list(site.table["wave"]) == [1] * len(old.table) + [2] * 16
    new = site.table.iloc[len(old.table) :]
    assert set(new["image"]) == {f"wave2/{path.relative_to(later).as_posix()}" for path in later.rglob("*.jpeg")}
    for row in new.itertuples():
        assert np.array_equal(site.images[row.Index], to_grey((later / row.image[6:]).read_bytes(), 16))
    assert (site.table.groupby("patient")["split"].nunique() == 1).all()
    again = new["patient"].isin(old.table["patient"])
    assert set(new["patient"][again]) == {"person1-virus", "person3-virus"}
    assert new["own"].all()
    first = read_json(tmp_path / "data" / "card.json")
    assert card["provenance"]["earlier"] == [first["sha256"]]
    assert card["provenance"]["waves"]["1"] == first["provenance"]["source_sha256"]
    assert card["provenance"]["split"] == first["provenance"]["split"]
    assert card["provenance"].get("shared_sha256") == first["provenance"].get("shared_sha256")
    counts = [of["again"] for of in card["waves"]["2"].values()]
    assert sum(counts) == 2
    assert sum(of["images"] for of in card["waves"]["2"].values()) == 16
    assert ("validation" in card["waves"]["2"]) == own
    files = read_table(tmp_path / "data-2" / "account.csv")
    assert list(files["wave"]) == [1] * 40 + [2] * 16
    page = (tmp_path / "data-2" / "account.html").read_text()
    assert "<h1>Account of us, waves 1 to 2</h1>" in page
    for line in (
        "files: 56 seen, 56 images taken, 0 left out",
        "labels: 27 NORMAL, 29 PNEUMONIA, from folder (56 images)",
        "patients: 34, from names as of kermany (56 images)",
        "wave 1: 40 images of 20 patients",
        "wave 2: 16 images of 16 patients",
    ):
        assert f"<p>{line}</p>" in page
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(("data", "tmp"))) == [
        "data",
        "data-2",
    ]


def test_a_third_wave_and_the_same_bytes_whenever_it_is_made(hospital, later, tmp_path):
    prepare_site(hospital, "us", 16, tmp_path / "data", own_validation=0.2)
    extend(later, tmp_path)
    extend(later, tmp_path, "same", processes=2)
    assert bytes_of(tmp_path / "same")["card.json"] == bytes_of(tmp_path / "data-2")["card.json"]
    folder = tmp_path / "third"
    for number in range(40, 52):
        name = f"person{number}_virus_1.jpeg" if number % 2 else f"IM-{number:04}-0001.jpeg"
        path = folder / ("PNEUMONIA" if number % 2 else "NORMAL") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number, size=(60, 31)))
    (folder / "PNEUMONIA" / "person21_virus_2.jpeg").write_bytes(jpeg(77, size=(60, 31)))  # of wave 2
    (folder / "NORMAL" / "IM-0002-0001.jpeg").write_bytes((hospital / "NORMAL" / "IM-0002-0001.jpeg").read_bytes())
    extend(folder, tmp_path, "data-3", old="data-2")
    two, three = load_site(tmp_path / "data-2"), load_site(tmp_path / "data-3")
    assert three.table.iloc[: len(two.table)].equals(two.table)
    new = three.table[three.table["wave"] == 3]
    assert len(new) == 13  # the copy of an image of wave 1 is not taken again
    files = read_table(tmp_path / "data-3" / "account.csv").set_index("file")
    same = files[files["duplicate_group"] > 0]
    assert list(same.index) == ["NORMAL/IM-0002-0001.jpeg", "wave3/NORMAL/IM-0002-0001.jpeg"]
    assert (same["duplicate_group"].nunique(), same["patient"].nunique()) == (1, 1)
    page = (tmp_path / "data-3" / "account.html").read_text()
    assert "files: 70 seen, 70 images taken, 0 left out" in page
    assert "duplicates: 2 images that are there more than once" in page
    assert f"patients: {files['patient'].nunique()}, from" in page
    assert all(f"wave {wave}: " in page for wave in (1, 2, 3))
    known = two.table.drop_duplicates("patient").set_index("patient")["split"]["person21-virus"]
    assert list(new["split"][new["patient"] == "person21-virus"]) == [known]
    card = read_json(tmp_path / "data-3" / "card.json")
    assert card["provenance"]["earlier"] == [
        read_json(tmp_path / name / "card.json")["sha256"] for name in ("data", "data-2")
    ]


def test_what_cannot_be_added_is_said_and_leaves_nothing(hospital, shared, later, tmp_path, monkeypatch):
    prepare_site(hospital, "us", 16, tmp_path / "data", shared=shared)

    def refused(said, folder=later, **options):
        with pytest.raises(UserError, match=said):
            extend(folder, tmp_path, **options)
        assert not (tmp_path / "data-2").exists()
        assert not [path for path in tmp_path.iterdir() if path.name.startswith("tmp")]

    refused("^--wave 3: new patients are the next wave by themselves; leave it out$", reading=Reading(wave="3"))
    refused("images of 16 pixels and fit stretch, but the federation has 32 and stretch; prepare all", size=32)
    refused("but the federation has 16 and pad", fit="pad")
    refused(
        "patients are told by names as of .*, and before by names as of kermany; tell",
        reading=Reading(patient=r"(\d+)"),
    )
    refused("wave 2: no image is new", hospital)
    # What the table tells is refused before images are resampled, which may take hours.
    with monkeypatch.context() as patched:
        patched.delattr("fedxray.operators.preparation.resample")
        rows = [f"{path.relative_to(later)},{path.parent.name},{path.parent.name}" for path in later.glob("*/*.jpeg")]
        (later / "manifest.csv").write_text("\n".join(["image,label,site", *rows]) + "\n")
        refused("the column site names several hospitals")
    (later / "manifest.csv").unlink()
    with pytest.raises(
        UserError, match="data: is there already; remove it if nobody uses it, or give another --output"
    ):
        extend(later, tmp_path, "data")
    path = later / "NORMAL" / "IM-0100-0001.jpeg"
    path.write_bytes(jpeg(40 + 3 * 30 + 1))
    refused("1 of your images are in the shared validation set too, such as wave2/NORMAL/IM-0100-0001.jpeg")
    path.unlink()
    table = read_table(tmp_path / "data" / "catalogue.csv")
    write_table(tmp_path / "data" / "catalogue.csv", table.assign(patient="x" + table["patient"]))
    refused("data: its patients would not stay in their splits")
    (tmp_path / "data" / "catalogue.csv").unlink()
    refused(r"data/catalogue.csv: missing; without it nobody is known again: put it back, or prepare")


def test_new_images_of_another_range_of_greys_are_not_mixed_with_the_old(tmp_path):
    def deep(folder, patients, high):
        for number in patients:
            path = folder / ("PNEUMONIA" if number % 2 else "NORMAL") / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            values = np.linspace(number, high, 16 * 16).astype(np.uint16).reshape(16, 16)
            Image.fromarray(values).save(path)
        return folder

    reading = Reading(patient="image")
    prepare_site(
        deep(tmp_path / "one", range(40), 4000), "us", 16, tmp_path / "data", own_validation=0.2, reading=reading
    )
    two = deep(tmp_path / "two", range(20), 60000)
    said = r"two: greys from 0 to 65535 would become 0 to 255, before it was from 0 to 4095; .*: --greys 0 4095$"
    with pytest.raises(UserError, match=said):
        extend(two, tmp_path, reading=reading)
    extend(two, tmp_path, reading=replace(reading, greys=(0, 4095)))
    table = load_site(tmp_path / "data-2").table
    assert table["patient"].nunique() == 60  # files of one name are not known to be of one patient


def test_patients_of_dicoms_are_known_again_by_the_same_secret_alone(tmp_path):
    def dicoms(folder, patients, first):
        for number in patients:
            path = folder / ("PNEUMONIA" if number % 2 else "NORMAL") / f"{first + number}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng(first + number)
            pixels = rng.integers(0, 4096, (16, 16)).astype(np.uint16)
            path.write_bytes(dicom(pixels, bits=12, PatientID=f"MRN{number}", ViewPosition="PA"))
        return folder

    one, two = dicoms(tmp_path / "one", range(30), 0), dicoms(tmp_path / "two", range(20, 50), 100)
    prepare_site(one, "us", 16, tmp_path / "data", own_validation=0.2, salt=tmp_path / "salt")
    secret = (tmp_path / "salt").read_bytes()
    (tmp_path / "salt").unlink()
    with pytest.raises(UserError, match=r"salt: missing; without it no patient of .*data is known again: put it back$"):
        extend(two, tmp_path)
    assert not (tmp_path / "salt").exists()
    (tmp_path / "salt").write_bytes(secret)
    extend(two, tmp_path)
    table = load_site(tmp_path / "data-2").table
    assert table["patient"].nunique() == 50
    assert (table.groupby("patient")["split"].nunique() == 1).all()
    waves = read_json(tmp_path / "data-2" / "card.json")["waves"]["2"]
    assert sum(of["again"] for of in waves.values()) == 10
