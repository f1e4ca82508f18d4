"""When the digest of a source changes: in every way that users change a folder, a manifest or an archive."""

import csv
import hashlib
import os
import shutil
import zipfile

import pytest

from fedxray.experiment import content
from fedxray.experiment.content import Content

SECOND = 1_000_000_000  # nanoseconds
HOUR = 3600 * SECOND
TIME = 1_700_000_000 * SECOND  # of every image at first
MANIFEST = "image,label\nNORMAL/a.png,NORMAL\nPNEUMONIA/c.png,PNEUMONIA\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder `images` and its catalogue. No file counts as recent, although all have just been written."""
    monkeypatch.setattr(content, "RECENT_NS", 0)
    for name in ("NORMAL/a.png", "NORMAL/b.png", "PNEUMONIA/c.png", "PNEUMONIA/d.png", "PNEUMONIA/deep/e.png"):
        write(tmp_path / "images" / name, f"the pixels of {name[-5]}")
    catalogue(tmp_path)
    return tmp_path


def write(path, text, time=TIME):
    """Write a file in place, with its times set."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, ns=(time, time))


def catalogue(place):
    """Make the catalogue of all images as they are, as a run does."""
    rows = [
        (path.relative_to(place / "images").as_posix(), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in (place / "images").rglob("*.png")
    ]
    with (place / "catalogue.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "label", "sha256"), *((name, 0, digest) for name, digest in rows)])


def digest(place, source="images", *table):
    """The digest at a new plan."""
    return Content(place / "memory").digest(place / source, place / "catalogue.csv", *table)


@pytest.fixture
def read(monkeypatch):
    """The names of the files that are read, as they are."""
    names, sha256 = [], content.files.sha256

    def noted(path):
        names.append(path.name)
        return sha256(path)

    monkeypatch.setattr(content.files, "sha256", noted)
    return names


def at_same_time(path, text):
    """Another content of the same size and time, as when one of two files of a camera replaces the other."""
    state = path.stat()
    assert len(text) == state.st_size
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


CHANGES = {
    "added": lambda images: write(images / "NORMAL/new.png", "new"),
    "added with an old time": lambda images: write(images / "NORMAL/new.png", "new", TIME - HOUR),
    "removed": lambda images: (images / "NORMAL/a.png").unlink(),
    "renamed": lambda images: (images / "NORMAL/a.png").rename(images / "NORMAL/a2.png"),
    "moved to the other class": lambda images: (images / "NORMAL/a.png").rename(images / "PNEUMONIA/a.png"),
    "two exchanged": lambda images: exchange(images / "NORMAL/a.png", images / "NORMAL/b.png"),
    "replaced": lambda images: write(images / "PNEUMONIA/deep/e.png", "other pixels of e", TIME + HOUR),
    "replaced with the same size": lambda images: write(images / "NORMAL/a.png", "the pixels of x", TIME + HOUR),
    "replaced by an older one": lambda images: write(images / "NORMAL/a.png", "the pixels of x", TIME - HOUR),
    "replaced with the same size and time": lambda images: at_same_time(images / "NORMAL/a.png", "the pixels of x"),
    "changed in place, and its time set back": lambda images: write(images / "NORMAL/a.png", "the pixels of x"),
    "a folder renamed": lambda images: (images / "PNEUMONIA/deep").rename(images / "NORMAL/deep"),
    "a folder linked": lambda images: link_outside(images),
    "a manifest added": lambda images: write(images / "manifest.csv", MANIFEST),
    "of an unknown kind": lambda images: write(images / "NORMAL/IM000001", "DICM"),
}


def link_outside(images):
    write(images.parent / "outside" / "a.png", "more")
    (images / "NORMAL/more").symlink_to(images.parent / "outside")


def exchange(one, other):
    one.rename(one.with_suffix(".x"))
    other.rename(one)
    one.with_suffix(".x").rename(other)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("catalogued", [True, False])
def test_a_change_gives_a_digest_that_stays(place, change, catalogued):
    if not catalogued:
        (place / "catalogue.csv").unlink()
    before = digest(place)
    assert digest(place) == before
    change(place / "images")
    after = digest(place)  # as a dry run does
    assert after != before
    assert digest(place) == after
    catalogue(place)  # as the run does
    assert digest(place) == after


NO_CHANGES = {
    "nothing": lambda images: None,
    "touched": lambda images: [os.utime(path) for path in images.rglob("*.png")],
    "times set back": lambda images: [os.utime(path, ns=(TIME - HOUR, TIME - HOUR)) for path in images.rglob("*.png")],
    "access rights": lambda images: [path.chmod(0o600) for path in images.rglob("*.png")],
    "written once more": lambda images: [write(path, path.read_text(), TIME + 1) for path in images.rglob("*.png")],
    "copied and moved back": lambda images: moved(images),
    "the folder's own time": lambda images: os.utime(images),
    "a hidden file": lambda images: write(images / "NORMAL/.DS_Store", "x"),
    "a resource fork": lambda images: write(images / "NORMAL/._a.png", "x"),
    "a hidden folder": lambda images: write(images / "NORMAL/.ipynb_checkpoints/a.png", "x"),
    "what a Mac's zip leaves": lambda images: write(images / "__MACOSX/NORMAL/a.png", "x"),
    "what Windows leaves": lambda images: write(images / "NORMAL/Thumbs.db", "x"),
    "README.txt": lambda images: write(images / "README.txt", "x"),
    "a table of something else": lambda images: write(images / "notes.csv", "x"),
    "LICENSE": lambda images: write(images / "LICENSE", "x"),
    "an empty folder": lambda images: (images / "NORMAL/empty").mkdir(),
    "a folder linked twice": lambda images: (images / "NORMAL/more").symlink_to(images / "PNEUMONIA/deep"),
    "a link to itself": lambda images: (images / "NORMAL/back").symlink_to(images),
}


def moved(images):
    shutil.copytree(images, images.with_name("copy"), copy_function=shutil.copyfile)
    shutil.rmtree(images)
    images.with_name("copy").rename(images)


@pytest.mark.parametrize("change", NO_CHANGES.values(), ids=NO_CHANGES)
def test_the_same_images_keep_their_digest(place, change):
    before = digest(place)
    change(place / "images")
    assert digest(place) == before
    assert digest(place) == before


def test_nothing_is_read_without_a_change_and_only_the_changed_file_with_one(place, read):
    digest(place)
    digest(place)
    assert read == []
    os.utime(place / "images" / "NORMAL" / "b.png")
    digest(place)
    assert read == ["b.png"]
    digest(place)
    assert read == ["b.png"]


def test_an_image_that_is_put_back_brings_the_old_digest_back(place):
    before = digest(place)
    write(place / "images" / "NORMAL" / "a.png", "the pixels of x", TIME + HOUR)
    changed = digest(place)
    write(place / "images" / "NORMAL" / "a.png", "the pixels of a", TIME + 2 * HOUR)
    assert digest(place) == before
    (place / "images" / "NORMAL" / "a.png").unlink()
    assert digest(place) not in (before, changed)
    write(place / "images" / "NORMAL" / "a.png", "the pixels of a", TIME + 3 * HOUR)
    assert digest(place) == before
    write(place / "images" / "NORMAL" / "a.png", "the pixels of x", TIME + 4 * HOUR)
    assert digest(place) == changed


def test_after_a_run_with_the_new_content_that_content_keeps_its_digest(place):
    before = digest(place)
    path = place / "images" / "NORMAL" / "a.png"
    write(path, "the pixels of x", TIME + HOUR)
    after = digest(place)
    catalogue(place)
    os.utime(path)
    assert digest(place) == after
    (place / "catalogue.csv").unlink()
    os.utime(path, ns=(TIME, TIME))
    assert digest(place) == after  # its content is known from the comparison
    write(path, "the pixels of a")
    assert digest(place) == before


def test_an_image_that_changed_during_a_run_counts_as_the_catalogue_has_it(place):
    (place / "catalogue.csv").unlink()
    planned = digest(place)
    path = place / "images" / "NORMAL" / "a.png"
    write(path, "the pixels of x", TIME + HOUR)
    catalogue(place)  # before its catalogue was made: the results are of the new content
    assert digest(place) == planned
    write(path, "the pixels of y", TIME + 2 * HOUR)  # and after it
    assert digest(place) != planned


def test_each_catalogue_has_a_record_of_its_own(place):
    """The first experiment has read another content than the second, at the same digest of the folder's first look."""
    path = place / "images" / "NORMAL" / "a.png"
    first = digest(place)
    shutil.copy(place / "catalogue.csv", place / "second.csv")
    assert Content(place / "memory").digest(place / "images", place / "second.csv") == first
    write(path, "the pixels of x", TIME + HOUR)
    shutil.copy(place / "catalogue.csv", place / "kept.csv")
    catalogue(place)
    shutil.copy(place / "catalogue.csv", place / "second.csv")
    shutil.copy(place / "kept.csv", place / "catalogue.csv")
    assert Content(place / "memory").digest(place / "images", place / "second.csv") == first
    assert digest(place) != first


def times_are(monkeypatch, mtime, ctime):
    """A file system that gives these functions of the times of a file's content and of its inode."""
    seen = content._seen

    def given(state):
        file = seen(state)
        return file._replace(mtime=mtime(file.mtime), ctime=ctime(file.ctime))

    monkeypatch.setattr(content, "_seen", given)


@pytest.mark.parametrize(("mtime", "ctime"), [(1, 1), (1, 0), (0, 1)])
@pytest.mark.parametrize("trusted", [False, True])
def test_an_image_that_changed_just_after_the_look_is_noticed_with_coarse_times(
    place, monkeypatch, trusted, mtime, ctime
):
    """With the two seconds, even if one of the times is not kept; and not without them, as the docstring says."""
    moment = 1_800_000_000 * SECOND
    monkeypatch.setattr(content.time, "time_ns", lambda: moment + SECOND)
    monkeypatch.setattr(content, "RECENT_NS", 0 if trusted else 2 * SECOND)
    times_are(monkeypatch, lambda _: mtime * moment, lambda _: ctime * moment)
    before = digest(place)
    write(place / "images" / "NORMAL" / "a.png", "the pixels of x")
    monkeypatch.setattr(content.time, "time_ns", lambda: moment + 60 * SECOND)
    assert (digest(place) == before) is trusted


def test_recent_files_are_read_once_and_then_trusted(place, monkeypatch, read):
    monkeypatch.setattr(content, "RECENT_NS", 2 * SECOND)
    times_are(monkeypatch, *[lambda time: time // SECOND * SECOND] * 2)
    before = digest(place)
    assert read == []  # no earlier look to compare with
    assert digest(place) == before
    assert sorted(read) == ["a.png", "b.png", "c.png", "d.png", "e.png"]
    later = content.time.time_ns() + 10 * SECOND
    monkeypatch.setattr(content.time, "time_ns", lambda: later)
    assert digest(place) == before
    assert len(read) == 10
    assert digest(place) == before
    assert len(read) == 10


def test_a_time_in_the_future_does_not_make_a_file_recent(place, monkeypatch, read):
    monkeypatch.setattr(content, "RECENT_NS", 2 * SECOND)
    later = content.time.time_ns() + 10 * SECOND
    monkeypatch.setattr(content.time, "time_ns", lambda: later)
    os.utime(place / "images" / "NORMAL" / "a.png", ns=(later * 2, later * 2))
    before = digest(place)
    assert digest(place) == before
    assert read == []


@pytest.mark.parametrize("source", ["images", "images/manifest.csv", "images/[x] labels.CSV"])
def test_a_manifest_counts_by_its_content(place, source):
    """Labels that are corrected in place, with the same size; the folder may be named, or the manifest."""
    path = place / "images" / ("manifest.csv" if source == "images" else source.split("/")[1])
    write(path, MANIFEST)
    before = digest(place, source)
    os.utime(path)
    assert digest(place, source) == before
    write(path, MANIFEST.replace("a.png,NORMAL", "b.png,NORMAL"))
    assert digest(place, source) != before
    write(path, MANIFEST, TIME + HOUR)
    assert digest(place, source) == before
    write(place / "images" / "NORMAL" / "a.png", "the pixels of x", TIME + HOUR)
    assert digest(place, source) != before


def test_the_table_of_a_known_data_set_counts_by_its_content_and_another_table_does_not(place):
    write(place / "images" / "Data_Entry_2017.csv", "a 0")
    write(place / "images" / "BBox_List_2017.csv", "a 0")
    before = digest(place, "images", "Data_Entry*.csv")
    os.utime(place / "images" / "Data_Entry_2017.csv")
    write(place / "images" / "BBox_List_2017.csv", "a 1", TIME + HOUR)
    assert digest(place, "images", "Data_Entry*.csv") == before
    write(place / "images" / "Data_Entry_2017.csv", "a 1")
    assert digest(place, "images", "Data_Entry*.csv") != before


def test_a_file_that_no_step_has_read_counts_by_its_name(place, read):
    """An account lists every file, and has no SHA-256 of those that are left out by their label."""
    before = digest(place)
    text = (place / "catalogue.csv").read_text().replace("image,", "file,")
    rows = [",".join([*line.split(",")[:2], ""]) if "d.png" in line else line for line in text.splitlines()]
    (place / "catalogue.csv").write_text("\n".join(rows))
    write(place / "images" / "PNEUMONIA" / "d.png", "others of d", TIME + HOUR)
    os.utime(place / "images" / "PNEUMONIA" / "c.png")
    assert digest(place) == before
    assert read == ["c.png"]
    catalogue(place)  # now it is read
    assert digest(place) == before
    write(place / "images" / "PNEUMONIA" / "d.png", "pixels of d", TIME + 2 * HOUR)
    assert digest(place) != before


def archive(path, members, time=TIME):
    with zipfile.ZipFile(path, "w") as file:
        for name, text in members.items():
            file.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), text)
    os.utime(path, ns=(time, time))


def test_an_archive_counts_by_its_members(place, read):
    path, members = place / "images.zip", {"NORMAL/a.png": "pixels a", "PNEUMONIA/b.png": "pixels b"}
    archive(path, members)
    before = digest(place, "images.zip")
    os.utime(path)
    assert digest(place, "images.zip") == before
    archive(path, {**members, "__MACOSX/NORMAL/._a.png": "x"}, TIME - HOUR)
    assert digest(place, "images.zip") == before
    for other in (
        members | {"NORMAL/a.png": "pixels x"},
        members | {"NORMAL/c.png": "pixels c"},
        {"PNEUMONIA/a.png": "pixels a", "PNEUMONIA/b.png": "pixels b"},
        {"NORMAL/a.png": "pixels a"},
    ):
        archive(path, other, TIME - HOUR)  # older than the one before
        assert digest(place, "images.zip") != before
    archive(path, members)
    assert digest(place, "images.zip") == before
    assert read == []


def test_what_is_no_archive_has_a_digest_too(place):
    """The rule that reads it says what is wrong; the plan ends in no traceback."""
    path = place / "images.zip"
    missing = digest(place, "images.zip")
    path.write_bytes(b"PK cut short")
    short = digest(place, "images.zip")
    assert digest(place, "images.zip") == short
    archive(path, {"NORMAL/a.png": "pixels a"})
    assert len({missing, short, digest(place, "images.zip")}) == 3


def test_what_cannot_be_read_changes_the_digest_until_it_can(place, monkeypatch):
    before, scandir, sha256 = digest(place), os.scandir, content.files.sha256

    def refuse(path, *_):
        if "deep" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    def fail(path):
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    closed = digest(place)
    assert closed != before
    monkeypatch.setattr(os, "scandir", scandir)
    assert digest(place) == before
    os.utime(place / "images" / "NORMAL" / "a.png")
    monkeypatch.setattr(content.files, "sha256", fail)
    assert digest(place) not in (before, closed)
    monkeypatch.setattr(content.files, "sha256", sha256)
    assert digest(place) == before


def test_a_job_takes_the_digest_of_the_plan_and_writes_nothing(place):
    job = Content(place / "memory", look=False)
    assert job.digest(place / "images", place / "catalogue.csv") == ""
    assert not (place / "memory").exists()
    planned = digest(place)
    (record,) = (place / "memory").iterdir()
    before = record.read_bytes()
    write(place / "images" / "NORMAL" / "a.png", "the pixels of x", TIME + HOUR)
    job = Content(place / "memory", look=False)
    assert job.digest(place / "images", place / "catalogue.csv") == planned
    assert record.read_bytes() == before


def test_a_plan_has_one_digest(place):
    plan = Content(place / "memory")
    before = plan.digest(place / "images", place / "catalogue.csv")
    write(place / "images" / "NORMAL" / "a.png", "the pixels of x", TIME + HOUR)
    assert plan.digest(place / "images", place / "catalogue.csv") == before


@pytest.mark.parametrize("text", ["", "{", '{"digest": "x"}', '{"digest": "x", "listing": "y"}\n{', "[]\n[]"])
def test_a_record_that_is_damaged_or_cannot_be_written_is_no_fault(place, text):
    before = digest(place)
    (record,) = (place / "memory").iterdir()
    record.write_text(text)
    assert digest(place) == before
    shutil.rmtree(place / "memory")
    (place / "memory").write_text("no folder")
    assert digest(place) == before


def test_names_of_any_bytes_are_taken(place):
    before = digest(place)
    with open(os.fsencode(place / "images" / "NORMAL") + b"/\xff\n.png", "w") as file:
        file.write("x")
    after = digest(place)
    assert after != before
    assert digest(place) == after
