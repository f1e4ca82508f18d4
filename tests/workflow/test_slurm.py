"""The workflow on a real Slurm of one node, through profiles/slurm: results, failures, cancelling, GPUs.

The commands are those of docs/tutorials/cluster.md, and so is the sweep, but for its sizes.
If Slurm is not installed, these tests are skipped, unless FEDXRAY_TEST_SLURM=install allows them to install it.
"""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml
from helpers import cluster
from helpers.tutorial import Reader, checkout
from helpers.workflow import ENVIRONMENT, copy_repository, ours, snakemake
from snakemake.utils import update_config

from fedxray.core.files import sha256

# Two hospitals, one seed, and images that train in a moment.
SIZES = {
    "experiment": "slurm",
    "dataset": {"phantom": {"patients": 60}},
    "image_size": 16,
    "sites": ["us", "asia"],
    "training": {"epochs": 2},
    "federation": {"round": 1.0},
    "evaluation": {"replicates": 20},
}
TABLES = ["results/slurm/summary.csv", "results/slurm/comparison.csv"]
BROKEN = "central/lr=0.01,epochs=2,seed=1"
# Every Python on the cluster runs this first: one script fails while the file `broken` exists. The scripts stay as they
# are, and so do their results.
FAILS = """
import os, sys
words = " ".join(sys.orig_argv)
if "train_central.py" in words and "--lr 0.01 " in words and os.path.exists({flag!r}):
    print("error: broken on purpose", flush=True)
    os._exit(1)
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The environment of a running cluster."""
    if " " in sys.executable:
        pytest.skip("the environment lies at a path with a space, which Snakemake's Slurm plugin does not quote")
    if missing := cluster.missing():
        if os.environ.get("FEDXRAY_TEST_SLURM") != "install":
            pytest.skip(f"Slurm is not installed ({missing[0]} is missing), and FEDXRAY_TEST_SLURM=install is not set")
        try:
            cluster.install()
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"Slurm cannot be installed: {error}")
    folder = tmp_path_factory.mktemp("cluster") / "slurm"
    try:
        yield cluster.start(folder)
    finally:
        cluster.stop(folder)


def submit(command, folder, environment, *arguments):
    """Start the tutorial's command, and do not wait for it; its output goes to log.txt."""
    command = [sys.executable, "-m", *shlex.split(command)]
    command += ["--slurm-init-seconds-before-status-checks", "2", "--cores", str(cluster.CPUS), *arguments]
    with (folder / "log.txt").open("w") as log:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)


def queue(environment, field):
    """{comment: [values of a field]} of the cluster's jobs, also of ended ones; a comment names rule and wildcards."""
    command = ["squeue", "--noheader", "--states=all", "--sort=i", f"--format=%k|{field}"]
    values = {}
    for line in subprocess.run(command, env=environment, capture_output=True, text=True).stdout.splitlines():
        name, value = line.rsplit("|", 1)
        values.setdefault(name, []).append(value)
    return values


def processes(words):
    """The processes whose command line has `words`."""
    everyone = psutil.process_iter(["cmdline"])
    return [process for process in everyone if words in " ".join(process.info["cmdline"] or [])]


def of_job(job):
    """Every process of a job of the cluster: it or a forebear has the number of the job in its environment."""
    members = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            members |= {process, *process.children(recursive=True)} if job_of(process) == job else set()
    return members


def job_of(process):
    """The number of the job in the environment. The environment of a fork that changed its title cannot be read."""
    return process.environ().get("SLURM_JOB_ID")


def lives(process):
    """Whether a process has not ended; a zombie has."""
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def training(folder):
    """The workspace of a federated run in which the sites' processes of the job have started, if there is one."""
    workspaces = folder.glob("results/slurm/runs/federated/*/*/workspace")
    return next((path for path in workspaces if len(processes(f"{path}/us")) >= 2 and processes(f"{path}/asia")), None)


def is_of(name, workspace):
    """Whether a job of this name is the one that trains in this workspace."""
    lr = re.search("lr=([0-9.]+)", workspace.parent.name)[1]
    return name.startswith("rule_train_federated") and f"_{lr}_" in name


def wait(condition, seconds):
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return value


@pytest.fixture(scope="module")
def swept(slurm, tmp_path_factory):
    """A sweep on the cluster, in which one point is broken and one job is cancelled; fixed then, it runs to its end.

    Returns what was seen in each part.
    """
    place = tmp_path_factory.mktemp("swept")
    folder = place / "fedxray"
    flag, first = folder / "broken", folder / "first" / "sitecustomize.py"
    path = f"{slurm['PATH']}:{ENVIRONMENT['PATH']}"
    environment = ENVIRONMENT | slurm | {"PATH": path, "PYTHONPATH": f"{folder}:{first.parent}"}

    replaced = {"git clone URL": f"cp -a {checkout(place / 'origin')}", "results/rates": "results/slurm"}
    reader = Reader("cluster.md", place, replaced, environment)
    reader.read("Install, on the login node", "Fill in the profile", "The sweep")
    sweep = yaml.safe_load((folder / "sweep.yaml").read_text())
    update_config(sweep, SIZES)
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    flag.touch()
    first.parent.mkdir()
    first.write_text(FAILS.format(flag=str(flag)))

    command = reader.take("Submit it")
    run = submit(command, folder, environment, "--set-resources", "train_federated:gpu=2", "--", *TABLES)
    try:
        workspace = wait(lambda: training(folder) or run.poll() is not None, 300)
        assert isinstance(workspace, Path), text_of(folder)
        logged = "".join(path.read_text() for path in folder.glob("results/slurm/logs/train/federated/*/*.log"))
        gpus = re.search(r"^GPUs: (.+)", logged, re.MULTILINE)[1]
        job = next(ids[-1] for name, ids in queue(environment, "%i").items() if is_of(name, workspace))
        started = of_job(job)
        watched = reader.read("Watch it")
        subprocess.run(["scancel", job], env=environment, check=True)
        left = wait(lambda: not any(map(lives, started)), 120)
        run.wait(400)
    finally:
        run.kill()
    seen = {"gpus": gpus, "started": len(started), "none_left": left, "code": run.returncode, "log": text_of(folder)}
    seen |= {"memory": queue(environment, "%m")}
    seen["states"] = next(states for name, states in queue(environment, "%T").items() if is_of(name, workspace))
    seen["finished"] = [str(file.parent) for file in folder.glob("results/slurm/runs/**/record.json")]

    flag.unlink()
    again = submit(command, folder, environment, "--", *TABLES)
    try:
        again.wait(400)
    finally:
        again.kill()
    seen |= {"again": again.returncode, "after": text_of(folder), "watched": watched, "reader": reader}
    return seen | {"command": command, "folder": folder, "environment": environment}


def text_of(folder):
    return (folder / "log.txt").read_text()


def finished_steps(text):
    """The rules whose jobs have finished, by what Snakemake said."""
    return set(re.findall(r"^ *\d+/\d+  (\w+)", text, re.MULTILINE))


def test_a_point_that_fails_is_tried_with_more_memory_and_does_not_stop_the_others(swept):
    assert swept["code"] == 1
    memory = next(sizes for name, sizes in swept["memory"].items() if re.match(r"rule_train_central.*0\.01", name))
    assert memory == ["4000M", "8000M"]
    assert len(swept["finished"]) == 2 * (1 + 1 + 2) - 1
    assert not any(path.endswith(BROKEN) for path in swept["finished"])


def test_what_needs_internet_runs_where_snakemake_does(swept):
    assert finished_steps(swept["log"]) >= {"provision_federation"}  # fetch_kaggle is marked as it is: test_profiles.py
    assert not [name for name in swept["memory"] if "provision_federation" in name]


def test_what_failed_is_listed_at_the_end_with_its_log(swept):
    listed = swept["log"].split("Failed, with the end of each log:")[1]
    assert f"train_central: results/slurm/logs/train/{BROKEN}.log\n      error: broken on purpose\n" in listed
    printed = Path(re.search(r"the cluster's job printed: (.+)", listed)[1])
    assert "Error in rule train_central" in printed.read_text()
    assert swept["folder"] / "logs" / "slurm" in printed.parents
    assert "train_federated" not in listed  # the cancelled job was tried again, and passed


def test_the_engineer_sees_the_jobs_and_the_results(swept):
    """The commands of the tutorial that are left when the sweep is done."""
    assert re.search(r"RUNNING .*rule_train_federated", swept["watched"])
    assert len(swept["reader"].read().splitlines()) == 3
    assert not swept["reader"].blocks


def test_a_cancelled_job_leaves_no_process(swept):
    assert swept["started"] >= 8  # the script and its guard; server and two sites, each of two processes
    assert swept["none_left"]
    assert swept["states"] == ["CANCELLED", "COMPLETED"]


def test_gpus_of_a_job_are_shared_out_between_its_sites(swept):
    assert [words.split()[0] for words in swept["gpus"].split(", ")] == [*SIZES["sites"], "localhost"]
    assert len({words.split()[1] for words in swept["gpus"].split(", ")}) == 2


def test_fixed_it_goes_on_where_it_stopped_and_ends_as_it_does_on_one_machine(swept, tmp_path):
    assert swept["again"] == 0, swept["after"][-3000:]
    assert "train_central" in finished_steps(swept["after"])
    assert "train_federated" not in finished_steps(swept["after"])
    folder = copy_repository(tmp_path)
    shutil.copy(swept["folder"] / "sweep.yaml", folder)
    done = snakemake(folder, "--configfile", "sweep.yaml", "--", *TABLES)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    here, there = (place / "results" / "slurm" for place in (folder, swept["folder"]))
    models = sorted(here.glob("runs/**/model.safetensors"))
    assert len(models) == 2 * (1 + 1 + 2)
    for path in [*models, here / "predictions.csv", here / "summary.csv"]:
        assert sha256(path) == sha256(there / path.relative_to(here)), path.relative_to(here)
    table = pd.read_csv(here / "comparison.csv").drop(columns="seconds")
    pd.testing.assert_frame_equal(table, pd.read_csv(there / "comparison.csv").drop(columns="seconds"))


def test_ctrl_c_cancels_the_jobs_and_leaves_no_process(swept):
    folder, environment = swept["folder"], swept["environment"]
    model = "results/slurm/runs/federated/fedavg+averaged/lr=0.001,epochs=2,round=1.0,seed=1/model.safetensors"
    run = submit(swept["command"], folder, environment, "--forcerun", "train_federated", "--", model)
    try:
        assert wait(lambda: training(folder), 100), text_of(folder)
        run.send_signal(signal.SIGINT)
        assert run.wait(60) == 1
    finally:
        run.kill()
    assert wait(lambda: not ours(folder), 60), ours(folder)
    states = next(
        states for name, states in queue(environment, "%T").items() if re.match("rule_train_federated.*_0.001_2", name)
    )
    assert "CANCELLED" in states[-1]
