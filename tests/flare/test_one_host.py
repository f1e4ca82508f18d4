"""Real federations: provisioned kits, separate processes, mutual TLS over loopback."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time

import psutil
import pytest
from helpers.data import make_settings, make_sites
from helpers.federation import make_method, plain_loop, rounds_of, same
from helpers.log import heard
from helpers.remote import NONE

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, read_table, sha256, write_json
from fedxray.core.parameters import load_model, save_model
from fedxray.federation.engine import Model
from fedxray.federation.inprocess import InProcess
from fedxray.federation.policy import Policy
from fedxray.flare.kits import provision, render_project
from fedxray.flare.one_host import OneHost
from fedxray.runs import train_run
from fedxray.training.models import build, get_parameters

pytestmark = pytest.mark.slow
FILES = ("metrics.csv", "model.safetensors", "record.json")


def kits_for(folder, sites):
    render_project("config/project.yml", sites, folder / "project.yml")
    provision(folder / "project.yml", folder)
    return folder


@pytest.fixture(scope="module")
def kits(tmp_path_factory):
    return kits_for(tmp_path_factory.mktemp("kits"), ["us", "europe", "asia"])


def shared_of(folders):
    return next(iter(folders.values())).parent / "shared"


def engine_of(kits, folders):
    policy = Policy(round_timeout_s=600, absent="fail", min_sites=0)
    return OneHost(kits=kits, folders=folders, shared=shared_of(folders), start_timeout_s=60, policy=policy)


def script(kits, folders, settings, live, output, passes=1.0, method=None):
    """The command line of a federated run, of rounds of so many passes over a site's data."""
    words = [sys.executable, "scripts/train_federated.py", "--kits", kits / "kits.json", "--sites"]
    words += [*(folder / "card.json" for folder in folders.values()), "--shared", shared_of(folders) / "card.json"]
    words += ["--start-timeout-s", 60, "--round-timeout-s", 600, "--absent", "fail", "--min-sites", 0]
    words += ["--round", passes, "--steps", 0, "--budget", "passes", "--live", live]
    words += ["--output", output / "model.safetensors", *settings.options(), *NONE.options()]
    words += (method or make_method()).options()
    return [str(word) for word in words]


def ours(folder):
    """The NVFlare processes that a federation with its workspace below `folder` has started."""
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if "nvflare.private" in line and str(folder) in line]


def may_mount():
    """Whether this user may mount file systems in a namespace of its own."""
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return shutil.which("unshare") and not subprocess.run(command, capture_output=True).returncode


# A hospital's or cluster's machine, on which gRPC would ask a proxy for this machine itself; at this port is none.
PROXIES = {f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https", "grpc", "all")} | {"no_proxy": ""}


def nameless(words, folder):
    """A command where `localhost` is no name, if this user may change that."""
    (folder / "hosts").write_text("")
    command = 'mount --bind "$0" /etc/hosts && exec "$@"'
    return ["unshare", "-m", "sh", "-c", command, folder / "hosts", *words] if may_mount() else words


def test_two_federations_at_once_equal_the_plain_loop_bit_for_bit(kits, site_folders, tmp_path):
    settings, method, schedule = make_settings(image_size=16, epochs=4), make_method(finetune=1), rounds_of(3, 1.0, 1)
    (tmp_path / "live0").mkdir()
    (tmp_path / "live0" / "torn").write_bytes(b"of a run before")
    places = [(tmp_path / f"live{number}", tmp_path / f"run{number}") for number in range(2)]
    words = [script(kits, site_folders, settings, *place, method=method) for place in places]
    runs = [subprocess.Popen(words[0]), subprocess.Popen(nameless(words[1], tmp_path), env=os.environ | PROXIES)]
    assert [run.wait(240) for run in runs] == [0, 0]
    expected, own = plain_loop(site_folders, shared_of(site_folders), settings, method, schedule)
    for number in range(2):
        run = tmp_path / f"run{number}"
        assert same(load_model(run / "model.safetensors"), expected)
        assert same({path.name: load_model(path / "model.safetensors") for path in (run / "personal").iterdir()}, own)
        files = {path.relative_to(run).as_posix() for path in run.rglob("*.*")}
        assert files == {f"{place}{name}" for place in ("", *(f"personal/{site}/" for site in own)) for name in FILES}
        record, table = read_json(run / "record.json"), read_table(run / "metrics.csv")
        assert all(record["checks"].values())
        assert record["checks"]["streamed_epochs"] == dict.fromkeys(site_folders, 3)
        assert record["bytes_sent"] == 3 * 2 * 3 * 76_977 * 4
        assert list(table[table["series"] == "global"]["epoch"]) == [1, 2, 3]
        live = tmp_path / f"live{number}"
        assert {path.parent for path in live.rglob("*tfevents*")} == {live, *(live / site for site in site_folders)}
    assert not (tmp_path / "live0" / "torn").exists()
    assert not ours(tmp_path)
    engine = InProcess(site_folders, shared_of(site_folders))
    train_run(engine, "federated", settings, method, schedule, tmp_path / "inprocess")
    for place in (tmp_path / "inprocess", *(tmp_path / "inprocess" / "personal").iterdir()):
        beside = tmp_path / "run0" / place.relative_to(tmp_path / "inprocess")
        assert sha256(place / "model.safetensors") == sha256(beside / "model.safetensors")
        tables = [read_table(run / "metrics.csv").drop(columns="seconds") for run in (place, beside)]
        assert tables[0].equals(tables[1])


def test_a_site_that_fails_is_named_with_its_error_and_nothing_is_left(kits, tmp_path):
    folders = make_sites(tmp_path)
    (folders["europe"] / "images.csv").write_text("broken\n")
    engine, settings = engine_of(kits, folders), make_settings(image_size=16)
    with heard() as said, pytest.raises(UserError, match=r"europe.*changed since its data card") as error:
        train_run(engine, "federated", settings, make_method(), rounds_of(1), tmp_path / "run")
    assert str(folders["europe"].parent) not in str(error.value)
    assert not (tmp_path / "run" / "workspace").exists()
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert {f"===== {name} =====" for name in (*folders, "localhost")} < set("\n".join(said).splitlines())
    assert "PRIVATE KEY" not in "".join(said)
    assert not ours(tmp_path)


def test_a_site_of_another_protocol_is_not_sent_what_it_could_not_read(kits, site_folders, tmp_path):
    """And the job ends at once, in training and in an evaluation."""
    shutil.copytree(kits, tmp_path / "kits")
    path = tmp_path / "kits" / "kits" / "europe" / "local" / "resources.json"
    write_json(path, read_json(path) | {"versions": {"fedxray": "0.0.1", "protocol": "0"}})
    engine, settings = engine_of(tmp_path / "kits", site_folders), make_settings(image_size=16)
    said = (
        r"europe: it has fedxray 0\.0\.1 of protocol 0, and the server has fedxray .* of protocol \d+; update the older"
    )
    with pytest.raises(UserError, match=said):
        train_run(engine, "federated", settings, make_method(), rounds_of(1), tmp_path / "run")
    save_model(tmp_path / "model.safetensors", get_parameters(build(settings)))
    with pytest.raises(UserError, match=said):
        engine.evaluate({"a": Model(tmp_path / "model.safetensors", settings)}, tmp_path / "scratch")


FILL = """
mount -t tmpfs -o size=32m tmpfs "$SMALL"
"$@" > "$LOG" 2>&1 &
until grep -q "^round 2/" "$LOG"; do sleep 0.2; kill -0 $! || exit 99; done
cat /dev/zero > "$SMALL/fill"
wait $!
"""


@pytest.mark.skipif(not may_mount(), reason="mounting needs root")
@pytest.mark.parametrize("what", ["TMPDIR", "results"])
def test_a_disk_that_gets_full_ends_the_run_in_one_line(kits, site_folders, tmp_path, what):
    small, log = tmp_path / "small", tmp_path / "log"
    small.mkdir()
    settings, run = make_settings(image_size=16, epochs=500), (small if what == "results" else tmp_path) / "run"
    words = script(kits, site_folders, settings, tmp_path / "live", run)
    environment = (
        os.environ | {"SMALL": str(small), "LOG": str(log)} | ({"TMPDIR": str(small)} if what == "TMPDIR" else {})
    )
    command = ["unshare", "-m", "sh", "-c", FILL, "sh", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    named = f"{small} (TMPDIR)" if what == "TMPDIR" else str(run / "workspace")
    said = log.read_text().splitlines()
    assert said[-1] == f"error: {named}: no space left on the disk; free some, and run it again"
    assert not list(run.rglob("*"))
    assert not ours(tmp_path)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_the_run(kits, site_folders, tmp_path, how):
    settings, place = make_settings(image_size=16, epochs=500), (tmp_path / "live", tmp_path / "run")
    words = script(kits, site_folders, settings, *place)
    run = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    for line in run.stdout:
        if line.startswith("round 1/"):
            break
    assert len(ours(tmp_path)) >= 8  # a parent and a job process for the server and each site
    run.send_signal(how)
    assert run.wait(60) != 0
    deadline = time.monotonic() + 30
    while ours(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not ours(tmp_path)
    assert how == signal.SIGKILL or not (tmp_path / "run" / "workspace").exists()


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """(a command of Python in a checkout, that checkout's place, data of two sites), all below an unusual path."""
    place = tmp_path_factory.mktemp("foreign") / "mein Krankenhaus ü"
    for part in ("fedxray", "scripts", "config"):
        shutil.copytree(part, place / "fed xray" / part, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / ".venv"], check=True)
    packages = next((place / ".venv").glob("lib/python*/site-packages"))
    (packages / "here.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def python(*words, **environment):
        done = subprocess.run(
            [place / ".venv" / "bin" / "python", *words],
            cwd=place / "fed xray",
            env=os.environ | {"PYTHONPATH": str(place / "fed xray"), "LC_ALL": "C"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout

    federation = place / "results" / "federation"
    project = ["--template", "config/project.yml", "--sites", "us", "europe", "--output", federation / "project.yml"]
    python("scripts/render_project.py", *project)
    kits = ["--project", federation / "project.yml", "--output", federation / "kits.json"]
    python("scripts/provision_federation.py", *kits)
    return python, place, make_sites(place / "die Daten", ("us", "europe"))


@pytest.mark.parametrize("forks", ["1", "0"])
def test_under_a_path_with_spaces_and_umlauts_with_forks_and_without_the_bytes_are_the_same(foreign, forks, tmp_path):
    python, place, folders = foreign
    settings, run = make_settings(image_size=16, epochs=2), place / "results" / f"run {forks}"
    words = script(place / "results" / "federation", folders, settings, run / "live", run)
    python(*words[1:], FEDXRAY_FORKS=forks)
    expected, _ = plain_loop(folders, shared_of(folders), settings, make_method(), rounds_of(2))
    assert same(load_model(run / "model.safetensors"), expected)
    assert len(list((run / "live").rglob("*tfevents*"))) == 3
    assert not ours(place)
