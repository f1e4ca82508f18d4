"""A hospital's archive: what is in it, and that the same content has the same bytes. test_server.py installs one."""

import os
import re
import stat
import tarfile
from pathlib import Path

import pytest
from helpers.operators import ask, library, unpack

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, sha256
from fedxray.operators import archive
from fedxray.operators.archive import read_about


def test_an_archive_has_one_key_of_its_own_site_and_is_private(organiser, tmp_path):
    path = organiser / "archives" / "us.tar.gz"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    digest, name = (organiser / "archives" / "us.tar.gz.sha256").read_text().split()
    assert (digest, name) == (sha256(path), path.name)
    folder = unpack(organiser, "us", tmp_path)
    keys = [path for path in folder.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert keys == [folder / "kit" / "startup" / "client.key"]
    assert keys[0].read_bytes() == (organiser / "kits" / "us" / "startup" / "client.key").read_bytes()
    with tarfile.open(path) as packed:
        assert {(member.uid, member.uname, member.mode & 0o077) for member in packed} == {(0, "", 0)}
    assert str(organiser) not in (folder / "README.txt").read_text() + (folder / "archive.json").read_text()


def test_an_archive_shows_one_way_to_start_alone(organiser, tmp_path):
    folder = unpack(organiser, "us", tmp_path)
    assert (organiser / "kits" / "us" / "startup" / "start.sh").exists()  # NVFlare's, which its readme.txt tells to run
    assert [path.name for path in folder.rglob("*.sh")] == ["install.sh"]
    assert sorted(path.name for path in folder.rglob("*.txt")) == ["README.txt", "requirements.txt"]


def test_only_what_changed_is_a_new_archive(tmp_path):
    ask(tmp_path, sites=["us", "europe"])
    said = ask(tmp_path, sites=["us", "asia"], renew=("us",))
    assert [re.search("as before|new|removed", line)[0] for line in said] == ["removed", "removed", "new", "new"]
    said = ask(tmp_path)
    assert ["as before" in line for line in said] == [True, True]
    assert sorted(path.name for path in (tmp_path / "archives").glob("*.gz")) == ["asia.tar.gz", "us.tar.gz"]


def test_a_renewed_server_or_admin_kit_says_what_is_to_be_done(tmp_path):
    ask(tmp_path)
    said = ask(tmp_path, renew=("localhost", "admin@fedxray.org"))
    assert next(line for line in said if "/localhost: " in line).endswith("each hospital restart fedxray-site start")
    assert next(line for line in said if "/admin@fedxray.org: " in line).endswith("to where experiments run")
    assert "as before" in said[-1]


def test_the_site_installs_its_pins_alone(organiser, tmp_path):
    folder = unpack(organiser, "us", tmp_path)
    pins = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (folder / "requirements.txt").read_text(), re.M))
    workflow = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", Path("requirements.txt").read_text(), re.M))
    assert {"nvflare", "torch", "numpy"} <= set(pins)
    assert not {"snakemake", "matplotlib", "pytest", "onnx"} & set(pins)
    assert pins.items() <= workflow.items()


def test_the_same_code_builds_the_same_library(tmp_path):
    again = archive.build_library(tmp_path)
    assert again.name == library().name
    assert sha256(again) == sha256(library())


def test_without_a_checkout_there_is_no_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "CHECKOUT", tmp_path)
    with pytest.raises(UserError, match="no checkout of fedxray"):
        archive.build_library(tmp_path)
    with pytest.raises(UserError, match=r"no archive\.json; go to"):
        read_about(tmp_path)


@pytest.mark.parametrize("text", ['{"site": ', "[]", "{}"])
def test_a_damaged_archive_is_told_in_one_line(tmp_path, text):
    (tmp_path / "archive.json").write_text(text)
    with pytest.raises(UserError, match=r"archive\.json: damaged; take it from the archive again"):
        read_about(tmp_path)


def test_it_says_what_it_was_made_for(organiser, tmp_path):
    folder = unpack(organiser, "us", tmp_path)
    about = read_json(folder / "archive.json")
    assert (about["site"], about["image_size"]) == ("us", 16)
    assert about["server"].startswith("localhost:")
    assert f"TCP port {about['server'].split(':')[1]}" in " ".join((folder / "README.txt").read_text().split())
