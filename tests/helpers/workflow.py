"""Runs the workflow in a copy of the repository."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).parents[2]
PARTS = ["Snakefile", "rules", "scripts", "fedxray", "config", "profiles", "report"]
SMOKE = ["--configfile", "config/smoke.yaml"]
SWEEP = ["--configfile", "config/sweeps/smoke.yaml"]
# The jobs call `python`, which must be the one that runs the tests, whether its environment is active or not.
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def copy_repository(folder):
    """Copy the files of the workflow into `folder`, which is made if it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)
    return folder


def snakemake(folder, *arguments):
    """Run the workflow in `folder` to its end."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)


def planned(folder, *arguments):
    """How many jobs of each rule a dry run would run."""
    done = snakemake(folder, "--dry-run", *arguments)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    return {name: int(count) for name, count in re.findall(r"^([a-z_]+) +(\d+)$", text, re.MULTILINE)}


def ours(folder):
    """The command lines of the processes that work in `folder`."""
    commands = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = " ".join(process.info["cmdline"] or [])
        if str(folder) in words or str(folder) in (process.info["cwd"] or ""):
            commands.append(words)
    return commands


def start(folder, *arguments):
    """Start the workflow in `folder`, and do not wait for it; its output goes to log.txt there."""
    with (folder / "log.txt").open("w") as log:
        command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
        return subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=log, stderr=log)


def kill(run, folder):
    """Kill a workflow that `start` has started, as a power cut does, and wait until none of its processes is left."""
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    deadline = time.monotonic() + 60
    while ours(folder) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ours(folder) == []


def wait_for_federation(run, results):
    """Wait until a federation of the experiment has started to train."""
    deadline = time.monotonic() + 240
    while not list((results / "runs" / "federated").glob("*/*/workspace/us/out.txt")):
        assert time.monotonic() < deadline
        assert run.poll() is None
        time.sleep(0.2)
