import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from fedxray.core.errors import UserError, disk_line
from fedxray.core.files import TEXT, atomic, preallocated, printable, read_table, write_table, write_text


def test_a_table_survives_its_file(tmp_path):
    table = pd.DataFrame({"name": ["a", "none", ""], "count": [1, 2, 3], "share": [0.1, np.nan, 1 / 3], "note": ""})
    table["rounds"] = pd.array([1, None, 3], "Int64")
    table["chosen"] = [True, False, True]
    write_table(tmp_path / "t.csv", table)
    found = read_table(tmp_path / "t.csv")
    assert list(found["name"]) == ["a", "none", ""]
    assert list(found["note"]) == ["", "", ""]
    assert np.array_equal(found["share"], table["share"], equal_nan=True)  # to the last bit
    assert found["rounds"].isna().tolist() == [False, True, False]
    assert found["rounds"].sum() == 4
    assert list(found[found["chosen"]]["count"]) == [1, 3]
    assert found[["name", "count"]].equals(table[["name", "count"]])


WORDS = [
    "007",
    "7",
    "7.0",
    "NA",
    "nan",
    "None",
    "null",
    "inf",
    "-inf",
    "1e5",
    "1.2E+15",
    "True",
    "",
    "a,b",
    'q"',
    " x",
    "ü",
]


@pytest.mark.parametrize("column", TEXT)
def test_a_column_of_text_stays_text_however_it_looks(tmp_path, column):
    for words in (WORDS, ["1", "2"], ["007", "008"], ["", ""], ["nan", ""], ["", "1"], ["True", "False"]):
        write_table(tmp_path / "t.csv", pd.DataFrame({column: words, "label": [1] * len(words)}))
        found = read_table(tmp_path / "t.csv", (column, "label"))
        assert list(found[column]) == words
        assert found["label"].sum() == len(words)


def test_a_column_of_numbers_that_are_all_missing_is_one_of_numbers(tmp_path):
    write_table(tmp_path / "t.csv", pd.DataFrame({"site": ["us", "asia"], "auroc": [np.nan, np.nan], "rounds": None}))
    found = read_table(tmp_path / "t.csv")
    assert [f"{value:.3f}" for name in ("auroc", "rounds") for value in found[name]] == ["nan"] * 4
    assert np.isnan(found["auroc"].mean())


def test_any_text_of_one_line_comes_back(tmp_path):
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("ab,;\t\"' |=\\/0.é漢😀"), rng.integers(0, 9))) for _ in range(500)]
    write_table(tmp_path / "t.csv", pd.DataFrame({"image": words, "patient": words[::-1]}))
    found = read_table(tmp_path / "t.csv")
    assert (list(found["image"]), list(found["patient"])) == (words, words[::-1])


def test_a_missing_column_is_named_with_those_there(tmp_path):
    write_table(tmp_path / "t.csv", pd.DataFrame({"a": [1]}))
    with pytest.raises(UserError, match=r"t\.csv: no column b; it has a"):
        read_table(tmp_path / "t.csv", ("a", "b"))


def fail_after_writing(path):
    path.write_text("half")
    raise RuntimeError


def test_nothing_half_written_is_left(tmp_path):
    (tmp_path / "x").write_text("before")
    with pytest.raises(RuntimeError), atomic(tmp_path / "x") as temporary:
        fail_after_writing(temporary)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text() == "before"


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "real").write_text("before")
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to("there/real")
    (tmp_path / "new").symlink_to("there/made")  # which is not there yet
    write_text(tmp_path / "one", "after")
    write_text(tmp_path / "new", "made")
    assert [os.readlink(tmp_path / name) for name in ("two", "new")] == ["there/real", "there/made"]
    assert (tmp_path / "one").is_symlink()
    assert [(tmp_path / "there" / name).read_text() for name in ("real", "made")] == ["after", "made"]
    with pytest.raises(RuntimeError), atomic(tmp_path / "one") as temporary:
        fail_after_writing(temporary)
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["made", "real"]
    assert (tmp_path / "one").read_text() == "after"


def test_a_link_that_leads_back_to_itself_is_told(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match=r"loop") as error:
        write_text(tmp_path / "loop", "x")
    assert disk_line(error.value).endswith("loop: a link that leads back to itself; remove it")
    assert (tmp_path / "loop").is_symlink()


def test_a_pipe_stays_and_its_reader_gets_all(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    text = "line\n" * 50_000  # more than a pipe holds
    with ThreadPoolExecutor() as pool:
        read = pool.submit((tmp_path / "pipe").read_text)
        write_text(tmp_path / "pipe", text)
        assert read.result(30) == text
    assert [(path.name, path.is_fifo()) for path in tmp_path.iterdir()] == [("pipe", True)]


@pytest.mark.parametrize("to_file", [True, False])
def test_a_link_to_standard_output_is_written_through(tmp_path, to_file):
    """Whether that is a file or a pipe: what was printed before comes first, and what is printed later comes last."""
    (tmp_path / "link").symlink_to("/proc/self/fd/1" if sys.platform == "linux" else "/dev/fd/1")
    code = "import sys; from fedxray.core.files import write_text; print('first')"
    code += "; write_text(sys.argv[1], 'table\\n'); print('last')"
    command = [sys.executable, "-c", code, tmp_path / "link"]
    if to_file:
        with (tmp_path / "out").open("w") as out:
            subprocess.run(command, stdout=out, check=True)
        said = (tmp_path / "out").read_text()
    else:
        said = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    assert said == "first\ntable\nlast\n"
    assert (tmp_path / "link").is_symlink()


def test_the_longest_name_that_a_file_system_takes_can_be_written(tmp_path):
    write_text(tmp_path / ("x" * 255), "x")
    assert [len(path.name) for path in tmp_path.iterdir()] == [255]


def test_all_space_of_an_array_is_taken_before_it_is_filled(tmp_path, monkeypatch):
    """By the blocks that the system counts; also where it cannot reserve them at once."""
    for name in ("at_once", "by_zeros"):
        preallocated(tmp_path / name, (300, 100, 100))
        made = np.load(tmp_path / name)
        assert (made.shape, made.dtype, made.any()) == ((300, 100, 100), np.uint8, False)
        assert (tmp_path / name).stat().st_blocks * 512 >= 3_000_000
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    assert (tmp_path / "at_once").read_bytes() == (tmp_path / "by_zeros").read_bytes()


def test_a_name_that_is_no_utf8_is_shown_by_its_bytes():
    assert printable(os.fsdecode(b"a/caf\xe9.png")) == "a/caf\\xe9.png"
    assert printable("a/café.png") == "a/café.png"


FULL = """
import sys, resource, signal
from pathlib import Path
import numpy as np, pandas as pd
from fedxray.core import cli
from fedxray.core.files import *
from fedxray.core.parameters import save_model
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
out, noise = Path(sys.argv.pop()), np.random.default_rng(1).random(10_000)
def main(options):
    if out.name == "text": write_text(out, "x" * 100_000)
    if out.name == "table": write_table(out, pd.DataFrame({"a": noise}))
    if out.name == "array": write_array(out, noise)
    if out.name == "model": save_model(out, {"a": noise})
    if out.name == "pixels":
        with atomic(out) as temporary: preallocated(temporary, (300, 100, 100))
cli.run(main, cli.parser(""))
"""


@pytest.mark.parametrize("name", ["text", "table", "array", "pixels"])
def test_a_file_that_outgrows_its_disk_is_one_line_and_leaves_nothing(tmp_path, name):
    """A limit on the size of files stands for the disk: it needs no file system of its own."""
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path / name], capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(rf"error: {tmp_path / name}: (no space left|larger than files may be) .*\n", done.stderr)
    assert list(tmp_path.iterdir()) == []


def may_mount():
    return not subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True
    ).returncode


@pytest.mark.skipif(not (shutil.which("unshare") and may_mount()), reason="mounting needs root")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("size=64k", "no space left on the disk; free some, and run it again"),
        ("ro", "on a file system that can only be read; give another place, or mount it for writing"),
    ],
)
@pytest.mark.parametrize("name", ["text", "table", "array", "model", "pixels"])
def test_a_disk_that_takes_no_more_is_one_line_and_leaves_nothing(tmp_path, name, options, said):
    path = tmp_path / name
    script = FULL.replace("resource.setrlimit", "pass #")
    command = f'mount -t tmpfs -o {options} tmpfs "{tmp_path}"; "{sys.executable}" -c "$0" "{path}"; code=$?'
    command += f'; ls -A "{tmp_path}"; exit $code'
    done = subprocess.run(["unshare", "-m", "sh", "-c", command, script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {path}: {said}\n"


def test_a_place_that_cannot_be_is_one_line(tmp_path):
    """No error of them is a bug: each is told by its path as the user gave it."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for path, said in (
        (tmp_path / "folder", "a folder, where a file is needed"),
        (tmp_path / "file" / "x", "there already, and no folder"),
        (tmp_path / "file" / "x" / "y", "a part of this path is a file"),
        (tmp_path / ("x" * 256), "a longer name than the file system takes"),
    ):
        with pytest.raises(OSError, match=r".") as error:
            write_text(path, "new")
        assert said in disk_line(error.value)
        assert disk_line(error.value).startswith(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
