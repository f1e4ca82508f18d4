"""Fixtures: the real radiographs where they are, a small zip, and the directories of three sites."""

import zipfile
from pathlib import Path

import pytest
from helpers.data import make_sites

REAL = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def real_zip():
    path = REAL / "chest-xray-pneumonia-224.zip"
    if not path.exists():
        pytest.skip(f"{path.name} (real radiographs) is not on this machine")
    return path


@pytest.fixture
def make_zip(tmp_path):
    def make(members, name="images.zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member, data in members.items():
                archive.writestr(member, data)
        return tmp_path / name

    return make


@pytest.fixture(scope="session")
def site_folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sites")
    return make_sites(folder)
