"""The files of a zip or folder: all are listed, each that cannot be an image with the reason, and read by name."""

import os
import struct
import zipfile

import pytest
from helpers.data import png, write_images

from fedxray.core.errors import UserError
from fedxray.core.files import printable
from fedxray.data.source import list_files, open_source

TRAIN = "chest_xray/train"


def why(path, known=()):
    """{name: why it cannot be an image} of every file."""
    with open_source(path) as reader:
        return dict(list_files(reader, known))


def test_every_file_is_listed_with_its_reason(tmp_path, make_zip):
    dicom = bytes(128) + b"DICM" + bytes(9)
    files = {
        "NORMAL/a.png": (png(1), ""),
        "NORMAL/b.TIFF": (b"", ""),
        "NORMAL/c.dcm": (b"", ""),
        "NORMAL/IM000001": (dicom, ""),  # as on a hospital's disc
        "NORMAL/IM000002": (b"x", "not an image"),
        "NORMAL/d.mp4": (b"x", "not an image"),
        "NORMAL/.DS_Store": (b"x", "hidden"),
        "NORMAL/Thumbs.db": (b"x", "hidden"),
        "README.txt": (b"x", "document"),
        "DICOMDIR": (dicom, "document"),
        "more/boxes.csv": (b"x", "document"),
        "more/boxes.json": (b"x", "document"),
    }
    folder = tmp_path / "folder"
    for name, (data, _) in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    expected = {name: reason for name, (_, reason) in files.items()}
    assert why(folder) == expected
    assert why(make_zip({name: data for name, (data, _) in files.items()})) == expected
    known = why(folder, ("boxes.*", "NORMAL/*.mp4"))
    assert {name for name, reason in known.items() if reason == "known, without a label"} == {
        *("more/boxes.csv", "more/boxes.json", "NORMAL/d.mp4"),
    }


def test_hidden_folders_hold_no_images(tmp_path, make_zip):
    """A notebook's checkpoints have the pixels of an image in other bytes, and so would be a further patient."""
    names = ["NORMAL/p5.png", "NORMAL/.ipynb_checkpoints/p5-checkpoint.png", "__MACOSX/NORMAL/._p5.png", "@eaDir/a.png"]
    folder = write_images(tmp_path / "x", names)
    assert why(folder) == {
        "NORMAL/p5.png": "",
        **dict.fromkeys(["NORMAL/.ipynb_checkpoints/", "__MACOSX/", "@eaDir/"], "hidden"),
    }
    assert why(make_zip(dict.fromkeys(names, b"x"))) == dict.fromkeys(names, "hidden") | {names[0]: ""}


def test_the_second_copy_in_kaggles_archive_is_one_and_alone_it_is_none(make_zip):
    one = {f"{TRAIN}/NORMAL/IM-{n:04}-0001.jpeg": b"x" for n in range(3)}
    second = {name.replace("chest_xray/", "chest_xray/chest_xray/", 1): data for name, data in one.items()}
    assert why(make_zip(one | second)) == dict.fromkeys(one, "") | dict.fromkeys(second, "copy")
    inside = {name.removeprefix("chest_xray/"): data for name, data in (one | second).items()}  # of the outer folder
    assert list(why(make_zip(inside)).values()).count("copy") == len(second)
    assert why(make_zip(second, "second.zip")) == dict.fromkeys(second, "")


def test_links_to_folders_are_followed_and_no_file_is_listed_twice(tmp_path):
    names = ["NORMAL/a.png", "PNEUMONIA/b.png"]
    write_images(tmp_path / "real", names)
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in ("NORMAL", "PNEUMONIA"):
        (linked / name).symlink_to(tmp_path / "real" / name)
    assert why(linked) == dict.fromkeys(names, "")
    (linked / "again").symlink_to(linked)
    (linked / "NORMAL2").symlink_to(tmp_path / "real" / "NORMAL")
    (linked / "gone.png").symlink_to(tmp_path / "nowhere.png")
    found = why(linked)
    assert [name for name, reason in found.items() if not reason] == names
    assert found["again/"] == found["NORMAL2/"] == "copy"
    assert found["gone.png"] == "unreadable: a link that leads nowhere"


def test_a_folder_that_may_not_be_listed_is_an_entry(tmp_path, monkeypatch):
    write_images(tmp_path, ["NORMAL/a.png", "batch2/b.png"])
    scandir = os.scandir

    def refuse(path):  # root, as which tests may run, may list every folder
        if str(path).endswith("batch2"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    refused = "a folder that may not be listed: Permission denied"
    assert why(tmp_path) == {"NORMAL/a.png": "", "batch2/": refused}


def test_a_name_that_is_not_utf_8_is_shown_and_not_read(tmp_path):
    write_images(tmp_path, ["NORMAL/a.png"])
    os.rename(tmp_path / "NORMAL" / "a.png", os.fsencode(tmp_path / "NORMAL") + b"/caf\xe9.png")
    (tmp_path / "NORMAL" / "two\nlines.png").touch()
    unreadable = "unreadable: its name is not UTF-8 or has a line break; rename it"
    assert why(tmp_path) == {r"NORMAL/caf\xe9.png": unreadable, r"NORMAL/two\nlines.png": unreadable}
    assert printable("Mü.png") == "Mü.png"


def test_a_zip_of_windows_and_the_order_of_names(make_zip):
    path = make_zip({"NORMAL\\b.png": png(2), "NORMAL\\a.png": png(1), "empty\\": b"", "PNEUMONIA/c.png": png(3)})
    with open_source(path) as reader:
        names = [file.name for file in list_files(reader)]
        assert names == ["NORMAL/a.png", "NORMAL/b.png", "PNEUMONIA/c.png"]
        assert [reader.read(name) for name in names] == [png(1), png(2), png(3)]
        assert reader.read(names[0], 8) == b"\x89PNG\r\n\x1a\n"


def test_a_zip_that_has_a_name_twice(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("NORMAL/a.png", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("NORMAL/a.png", b"2")
    with pytest.raises(UserError, match=r"NORMAL/a\.png is in it twice; pack it again"):
        why(tmp_path / "x.zip")


def patched(path, local, central, value):
    """The zip with another 16-bit value at these offsets of each local and central header."""
    data = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\3\4", local), (b"PK\1\2", central)):
        at = data.find(magic)
        while at >= 0:
            data[at + offset : at + offset + 2] = struct.pack("<H", value)
            at = data.find(magic, at + 4)
    path.write_bytes(data)
    return path


def test_zips_that_python_cannot_read_say_what_to_do(make_zip, tmp_path):
    password = patched(make_zip({"NORMAL/a.png": png(1)}, "password.zip"), 6, 8, 1)
    with pytest.raises(UserError, match=r"password\.zip: its files have a password; unpack it and give the folder"):
        open_source(password)
    deflate64 = patched(make_zip({"NORMAL/a.png": png(1)}, "deflate64.zip"), 8, 10, 9)
    with pytest.raises(
        UserError, match=r"\(deflate64, as Windows makes zips above 2 GB\); unpack it and give the folder"
    ):
        open_source(deflate64)
    with pytest.raises(UserError, match="no such file or directory; it is where your images should be"):
        open_source(tmp_path / "missing.zip")
    (tmp_path / "page.zip").write_text("<html>")
    with pytest.raises(UserError, match="not a zip archive, or cut short; download it again"):
        open_source(tmp_path / "page.zip")
    cut = make_zip({"NORMAL/a.png": png(1)}, "cut.zip")
    cut.write_bytes(cut.read_bytes()[:-30])
    with pytest.raises(UserError, match="not a zip archive, or cut short"):
        open_source(cut)
