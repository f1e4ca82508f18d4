"""External tests: what the configuration may name, their folder, and what is refused as seen by hospitals."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from fedxray import __version__
from fedxray.core.errors import UserError
from fedxray.core.files import read_json, read_table, write_array, write_json, write_table
from fedxray.data import datasets
from fedxray.data.catalogue import COLUMNS
from fedxray.data.external import digests, make_external
from fedxray.data.site import load_site
from fedxray.experiment.folder import Folder

ROOT = Path(__file__).parents[2]
SIZE = 8


def source(folder, greys, patient="p{}", labels=(0, 1), rows=None):
    """A catalogue, its summary and pixels: image i is of one grey and differs in its first pixel."""
    pixels = np.stack([np.full((SIZE, SIZE), grey, np.uint8) for grey in greys])
    numbers = np.arange(len(greys))
    table = pd.DataFrame({"image": [f"{folder.name}-{grey}.png" for grey in greys]})
    table["label"] = [labels[number % len(labels)] for number in numbers]
    table["aetiology"] = np.where(table["label"] == 0, "none", "unknown")
    table["patient"] = [patient.format(number // 2) for number in numbers]
    table["sha256_pixels"] = [hashlib.sha256(f"{folder.name}{grey}".encode()).hexdigest() for grey in greys]
    table = table.reindex(columns=COLUMNS, fill_value="").assign(**(rows or {}))
    write_table(folder / "catalogue.csv", table)
    write_array(folder / "pixels.npy", pixels)
    write_json(folder / "catalogue.json", {"sha256": "ab" * 32, "synthetic": False, "patients_known": True})
    return folder / "catalogue.csv", folder / "pixels.npy"


@pytest.fixture
def make(tmp_path):
    """Make the external test nih of a source, beside training sources of the greys 1 to 4 and 5 to 8."""
    training = [source(tmp_path / "first", range(1, 5)), source(tmp_path / "second", range(5, 9))]

    def make(greys=range(100, 106), same=(), **options):
        at = Folder(tmp_path / "results").external("nih")
        catalogue, pixels = source(at.path, greys, **({"patient": "q{}"} | options))
        same = [training[number][0] for number in same]
        make_external("nih", catalogue, pixels, at.summary, training, same, at.split, at.site, "pad")
        return at

    return make


def test_all_images_are_the_test_set_of_a_site_of_its_name(make):
    at = make(patient="{}")
    site = load_site(at.site)
    assert site.name == "nih"
    assert set(site.table["split"]) == {"test"}
    images, labels = site.part("test")
    assert [int(image[0, 0]) for image in images] == [100, 101, 102, 103, 104, 105]
    assert list(labels) == [0, 1, 0, 1, 0, 1]
    assert list(site.table["patient"]) == ["nih/0", "nih/0", "nih/1", "nih/1", "nih/2", "nih/2"]
    assert site.table["own"].all()
    assert set(read_table(at.split)["site"]) == set(read_table(at.split)["hospital"]) == {"nih"}
    card = read_json(at.site / "card.json")
    assert card["splits"]["test"]["patients"] == 3
    origin = {"source_sha256": "ab" * 32, "synthetic": False, "patients_known": True, "fit": "pad"}
    assert card["provenance"] == origin | {"fedxray": __version__}


@pytest.mark.parametrize(("label", "word"), [(0, "PNEUMONIA"), (1, "NORMAL")])
def test_both_classes_are_needed(make, label, word):
    with pytest.raises(UserError, match=f"^dataset.external: nih: no image is {word}; a test needs both classes$"):
        make(labels=(label,))


def test_waves_of_its_table_are_refused(make):
    with pytest.raises(UserError, match=r"^dataset.external: nih: an external test has no waves; take the column wave"):
        make(rows={"wave": [1, 1, 1, 1, 2, 2]})


def test_an_image_of_a_hospital_is_a_leak(make, tmp_path):
    known = pd.read_csv(tmp_path / "second" / "catalogue.csv")["sha256_pixels"][3]
    others = [hashlib.sha256(bytes([number])).hexdigest() for number in range(5)]
    with pytest.raises(UserError, match=r"nih: nih-105.png is also an image of the hospitals; take a data set"):
        make(rows={"sha256_pixels": [*others, known]})


def test_an_image_that_is_the_same_when_small_is_a_leak(make):
    with pytest.raises(
        UserError, match=r"nih: nih-3.png has the same pixels here as an image of the hospitals \(and 1 more\);"
    ):
        make([100, 3, 8, 103])


def test_a_patient_of_the_same_data_set_is_a_leak_and_an_equal_key_elsewhere_is_not(make):
    make(patient="p{}")  # p0 and p1 are in both training sources, which are other data sets
    with pytest.raises(UserError, match=r"nih: nih-100.png is of a patient of the hospitals \(and 3 more\);"):
        make(patient="p{}", same=[1])
    make(patient="q{}", same=[0, 1])


def test_patients_who_share_an_image_are_one_after_each_of_their_keys_was_looked_for(make):
    own = [hashlib.sha256(f"own{number}".encode()).hexdigest() for number in range(5)]
    shared = {"sha256_pixels": [*own[:4], own[0], own[4]]}  # of the first patient and the last
    at = make(rows=shared)
    assert list(read_table(at.split)["patient"]) == ["nih/q0", "nih/q0", "nih/q1", "nih/q1", "nih/q0", "nih/q0"]
    named = ["a", "a", "q1", "q1", "p1", "p1"]  # p1, who is a too, is in the training sources
    with pytest.raises(UserError, match=r"nih: nih-104.png is of a patient of the hospitals \(and 1 more\);"):
        make(rows=shared | {"patient": named}, same=[1])


def test_no_image_differs_from_all_by_its_place_in_a_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr("fedxray.data.external.CHUNK", 4)
    _, pixels = source(tmp_path / "a", [7, 7, 1, 2, 3, 4, 5, 6, 7])
    found = digests(pixels)
    assert [index for index, digest in enumerate(found) if digest == found[0]] == [0, 1, 8]
    assert found[0] == hashlib.sha256(bytes([7]) * SIZE * SIZE).digest()


def test_the_script_says_a_leak_in_one_line_and_writes_nothing(make, tmp_path):
    at = make()
    (at.site / "card.json").unlink()
    words = ["--training", at.catalogue, "--training-pixels", at.pixels, "--split", at.split, "--output", at.site]
    words += [
        "--name",
        "nih",
        "--catalogue",
        at.catalogue,
        "--pixels",
        at.pixels,
        "--summary",
        at.summary,
        "--fit",
        "pad",
    ]
    script = ROOT / "scripts" / "make_external.py"
    done = subprocess.run([sys.executable, script, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: dataset.external: nih: nih-100.png is also an image of the hospitals (and 5")
    assert done.stderr.count("\n") == 1
    assert not (at.site / "card.json").exists()


@pytest.fixture
def config():
    """The default configuration, with other values of `dataset`."""

    def make(where="here", sites=("us", "europe"), **dataset):
        config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
        changed = {"dataset": config["dataset"] | dataset, "sites": list(sites)}
        return config | changed | {"federation": config["federation"] | {"where": where}}

    return make


def test_an_external_test_is_a_source_of_its_own_folder(config, tmp_path):
    assert datasets.external(config()) == []
    entries = [
        {"nih": {"archive": str(tmp_path)}},
        {"folder": {"folder": str(tmp_path), "patient": "image"}, "site": "a-1"},
    ]
    nih, own = datasets.external(config(source="kermany", archive=str(tmp_path), external=entries))
    assert (nih.name, nih.folder, nih.path, nih.dataset.name) == ("nih", "external/nih", str(tmp_path), "nih")
    assert nih.reading.columns["patient"] == "Patient ID"
    assert (own.name, own.folder, own.reading.patient) == ("a-1", "external/a-1", "image")


@pytest.mark.parametrize(
    "name", ["us", "europe", "pooled", "shared", "train", "validation", "test", "a/b", "NIH", "../x"]
)
def test_an_external_test_is_not_called_as_a_hospital_or_another_set(config, tmp_path, name):
    entry = {"folder": {"folder": str(tmp_path)}, "site": name}
    with pytest.raises(UserError, match=r"external\.0\.folder: an external test cannot be called .* no hospital$"):
        datasets.external(config(external=[entry]))


def test_two_external_tests_have_two_names(config, tmp_path):
    entry = {"folder": {"folder": str(tmp_path)}}
    with pytest.raises(UserError, match=r"dataset.external.0.folder: two sources are called folder"):
        datasets.external(config(external=[entry, entry]))
    assert len(datasets.external(config(external=[entry, entry | {"site": "other"}]))) == 2


@pytest.mark.parametrize(("training", "test"), [("nih", "rsna"), ("rsna", "nih")])
def test_a_data_set_of_the_same_patients_is_no_external_test(config, tmp_path, training, test):
    given = {"archive": str(tmp_path)}
    message = f"external.0.{test}: its patients are those of {training}, on which hospitals train"
    with pytest.raises(UserError, match=message):
        datasets.external(config(source=training, external=[{test: given}], **given))
    several = [{"kermany": given}, {training: given}]
    with pytest.raises(UserError, match=message):
        datasets.external(config(sources=several, external=[{test: given}]))
    # Of one data set, hospitals may have one part, and the test another: make_external compares their patients.
    datasets.external(config(source=training, external=[{training: given}], **given))


def test_an_external_test_that_means_nothing_is_refused(config, tmp_path):
    drawn = [{"phantom": {"seed": 2}}]
    (source,) = datasets.external(config(external=drawn))
    assert (source.name, source.section["phantom"]) == (
        "phantom",
        {"patients": 800, "seed": 2, "second": {"patients": 0, "pneumonia": 0.4}},
    )
    with pytest.raises(UserError, match="drawn images say nothing of models of real ones"):
        datasets.external(config(source="kermany", archive=str(tmp_path), external=drawn))
    with pytest.raises(UserError, match=r"dataset.external: a remote federation predicts at its hospitals alone"):
        datasets.external(config("remote", external=drawn))
    with pytest.raises(UserError, match=r"external.0.nih.archive: /no/such.zip does not exist"):
        datasets.external(config(external=[{"nih": {"archive": "/no/such.zip"}}]))
