import io
import subprocess
import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pydicom
import pytest
import yaml
from helpers.data import catalogued, nih_archive, rsna_archive
from PIL import Image
from pydicom.encaps import generate_frames

from fedxray.core.errors import UserError
from fedxray.data import datasets
from fedxray.data.drawing import draw_phantom
from fedxray.data.reading import Reading

ROOT = Path(__file__).parents[2]


def test_the_configuration_may_name_each_data_set_and_no_other():
    schema = yaml.safe_load((ROOT / "config" / "schema.yaml").read_text())
    source = schema["properties"]["dataset"]["properties"]["source"]
    assert sorted(source["enum"]) == sorted(datasets.DATASETS)


@pytest.mark.parametrize("dataset", datasets.DATASETS.values(), ids=datasets.DATASETS)
def test_what_a_data_set_says_of_itself_fits_the_workflow(dataset):
    schema = yaml.safe_load((ROOT / "config" / "schema.yaml").read_text())
    assert datasets.get(dataset.name) is dataset
    assert dataset.title
    assert dataset.licence
    assert dataset.rule or dataset.path_key
    assert dataset.path_key in ("", *schema["properties"]["dataset"]["properties"])
    assert not dataset.rule or (ROOT / "scripts" / f"{dataset.rule}.py").exists()
    assert bool(dataset.handle) == (dataset.rule == "fetch_kaggle")


def of(partition="acquisition", **values):
    """A configuration of two hospitals whose section `dataset` has these values."""
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    split, dataset = config["split"] | {"partition": partition}, config["dataset"] | values
    return config | {"sites": ["us", "asia"], "split": split, "dataset": dataset}


def test_where_the_images_of_one_source_are(tmp_path):
    path = str(tmp_path)
    for values, where in (
        ({"source": "phantom"}, ""),
        ({"source": "kermany"}, ""),
        ({"source": "rsna", "archive": path}, path),
        ({"source": "folder", "folder": path}, path),
    ):
        (source,) = datasets.sources(of(**values))
        assert (source.name, source.path, source.folder, source.site) == (values["source"], where, "data", "")
        assert datasets.external(of(**values)) == []


def test_several_sources_and_an_external_test(tmp_path):
    path = str(tmp_path)
    entries = [{"kermany": {"archive": path, "views": ["PA"]}, "site": "asia"}, {"nih": None}]
    config = of(sources=entries, external=[{"kermany": {"archive": path}}], bad_images="drop")
    first, second = datasets.sources(config)
    assert (first.name, first.path, first.folder, first.site) == ("asia", path, "data/asia", "asia")
    assert (second.name, second.path, second.folder, second.site) == ("nih", "", "data/nih", "")
    assert (first.reading.views, second.reading.views) == (("PA",), ("PA", "AP"))
    assert first.reading.bad_images == second.reading.bad_images == "drop"  # of all, unless an entry says otherwise
    assert second.reading.labels["Pneumonia"] == "1"
    (external,) = datasets.external(config)
    assert (external.name, external.folder) == ("kermany", "external/kermany")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"source": "kermany", "archive": "/no"},
            r"dataset\.archive: /no does not exist, or may not be read; correct the path",
        ),
        ({"source": "folder"}, r"dataset\.folder: the empty path does not exist, or may not be read; correct the path"),
        ({"folder": "/"}, r"dataset\.folder is given, but the source is phantom.*set dataset\.source to folder"),
        ({"archive": "/"}, r"source is phantom, .*set dataset\.source to kermany or nih or rsna"),
        (
            {"sources": [{"site": "us"}]},
            r"dataset\.sources\.0: name one data set \(phantom, kermany, nih, rsna, folder\)",
        ),
        ({"sources": [{"nih": {}, "site": "mars"}]}, r"sources\.0\.nih\.site: mars is not one of `sites` \(us, asia\)"),
        ({"sources": [{"nih": {}}, {"nih": {}}]}, r"two sources are called nih; give each its own `site`"),
        ({"sources": [{"nih": {}}], "archive": "/"}, r"dataset\.archive: belongs to one source; give it in the entry"),
        (
            {"sources": [{"nih": {}}], "source": "kermany"},
            r"dataset\.source: kermany, but dataset\.sources lists others",
        ),
        (
            {"sources": [{"nih": {}, "site": "us"}, {"rsna": {}, "site": "asia"}]},
            r"sources\.0\.nih: its patients are those of rsna, on which hospitals train",
        ),
        (
            {"sources": [{"nih": {}, "site": "us"}], "partition": "iid"},
            r"sources\.0\.nih\.site: us, but split\.partition: iid deals .* set split\.partition: acquisition",
        ),
        ({"external": [{"nih": {"archive": "/no"}}]}, r"dataset\.external\.0\.nih\.archive: /no does not exist"),
    ],
)
def test_a_source_that_cannot_be(values, said):
    config = of(**values)
    with pytest.raises(UserError, match=said):
        datasets.sources(config) and datasets.external(config)


def test_a_hospital_of_a_source_where_its_partition_is_swept():
    config = of("iid", sources=[{"nih": {}, "site": "us"}])
    for sweep in (
        {"grid": {"split.partition": ["iid", "acquisition"]}},
        {"points": [{"split.partition": "acquisition"}]},
    ):
        (source,) = datasets.sources(config | {"sweep": config["sweep"] | sweep})
        assert source.site == "us"


def test_parts_of_one_data_set_have_the_same_patients():
    """Of two folders, each hospital counts its own; of two parts of the NIH's archive, patient 13 is one."""
    one, other = {"nih": {}, "site": "us"}, {"nih": {}, "site": "asia"}
    assert [source.patients for source in datasets.sources(of(sources=[one, other]))] == ["nih", "nih"]
    own = [{"folder": {"folder": "/"}, "site": site} for site in ("us", "asia")]
    assert [source.patients for source in datasets.sources(of(sources=own))] == ["us", "asia"]
    drawn = [{"phantom": {}, "site": site} for site in ("us", "asia")]
    assert [source.patients for source in datasets.sources(of(sources=drawn))] == ["us", "asia"]


def test_a_source_of_a_later_wave_has_the_patients_of_the_first():
    entries = [{"folder": {"folder": "/"}, "site": "us"}, {"folder": {"folder": "/tmp"}, "site": "us", "wave": 2}]
    entries += [{"nih": {}, "site": "asia"}, {"nih": {}, "site": "asia", "wave": 2}]
    found = datasets.sources(of(sources=entries))
    assert [source.name for source in found] == ["us", "us-wave2", "asia", "asia-wave2"]
    assert [source.folder for source in found][:2] == ["data/us", "data/us-wave2"]
    assert [source.patients for source in found] == ["us", "us", "nih", "nih"]
    assert [source.reading.wave for source in found] == ["1", "2", "1", "2"]
    (alone,) = datasets.sources(of(sources=entries[:1]))
    assert alone.reading.wave == ""
    drawn = datasets.sources(of(sources=[{"phantom": {}}, {"phantom": {"seed": 2}, "wave": 2}], partition="iid"))
    assert [source.patients for source in drawn] == ["phantom", "phantom-wave2"]  # other persons, numbered alike


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sources": [{"nih": {}, "wave": 2}]}, r"dataset\.sources: no entry is of wave 1, of 2; number the waves"),
        ({"sources": [{"nih": {}}, {"kermany": {}, "wave": 3}]}, r"dataset\.sources: no entry is of wave 2, of 3"),
        ({"sources": [{"nih": {}}, {"nih": {}, "wave": 1}]}, r"two sources are called nih; give each its own"),
        ({"sources": [{"nih": {"waves": ["soon"]}}]}, r"sources\.0\.nih\.waves: 'soon' is no day; write it as"),
        ({"waves": ["soon"]}, r"dataset\.waves: 'soon' is no day"),
        ({"external": [{"nih": {}, "wave": 2}]}, r"dataset\.external\.0: an external test has no waves; take wave out"),
        ({"external": [{"phantom": {"second": {}}}]}, r"external\.0: an external test has no waves; take second out"),
    ],
)
def test_waves_of_sources_that_cannot_be(values, said):
    config = of(**values)
    with pytest.raises(UserError, match=said):
        datasets.sources(config) and datasets.external(config)


def test_the_second_wave_of_a_phantom_is_of_its_source_and_of_no_external_test():
    second = {"patients": 50, "pneumonia": 0.4}
    config = of(phantom={"patients": 800, "seed": 1, "second": second}, external=[{"phantom": {"seed": 2}}])
    assert datasets.sources(config)[0].section["phantom"]["second"] == second
    assert datasets.external(config)[0].section["phantom"]["second"]["patients"] == 0
    entry = {"phantom": {"patients": 90, "second": {"patients": 30}}}
    (source,) = datasets.sources(of(sources=[entry], partition="iid"))
    assert source.section["phantom"] == {"patients": 90, "seed": 1, "second": {"patients": 30, "pneumonia": 0.4}}


@pytest.mark.parametrize("dataset", datasets.DATASETS.values(), ids=datasets.DATASETS)
def test_what_the_pages_say_of_a_data_set_is_whole_sentences(dataset):
    for text in (dataset.about, *dataset.limits, *dataset.model_limits):
        assert text[0].isupper()
        assert text.endswith(".")
    for part in (dataset.title, dataset.licence, dataset.citation):  # a template ends the sentence
        assert not part.endswith(".")
    assert not dataset.handle or (dataset.citation and dataset.limits and dataset.model_limits)
    assert "://" not in f"{dataset}"  # pages open without a network, and a test looks for addresses


@pytest.mark.parametrize(("name", "build"), [("nih", nih_archive), ("rsna", rsna_archive)])
def test_a_contract_names_every_file_of_its_archive(tmp_path, name, build):
    """Each file is the one table, an image that the table has, or known; and the table has the words and columns."""
    truth = build(tmp_path / "archive.zip")
    build(tmp_path / "folder")
    reading = Reading(**datasets.get(name).reading)
    with zipfile.ZipFile(tmp_path / "archive.zip") as archive:
        members = archive.namelist()
        (table,) = [member for member in members if fnmatch(member, reading.table)]
        with archive.open(table) as file:
            rows = pd.read_csv(file, dtype=str)
    assert sorted(members) == sorted(
        path.relative_to(tmp_path / "folder").as_posix() for path in (tmp_path / "folder").rglob("*") if path.is_file()
    )
    images = {PurePosixPath(member).name: member for member in members}
    named = {images[image + reading.suffix] for image in rows[reading.columns["image"]]}
    known = {member for member in members if any(fnmatch(member, pattern) for pattern in reading.known)}
    assert named == set(truth)
    assert not named & known
    assert set(members) == named | known | {table}
    words = {word for cell in rows[reading.columns["label"]] for word in cell.split("|")}
    assert words <= set(reading.labels)
    assert {label for label, _ in truth.values()} == {0, 1, None}


def test_every_finding_of_nih_is_known():
    assert len(datasets.get("nih").reading["labels"]) == 15  # 14 findings, and none


def test_the_made_up_dicom_is_read_as_it_was_drawn(tmp_path):
    truth = rsna_archive(tmp_path)
    for name, (label, patient) in truth.items():
        image = pydicom.dcmread(tmp_path / name)
        assert (image.PatientID, image.ViewPosition in ("PA", "AP")) == (patient, True)
        grey = Image.open(io.BytesIO(next(generate_frames(image.PixelData, number_of_frames=1))))
        square = np.asarray(grey)[8:16, 8:16].mean()
        assert (square > 110) == (label == 1)


def test_what_is_called_synthetic_is(tmp_path):
    draw_phantom(tmp_path / "images.zip", 30, 1, 1)
    _, _, summary = catalogued(tmp_path / "images.zip", "phantom")
    assert summary["synthetic"] is datasets.get("phantom").synthetic
    assert [dataset.name for dataset in datasets.DATASETS.values() if dataset.synthetic] == ["phantom"]


def test_a_plan_loads_no_library_for_the_data_sets():
    code = "import sys; import fedxray.data.datasets; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"numpy", "pandas", "PIL", "requests", "kaggle", "torch"} & set(done.stdout.split())


def test_a_path_that_no_file_system_takes_does_not_exist():
    with pytest.raises(UserError, match=r"dataset\.folder: /a+ does not exist, or may not be read"):
        datasets.sources(of(source="folder", folder="/" + "a" * 300))


def test_results_do_not_lie_among_the_images(tmp_path):
    images, config = tmp_path / "images", yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    images.mkdir()
    (images / "list.csv").touch()
    for path in (images, images / "list.csv"):
        config["dataset"] |= {"source": "folder", "folder": str(path)}
        datasets.check_apart(datasets.sources(config), tmp_path / "results")
        with pytest.raises(UserError, match=r"dataset\.folder: .*: the results would lie among these images; move"):
            datasets.check_apart(datasets.sources(config), images / "work" / "results")
    config["dataset"] |= {"source": "kermany", "folder": "", "archive": str(tmp_path / "a.zip")}
    (tmp_path / "a.zip").touch()
    datasets.check_apart(datasets.sources(config), tmp_path / "results")


def test_what_only_the_phantom_has_is_not_ignored_elsewhere(tmp_path):
    for key in ("patients", "seed"):
        with pytest.raises(UserError, match=rf"dataset\.sources\.0\.folder\.{key}: is of the phantom, which is drawn"):
            datasets.sources(of(sources=[{"folder": {"folder": str(tmp_path), key: 50}}]))
    (source,) = datasets.sources(of(sources=[{"phantom": {"patients": 50}}]))
    assert source.section["phantom"]["patients"] == 50
