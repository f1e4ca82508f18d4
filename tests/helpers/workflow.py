"""The workflow, run in a copy of the repository."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).parents[2]
PARTS = ["Snakefile", "rules", "scripts", "fedxray", "config", "profiles", "report", "environment.yml"]
PARTS += ["requirements.txt"]
SMOKE = ["--configfile", "config/smoke.yaml"]
SWEEP = ["--configfile", "config/sweeps/smoke.yaml"]
# The jobs call `python`, which must be the one that runs the tests, whether its environment is active or not.
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def copy_repository(folder):
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)
    return folder


def snakemake(folder, *arguments):
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)


def planned(folder, *arguments):
    """How many jobs of each rule a dry run would run."""
    done = snakemake(folder, "--dry-run", *arguments)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    return {name: int(count) for name, count in re.findall(r"^([a-z_]+) +(\d+)$", text, re.MULTILINE)}


def ours(folder):
    """The processes that work in `folder`."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = " ".join(process.info["cmdline"] or [])
        if str(folder) in words or str(folder) in (process.info["cwd"] or ""):
            found.append(words)
    return found
