"""Real federations: provisioned kits, separate processes, mutual TLS over loopback."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time

import numpy as np
import psutil
import pytest
from helpers.data import make_settings, make_sites
from helpers.log import heard

from fedxray.core.errors import UserError
from fedxray.core.files import private_folder, read_json, read_table, sha256
from fedxray.core.parameters import load_model, save_model
from fedxray.data.site import load_site
from fedxray.federation.algorithms.fedavg import fedavg
from fedxray.federation.engine import Model
from fedxray.federation.inprocess import InProcess
from fedxray.federation.policy import Policy, Schedule
from fedxray.federation.pooled import Pooled
from fedxray.flare.kits import provision, render_project
from fedxray.flare.one_host import OneHost
from fedxray.runs import train_run
from fedxray.training import metrics
from fedxray.training.models import build, get_parameters, restore, set_parameters
from fedxray.training.trainer import Trainer, predict

pytestmark = pytest.mark.slow


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


def script(kits, folders, settings, schedule, live, output):
    """The command line of a federated run."""
    words = [sys.executable, "scripts/train_federated.py", "--kits", kits / "kits.json", "--sites"]
    words += [*(folder / "card.json" for folder in folders.values()), "--shared", shared_of(folders) / "card.json"]
    words += ["--start-timeout-s", 60, "--round-timeout-s", 600, "--absent", "fail", "--min-sites", 0]
    words += ["--rounds", schedule.rounds, "--local-epochs", schedule.local_epochs, "--live", live]
    return [str(word) for word in (*words, "--output", output / "model.safetensors", *settings.options())]


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


def plain_fedavg(folders, settings, rounds, local_epochs):
    """The oracle: FedAvg in one process, a loop over rounds and sites."""
    sites = {name: load_site(folder) for name, folder in folders.items()}
    model = build(settings)
    parameters = get_parameters(model)
    for number in range(rounds):
        results = {}
        for name, site in sites.items():
            set_parameters(model, parameters)
            trainer = Trainer(settings, site.part("train"), site.part("validation"))
            trainer.fit(model, number * local_epochs, (number + 1) * local_epochs)
            results[name] = get_parameters(model)
        parameters = fedavg(results, {name: len(site.part("train")[1]) for name, site in sites.items()})
    return parameters


def test_two_federations_at_once_equal_the_plain_loop_bit_for_bit(kits, site_folders, tmp_path):
    settings, schedule = make_settings(image_size=16, epochs=4), Schedule(2, 2)
    (tmp_path / "live0").mkdir()
    (tmp_path / "live0" / "torn").write_bytes(b"of a run before")
    places = [(tmp_path / f"live{number}", tmp_path / f"run{number}") for number in range(2)]
    words = [script(kits, site_folders, settings, schedule, *place) for place in places]
    runs = [subprocess.Popen(words[0]), subprocess.Popen(nameless(words[1], tmp_path), env=os.environ | PROXIES)]
    assert [run.wait(240) for run in runs] == [0, 0]
    expected = plain_fedavg(site_folders, settings, 2, 2)
    for number in range(2):
        run = tmp_path / f"run{number}"
        model = load_model(run / "model.safetensors")
        assert all(np.array_equal(model[name], expected[name]) for name in expected)
        assert sorted(path.name for path in run.iterdir()) == ["metrics.csv", "model.safetensors", "record.json"]
        record, table = read_json(run / "record.json"), read_table(run / "metrics.csv")
        assert all(record["checks"].values())
        assert record["checks"]["streamed_epochs"] == dict.fromkeys(site_folders, 4)
        assert record["bytes_sent"] == 2 * 2 * 3 * 76_977 * 4
        assert list(table[table["series"] == "global"]["epoch"]) == [2, 4]
        live = tmp_path / f"live{number}"
        assert {path.parent for path in live.rglob("*tfevents*")} == {live, *(live / site for site in site_folders)}
    assert not (tmp_path / "live0" / "torn").exists()
    assert not ours(tmp_path)
    engine = InProcess(site_folders, shared_of(site_folders))
    train_run(engine, "federated", settings, schedule, tmp_path / "inprocess")
    assert sha256(tmp_path / "inprocess" / "model.safetensors") == sha256(tmp_path / "run0" / "model.safetensors")
    tables = [read_table(tmp_path / name / "metrics.csv").drop(columns="seconds") for name in ("inprocess", "run0")]
    assert tables[0].equals(tables[1])


def test_one_site_and_one_round_are_central_training_bit_for_bit(tmp_path):
    folders = make_sites(tmp_path, ("asia",))
    settings, schedule = make_settings(image_size=16, epochs=3), Schedule(1, 3)
    engine = engine_of(kits_for(tmp_path / "federation", ["asia"]), folders)
    train_run(engine, "federated", settings, schedule, tmp_path / "federated")
    central = Pooled("pooled", [folders["asia"]])
    train_run(central, "central", settings, schedule, tmp_path / "central", ["asia"])
    one, other = (load_model(tmp_path / name / "model.safetensors") for name in ("federated", "central"))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_nvflares_cross_site_evaluation_agrees_to_the_last_digit(kits, site_folders, tmp_path):
    models = {}
    for seed in (1, 2):
        path, settings = tmp_path / f"{seed}.safetensors", make_settings(image_size=16, seed=seed)
        save_model(path, get_parameters(build(settings)))
        models[f"seed={seed}"] = Model(path, settings)
    with private_folder(tmp_path / "workspace") as scratch:
        evaluated = engine_of(kits, site_folders).evaluate(models, scratch)
    assert set(evaluated.metrics) == set(models) == set(evaluated.thresholds)
    validation, answers = load_site(shared_of(site_folders)).part("validation")
    for name, (path, settings) in models.items():
        network = restore(settings, load_model(path))
        chosen = metrics.choose_threshold(answers.astype(float), predict(network, validation, settings.compute))
        assert evaluated.thresholds[name] == chosen
        for site, folder in site_folders.items():
            images, labels = load_site(folder).part("test")
            here = metrics.evaluate(labels.astype(float), predict(network, images, settings.compute), chosen)
            assert evaluated.metrics[name][site] == here
    engine = InProcess(site_folders, shared_of(site_folders))
    assert engine.evaluate(models) == evaluated
    assert not (tmp_path / "workspace").exists()
    assert not ours(tmp_path)


def test_a_site_that_fails_is_named_with_its_error_and_nothing_is_left(kits, tmp_path):
    folders = make_sites(tmp_path)
    (folders["europe"] / "images.csv").write_text("broken\n")
    engine, settings = engine_of(kits, folders), make_settings(image_size=16)
    with heard() as said, pytest.raises(UserError, match=r"europe.*changed since its data card") as error:
        train_run(engine, "federated", settings, Schedule(1, 1), tmp_path / "run")
    assert str(folders["europe"].parent) not in str(error.value)
    assert not (tmp_path / "run" / "workspace").exists()
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert {f"===== {name} =====" for name in (*folders, "localhost")} < set("\n".join(said).splitlines())
    assert "PRIVATE KEY" not in "".join(said)
    assert not ours(tmp_path)


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
    words = script(kits, site_folders, settings, Schedule(500, 1), tmp_path / "live", run)
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
    words = script(kits, site_folders, settings, Schedule(500, 1), *place)
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
    words = script(place / "results" / "federation", folders, settings, Schedule(2, 1), run / "live", run)
    python(*words[1:], FEDXRAY_FORKS=forks)
    model, expected = load_model(run / "model.safetensors"), plain_fedavg(folders, settings, 2, 1)
    assert all(np.array_equal(model[name], expected[name]) for name in expected)
    assert len(list((run / "live").rglob("*tfevents*"))) == 3
    assert not ours(place)
