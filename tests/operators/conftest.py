"""A provisioned federation on a free port, and a hospital's archive, unpacked, with its data set made."""

import shutil

import pytest
from helpers.data import make_sites
from helpers.operators import ask, unpack

from fedxray.flare.own import OwnFile


@pytest.fixture(scope="session")
def organiser(tmp_path_factory):
    """A folder of the organiser's: us and europe; not to be changed."""
    folder = tmp_path_factory.mktemp("organiser")
    ask(folder, sites=["us", "europe"])
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Data directories of us, europe, asia, and shared, of 16 pixels; not to be changed."""
    folder = tmp_path_factory.mktemp("data")
    return make_sites(folder) | {"shared": folder / "shared"}


@pytest.fixture
def hospital(organiser, data, tmp_path):
    """The unpacked archive of us, its data in it."""
    folder = unpack(organiser, "us", tmp_path)
    shutil.copytree(data["us"], folder / "data")
    OwnFile(folder / "kit").write(data=folder / "data")
    return folder
