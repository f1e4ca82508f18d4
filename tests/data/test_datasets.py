import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fedxray.core.errors import UserError
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
    assert dataset.rule or dataset.path_key
    assert dataset.path_key in ("", *schema["properties"]["dataset"]["properties"])
    assert not dataset.rule or (ROOT / "scripts" / f"{dataset.rule}.py").exists()
    assert bool(dataset.handle) == (dataset.rule == "fetch_kaggle")


def test_where_the_images_are(tmp_path):
    path = str(tmp_path)
    assert datasets.get("phantom").path(SECTION | {"folder": path, "archive": path}) == ""
    assert datasets.get("kaggle").path(SECTION) == ""
    assert datasets.get("kaggle").path(SECTION | {"archive": path}) == path
    assert datasets.get("folder").path(SECTION | {"folder": path}) == path
    for source, key in (("kaggle", "archive"), ("folder", "folder")):
        with pytest.raises(UserError, match=rf"config: dataset\.{key}: /no/such does not exist; correct the path"):
            datasets.get(source).path(SECTION | {key: "/no/such"})
    with pytest.raises(UserError, match=r"dataset\.folder: the empty path does not exist"):
        datasets.get("folder").path(SECTION)


def test_what_is_called_synthetic_is(tmp_path):
    draw_phantom(tmp_path / "images.zip", 30, 1, 1)
    _, summary = build_catalogue(tmp_path / "images.zip", "stop", 1)
    assert summary["synthetic"] is datasets.get("phantom").synthetic
    assert not datasets.get("kaggle").synthetic


def test_a_plan_loads_no_library_for_the_data_sets():
    code = "import sys; import fedxray.data.datasets; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"numpy", "pandas", "PIL", "requests", "kaggle", "torch"} & set(done.stdout.split())
