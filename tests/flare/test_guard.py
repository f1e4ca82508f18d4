"""The guard: what it starts, forks for those, tells of their ends, and leaves behind: nothing."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from nvflare.apis.fl_constant import ConfigVarName
from nvflare.fuel.f3.sfm import conn_manager
from nvflare.fuel.utils.config_service import ConfigService

from fedxray.core.errors import UserError
from fedxray.core.workers import FORKS
from fedxray.flare.guard import KEPT_MEMORY, LOOK_S, LOOKING, guarded, look_often, process

PARENT = """
import json, os, sys, time
from fedxray.flare.launcher import Fork, Forking
def start(*words):
    return Fork(Forking.guard, ["python", "-m", "child", *words], {"TOKEN": "secret"})
print("parent", os.environ["CUDA_VISIBLE_DEVICES"], os.environ["OMP_NUM_THREADS"], sys.argv[1:], flush=True)
short, broken, long = start("short"), start("broken"), start("long")
short.wait(), broken.wait()
while "child ['long']" not in open(Forking.guard.log).read():
    time.sleep(0.05)
print(json.dumps({"codes": [short.poll(), broken.poll(), long.poll()], "pid": long.pid}), flush=True)
if "end" in sys.argv:
    long.terminate(), long.wait()
    print("ended", long.poll(), flush=True)
    sys.exit(5)
time.sleep(600)
"""
CHILD = """
import os, sys, time
shared = "torch" in sys.modules
print("child", sys.argv[1:], os.environ["TOKEN"], os.environ["CUDA_VISIBLE_DEVICES"], shared, flush=True)
if sys.argv[1] == "long":
    time.sleep(600)
sys.exit(3 if sys.argv[1] == "broken" else 0)
"""
OWN = """
import os, sys, time
from nvflare.utils.process_utils import spawn_process
from fedxray.flare.launcher import Forking
job = spawn_process([sys.executable, "-c", "import time; time.sleep(600)"], dict(os.environ))
print("own", Forking.guard, "torch" in sys.modules, job.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def spec(tmp_path, monkeypatch):
    """Makes what `guarded` takes for a process that asks for three more."""
    for name, text in {"parent": PARENT, "child": CHILD, "own": OWN}.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")

    def make(*words, module="parent"):
        argv = [sys.executable, "-u", "-m", module, *words]
        return {"name": "us", "argv": argv, "env": {"CUDA_VISIBLE_DEVICES": "7"}, "log": str(tmp_path / "out.txt")}

    return make


def lines(path, count):
    """The lines of the log, as soon as there are `count`."""
    deadline = time.monotonic() + 60
    while not path.exists() or path.read_text().count("\n") < count:
        assert time.monotonic() < deadline, path.exists() and path.read_text()
        time.sleep(0.05)
    return path.read_text().splitlines()


def line_of(process):
    """The command line of a process, empty if it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def guards():
    """The guard of this test and all under it: {process: command line}. A worker of pytest has other children too."""
    (guard,) = [child for child in psutil.Process().children() if "fedxray.flare.guard" in line_of(child)]
    return {guard: "guard"} | {child: line_of(child) for child in guard.children(recursive=True)}


def poll(ended):
    while not (codes := ended()):
        time.sleep(0.05)
    return codes


@pytest.mark.skipif(not FORKS, reason="without forks NVFlare's own launcher starts the processes of jobs")
@pytest.mark.slow
def test_a_process_gets_others_hears_how_they_end_and_ends_them(spec, tmp_path):
    with guarded([spec("end")], {"OMP_NUM_THREADS": "1"}) as ended:
        said = lines(tmp_path / "out.txt", 6)
        codes = poll(ended)
    assert codes == [("us", 5)]
    assert said[0] == "parent 7 1 ['end']"
    assert sorted(said[1:4]) == [f"child ['{word}'] secret 7 True" for word in ("broken", "long", "short")]
    assert json.loads(said[4])["codes"] == [0, 3, None]
    assert said[5] == "ended -9"
    assert not psutil.pid_exists(json.loads(said[4])["pid"])


@pytest.mark.skipif(not FORKS, reason="without forks NVFlare's own launcher starts the processes of jobs")
@pytest.mark.slow
def test_at_the_end_of_the_guard_nothing_is_left_of_what_it_started_or_was_asked_for(spec, tmp_path):
    with guarded([spec("stay")], {"OMP_NUM_THREADS": "1"}):
        lines(tmp_path / "out.txt", 5)
        titles = guards()
    assert len(titles) == 3  # the guard, the parent, the child that stays
    assert any("-m parent stay" in title for title in titles.values())
    assert any("-m child long" in title for title in titles.values())
    assert not [child for child in titles if child.is_running()]


@pytest.mark.slow
def test_without_forks_a_process_starts_anew_and_leaves_jobs_to_nvflare_and_still_nothing_is_left(
    spec, tmp_path, monkeypatch
):
    monkeypatch.setenv("FEDXRAY_FORKS", "0")
    with guarded([spec(module="own")]) as ended:
        (line,) = lines(tmp_path / "out.txt", 1)
        pid = int(line.split()[-1])
        assert line == f"own None False {pid}"
        assert psutil.pid_exists(pid)
        assert not ended()
    assert not psutil.pid_exists(pid)


@pytest.mark.slow
@pytest.mark.skipif(not FORKS, reason="only Linux ends a process with its parent")
def test_a_guard_that_is_killed_is_missed_and_its_processes_die_with_it(spec, tmp_path):
    with guarded([spec("stay")], {"OMP_NUM_THREADS": "1"}) as ended:
        lines(tmp_path / "out.txt", 5)
        guard, *started = guards()
        guard.kill()
        with pytest.raises(UserError, match="guard of the federation's processes has ended"):
            poll(ended)
    _, left = psutil.wait_procs(started, timeout=10)
    assert not left


def test_a_server_waits_a_minute_and_not_longer_for_what_a_site_says_at_a_jobs_end(monkeypatch):
    env = process(Path("kit"), "server", "localhost", "fedxray", Path("out.txt"), {"OWN": "1"})["env"]
    assert env.pop("OWN") == "1"
    assert "NVFLARE_CLIENT_OUTCOME_WAIT_TIMEOUT" in env
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ConfigService, "_var_values", {})
    assert ConfigService.get_float_var(ConfigVarName.CLIENT_OUTCOME_WAIT_TIMEOUT, default=900.0) == 60
    assert process(Path("kit"), "client", "us", "us", Path("out.txt"), {})["env"] == {}


def test_nvflare_looks_often_for_what_it_waits_for(monkeypatch):
    modules = [importlib.import_module(name) for name in LOOKING]
    for module in modules:  # and not in the tests after this one
        monkeypatch.setattr(module, "time", module.time)
    monkeypatch.setattr(conn_manager, "INIT_WAIT", conn_manager.INIT_WAIT)
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    look_often()
    for module in modules:
        module.time.sleep(1.0)
        module.time.sleep(0.01)
        assert abs(module.time.time() - time.time()) < 5
    assert slept == [LOOK_S, 0.01] * len(modules)
    assert conn_manager.INIT_WAIT == LOOK_S


@pytest.mark.skipif(sys.platform != "linux", reason="variables of glibc")
def test_an_array_that_is_made_anew_takes_the_pages_of_the_one_before():
    """Pages that the system takes back, and clears anew, are some thousand faults here, or with small pages 128,000."""
    code = """
import resource
import numpy as np
for turn in range(6):
    np.ones(100_000_000, np.uint8)
    if not turn:
        first = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - first)
"""
    faults = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | KEPT_MEMORY, stdout=subprocess.PIPE, check=True
    )
    assert int(faults.stdout) < 1000
