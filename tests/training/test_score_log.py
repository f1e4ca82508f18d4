"""The log of scores: who can read it, what is in it, and that neither two at once nor a power cut tears it."""

import os
import subprocess
import sys
from datetime import date, timedelta

import pytest

from fedxray.core.errors import UserError
from fedxray.training.score_log import HEADER, append, hashed, key_of, read_log

DAY = date(2026, 3, 1)


def test_rows_come_back_as_they_were_and_their_owner_alone_can_read_them(tmp_path):
    log, old = tmp_path / "log.csv", os.umask(0)
    try:
        append(log, DAY, ["a", "b"], [0.1 + 0.2, 1.0], "2", "c" * 64)
    finally:
        os.umask(old)
    append(log, date(2026, 3, 2), ["c"], [0.0], "", "d" * 64)
    assert log.stat().st_mode & 0o777 == 0o600
    assert read_log(log).to_numpy().tolist() == [
        [DAY, "a", 0.1 + 0.2, "2", "c" * 64],
        [DAY, "b", 1.0, "2", "c" * 64],
        [date(2026, 3, 2), "c", 0.0, "", "d" * 64],
    ]


def test_an_image_has_one_name_in_a_log_and_another_in_the_next(tmp_path):
    log = tmp_path / "log.csv"
    one, two, again = hashed(log, [b"image", b"other", b"image"])
    assert one == again != two
    assert hashed(log, [b"image"]) == [one]
    assert hashed(tmp_path / "next.csv", [b"image"]) != [one]
    assert key_of(log).stat().st_mode & 0o777 == 0o600
    assert set(one) <= set("0123456789abcdef")


def test_a_torn_row_is_removed_by_the_next_one(tmp_path):
    log = tmp_path / "log.csv"
    append(log, DAY, ["a"], [0.5], "", "c" * 64)
    with log.open("a") as file:
        file.write("2026-03-01,b,0.2" + "5" * 5000)
    assert list(read_log(log)["image"]) == ["a"]
    append(log, DAY, ["c"], [0.25], "", "c" * 64)
    assert list(read_log(log)["image"]) == ["a", "c"]
    assert log.read_text().count("\n") == 3


@pytest.mark.parametrize("length", [0, 1, len(HEADER) - 1])
def test_a_header_that_a_power_cut_left_torn_is_written_again(tmp_path, length):
    log = tmp_path / "log.csv"
    log.write_text(HEADER[:length])
    assert read_log(log).empty
    append(log, DAY, ["a"], [0.5], "", "c" * 64)
    assert log.read_text() == f"{HEADER}{DAY},a,0.5,,{'c' * 64}\n"


def test_a_row_of_a_day_to_come_is_named(tmp_path):
    log, later = tmp_path / "log.csv", date.today() + timedelta(days=2)
    append(log, DAY, ["a"], [0.5], "", "c" * 64)
    append(log, later, ["b"], [0.5], "", "c" * 64)
    with pytest.raises(UserError, match=rf"log\.csv: line 3: the day {later} is to come; correct or remove it$"):
        read_log(log)


WRITE = """
import sys
from datetime import date
from pathlib import Path
from fedxray.training.score_log import append
for _ in range(50):
    append(Path(sys.argv[1]), date(2026, 3, 1), [sys.argv[2]] * 20, [0.5] * 20, "", "c" * 64)
"""


def test_several_may_append_at_once(tmp_path):
    command = [sys.executable, "-c", WRITE, tmp_path / "log.csv"]  # no forks of this process, which may have threads
    writers = [subprocess.Popen([*command, name]) for name in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    images = list(read_log(tmp_path / "log.csv")["image"])
    assert sorted(images) == sorted("abc" * 1000)
    assert all(len(set(images[n : n + 20])) == 1 for n in range(0, 3000, 20))  # those of a call stay together


def test_another_file_is_not_appended_to_and_a_wrong_row_is_named(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("day,score\n")
    with pytest.raises(UserError, match=r"log\.csv: no log of fedxray-predict; give another file to --log"):
        append(log, DAY, ["a"], [0.5], "", "c")
    assert log.read_text() == "day,score\n"
    with pytest.raises(UserError, match=r"no log of fedxray-predict; give the file"):
        read_log(log)
    with pytest.raises(UserError, match=r"none\.csv: cannot be read"):
        read_log(tmp_path / "none.csv")
    for row in ("2026-13-01,a,0.5,,c", "2026-03-01,a,high,,c", "2026-03-01,a,1.5,,c", "2026-03-01,a,nan,,c", "x"):
        log.write_text(HEADER + "2026-03-01,a,0.5,,c\n" + row + "\n")
        with pytest.raises(UserError, match=r"log\.csv: line 3: .*; correct or remove it"):
            read_log(log)
