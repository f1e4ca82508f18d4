"""What is found below a folder."""

import os

import pytest

from fedxray.core.listing import COPY, HIDDEN, UNLISTED, is_document, is_hidden, walk


def write(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * len(name))


def names(root, *why):
    return sorted(found.name for found in walk(root) if found.why.partition(":")[0] in (why or ("",)))


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("NORMAL/a.png", False),
        ("NORMAL/a.b.png", False),
        ("NORMAL/.a.png", True),
        ("NORMAL/._a.png", True),
        (".ipynb_checkpoints/NORMAL/a.png", True),
        ("x/__MACOSX/NORMAL/a.png", True),
        ("NORMAL/.DS_Store", True),
        ("NORMAL/Thumbs.db", True),
        ("desktop.ini", True),
        ("@eaDir/NORMAL/a.png", True),
        ("thumbs/NORMAL/a.png", False),
    ],
)
def test_what_systems_leave_behind_is_hidden(name, hidden):
    assert is_hidden(name) is hidden


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("manifest.csv", True),
        ("a/README", True),
        ("LICENSE.txt", True),
        ("a.PDF", True),
        ("DICOMDIR", True),
        ("a.png", False),
        ("a", False),
        ("a.dcm", False),
        ("a.npy", False),
        ("notes.zip", False),
    ],
)
def test_documents_hold_no_image(name, document):
    assert is_document(name) is document


def test_files_at_any_depth_come_with_their_state_and_hidden_ones_are_named(tmp_path):
    write(tmp_path, "a.png", "NORMAL/b.png", "x/y/z/c.png", ".git/d.png", "x/__MACOSX/e.png", "x/.f.png")
    os.utime(tmp_path / "a.png", ns=(1, 123_456_789))
    states = {found.name: found.entry.stat() for found in walk(tmp_path) if not found.why}
    assert sorted(states) == ["NORMAL/b.png", "a.png", "x/y/z/c.png"]
    assert (states["a.png"].st_size, states["a.png"].st_mtime_ns) == (5, 123_456_789)
    assert names(tmp_path, HIDDEN) == [".git/", "x/.f.png", "x/__MACOSX/"]


def test_a_hidden_folder_may_be_the_root(tmp_path):
    write(tmp_path / ".data", "a.png")
    assert names(tmp_path / ".data") == ["a.png"]


def test_links_are_followed(tmp_path):
    write(tmp_path / "elsewhere", "NORMAL/a.png", "b.png")
    write(tmp_path / "root", "c.png")
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "file.png").symlink_to(tmp_path / "elsewhere" / "b.png")
    (tmp_path / "root" / "nothing.png").symlink_to(tmp_path / "nowhere.png")
    expected = ["again/NORMAL/a.png", "again/b.png", "c.png", "file.png"]
    assert names(tmp_path / "root") == expected
    assert names(tmp_path / "root", COPY) == ["linked/"]
    assert names(tmp_path / "root", "unreadable") == ["nothing.png"]
    (tmp_path / "link").symlink_to("root")
    assert names(tmp_path / "link") == expected


def test_each_folder_is_read_once_and_links_that_lead_back_end(tmp_path):
    write(tmp_path, "root/a/x.png", "root/b/y.png")
    (tmp_path / "root" / "a" / "up").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "a" / "self").symlink_to("self")
    (tmp_path / "root" / "a" / "other").symlink_to("../b")
    (tmp_path / "root" / "b" / "other").symlink_to("../a")
    assert names(tmp_path / "root") == ["a/x.png", "b/y.png"]
    assert names(tmp_path / "root", COPY) == ["a/other/", "a/up/", "b/other/"]


def test_what_cannot_be_looked_at_comes_without_a_state(tmp_path, monkeypatch):
    write(tmp_path, "a.png", "closed/b.png")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert {found.name: found.entry is None for found in walk(tmp_path)} == {"a.png": False, "closed/": True}
    assert [(found.name, found.why) for found in walk(tmp_path / "closed")] == [
        ("./", f"{UNLISTED}: Permission denied")
    ]
    assert [found.name for found in walk(tmp_path / "missing")] == ["./"]
