"""The account: five lines and a page with every count, and nothing of a name taken for HTML."""

import re
from html.parser import HTMLParser

import pytest
from helpers.data import catalogued, write_images

from fedxray import __version__
from fedxray.data import account


@pytest.fixture
def made(tmp_path):
    """A source of 30 images, of which two are the same, and 27 files that are left out for four reasons."""
    names = [f"{name}/p{number:02}.png" for name in ("NORMAL", "PNEUMONIA") for number in range(14)]
    path = write_images(tmp_path / "x", [*names, *(f"masks/<b>{number:02}.png" for number in range(22))])
    for name in ("NORMAL/copy.png", "NORMAL/again.png"):
        (path / name).write_bytes((path / "NORMAL/p03.png").read_bytes())
    for name in ("README.txt", "PNEUMONIA/.DS_Store", "NORMAL/scan.mp4", "NORMAL/Thumbs.db"):
        (path / name).touch()
    (path / "NORMAL" / "cut.png").write_bytes(b"\x89PNG")
    return catalogued(path, patient="image", unlabelled="drop", bad_images="drop")


def test_five_lines_have_every_count(made):
    _, _, summary = made
    assert account.lines(summary) == [
        "files: 57 seen, 30 images taken, 27 left out",
        "left out: 1 document, 2 hidden, 22 no label, 1 not an image, 1 unreadable",
        "labels: 16 NORMAL, 14 PNEUMONIA, from folder (30 images)",
        "patients: 28, from nothing known: each image counts as one (30 images)",
        "duplicates: 3 images that are there more than once (2 patients fewer by them); hospitals: 30 not stated; "
        "splits: 30 not stated",
    ]


def test_a_source_without_anything_to_tell(tmp_path):
    path = write_images(tmp_path / "x", ["NORMAL/IM-0001-0001.png", "PNEUMONIA/person1_virus_1.png"])
    lines = account.lines(catalogued(path)[2])
    assert lines[1] == "left out: none"
    assert lines[4].startswith("duplicates: no image twice; ")


class Reader(HTMLParser):
    """What a browser makes of a page: its tags, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data + " "


def test_the_page_has_the_counts_and_the_files_that_are_left_out(made):
    _, files, summary = made
    page = account.page("Account of <x> & y", files, summary, "patients <unknown>")
    seen = Reader(page)
    assert "Account of <x> & y" in seen.text
    assert "patients <unknown>" in seen.text
    for line in account.lines(summary):
        assert line in seen.text
    assert "Left out: no label (22)" in seen.text
    assert "and 2 more: account.csv has all" in seen.text  # 20 of each reason are shown
    assert "masks/<b>00.png" in seen.text
    assert "masks/<b>21.png" not in seen.text
    assert "b" not in {tag for tag, _ in seen.tags}
    for name in ("NORMAL/copy.png", "NORMAL/again.png", "NORMAL/p03.png", "NORMAL/cut.png", "NORMAL/scan.mp4"):
        assert name in seen.text
    assert re.search(r"NORMAL/copy\.png\s+NORMAL/again\.png", re.sub(r"\s+", " ", seen.text))  # the patient they share
    assert f"fedxray {__version__}" in seen.text
    assert not [tag for tag, attributes in seen.tags if {"src", "href"} & set(attributes) or tag in ("script", "link")]
    assert "://" not in page


def test_the_page_says_the_greys_and_the_columns_that_are_not_used(made):
    _, files, summary = made
    assert "Greys: of 8 bits, or as each DICOM says." in account.page("x", files, summary)
    page = account.page("x", files, summary | {"greys": [0.0, 4095.0], "columns_not_used": ["Age", "<Sex>"]})
    assert "Greys: 0 to 4095 become 0 to 255, of all images of more than 8 bits." in page
    assert "Columns of the table that are not used: Age, &lt;Sex&gt;." in page
