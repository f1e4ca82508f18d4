"""The screen of a run with a terminal: what it shows, and what is left on it."""

import os
import pty
import re
import subprocess
import sys

import pytest
from helpers.workflow import ENVIRONMENT, SMOKE, copy_repository

PROJECT = "results/smoke/federation/project.yml"


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return copy_repository(tmp_path_factory.mktemp("repository"))


def on_a_terminal(folder, *arguments):
    """The exit code of a run on a terminal, and all that reached it."""
    screen, end = pty.openpty()
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *SMOKE, *arguments]
    run = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT | {"TERM": "xterm"}, stdout=end, stderr=end)
    os.close(end)
    seen = b""
    try:
        while part := os.read(screen, 65536):
            seen += part
    except OSError:  # the other end is closed
        pass
    os.close(screen)
    return run.wait(60), seen.decode().replace("\r\n", "\n")


def words_of(seen):
    """The lines that reached a terminal, without what moves its cursor and colours it."""
    return [line for line in re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", seen).splitlines() if line.strip()]


def test_it_shows_what_runs_and_leaves_a_line_for_each_step(copy):
    code, seen = on_a_terminal(copy, "--", PROJECT)
    assert code == 0, seen
    assert re.search(r"0 of 1 step\b", seen)
    assert re.search(r"1/1  render_project  \d+\.\d s\n", seen)
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h") == 1  # the cursor is hidden, and back
    assert "Select jobs" not in seen


def test_an_error_is_the_last_thing_on_it(copy):
    (copy / "config" / "project.yml").rename(copy / "config" / "kept.yml")
    (copy / "config" / "project.yml").write_text("participants: [")
    code, seen = on_a_terminal(copy, "--forceall", "--", PROJECT)
    (copy / "config" / "kept.yml").rename(copy / "config" / "project.yml")
    assert code == 1
    log = "results/smoke/logs/render_project.log"
    *_, said = (copy / log).read_text().splitlines()
    assert words_of(seen)[-1] == f"      {said}"
    assert f"  render_project: {log}" in words_of(seen)
    assert "CalledProcessError" not in seen


def test_who_asks_for_another_output_gets_it(copy):
    code, seen = on_a_terminal(copy, "--printshellcmds", "--forceall", "--", PROJECT)
    assert code == 0, seen
    assert "localrule render_project:" in seen
    assert "1 of 1 steps (100%) done" in seen
    assert "\x1b[?25l" not in seen
