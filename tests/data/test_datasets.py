import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fedxray.data import datasets
from fedxray.data.catalogue import build_catalogue
from fedxray.data.drawing import draw_phantom

ROOT = Path(__file__).parents[2]
SECTION = {"archive": "", "folder": ""}


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
    assert dataset.made_by or dataset.path_key
    assert dataset.path_key in ("", *schema["properties"]["dataset"]["properties"])
    assert not dataset.made_by or (ROOT / "scripts" / f"{dataset.made_by}.py").exists()
    assert bool(dataset.handle) == (dataset.made_by == "fetch_kaggle")


def test_where_the_images_are(tmp_path):
    path, archive = str(tmp_path), tmp_path / "images.zip"
    cases = [
        ("phantom", SECTION | {"folder": path, "archive": path}, archive),
        ("kaggle", SECTION, archive),
        ("kaggle", SECTION | {"archive": path}, path),
        ("folder", SECTION | {"folder": path}, path),
    ]
    for source, section, images in cases:
        dataset = datasets.get(source)
        assert dataset.images(section, archive) == images
        assert dataset.missing(section, images) == ""


@pytest.mark.parametrize(
    ("source", "section", "said"),
    [
        ("kaggle", {"archive": "/no/such"}, "config: dataset.archive: /no/such does not exist; correct the path"),
        ("folder", {"folder": "/no/such"}, "config: dataset.folder: /no/such does not exist; correct the path"),
        ("folder", {}, "config: dataset.folder: empty; set it to the path of your images"),
    ],
)
def test_images_that_the_user_should_have_and_has_not(source, section, said, tmp_path):
    dataset, section = datasets.get(source), SECTION | section
    assert dataset.missing(section, dataset.images(section, tmp_path / "images.zip")) == said


def test_what_is_called_synthetic_is(tmp_path):
    draw_phantom(tmp_path / "images.zip", 30, 1, 1)
    _, summary = build_catalogue(tmp_path / "images.zip", "stop", 1)
    assert summary["synthetic"] is datasets.get("phantom").synthetic
    assert not datasets.get("kaggle").synthetic


def test_a_plan_loads_no_library_for_the_data_sets():
    code = "import sys; import fedxray.data.datasets; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"numpy", "pandas", "PIL", "requests", "kaggle", "torch"} & set(done.stdout.split())
