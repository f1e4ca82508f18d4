"""Real federations: provisioned kits, separate processes, mutual TLS over loopback."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from helpers.data import make_sites

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, read_table, sha256
from fedxray.core.parameters import load_model, save_model
from fedxray.data.site import load_site
from fedxray.experiment.settings import Settings
from fedxray.federation.algorithms.fedavg import fedavg
from fedxray.federation.training import train_federation, train_in_process
from fedxray.flare.engine import evaluate, private
from fedxray.flare.kits import provision, render_project
from fedxray.flare.one_host import LocalFederation
from fedxray.runs import train_here
from fedxray.training import metrics
from fedxray.training.models import build_model, get_parameters, set_parameters
from fedxray.training.trainer import Trainer, predict

pytestmark = pytest.mark.slow
SETTINGS = {"model": "compact", "image_size": 16, "seed": 1, "lr": 0.003, "device": "cpu"}


def kits_for(folder, sites):
    render_project("config/project.yml", sites, folder / "project.yml")
    provision(folder / "project.yml", folder)
    return folder


@pytest.fixture(scope="module")
def kits(tmp_path_factory):
    return kits_for(tmp_path_factory.mktemp("kits"), ["us", "europe", "asia"])


def federation_of(kits, folders):
    shared = next(iter(folders.values())).parent / "shared"
    return LocalFederation(kits=kits, folders=folders, shared=shared, start_timeout_s=60)


def cards(folders):
    return [str(folder / "card.json") for folder in folders.values()]


def model_of(run):
    return str(run / "model.safetensors")


def ours(folder):
    """The NVFlare processes that a federation with its workspace below `folder` has started."""
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if "nvflare.private" in line and str(folder) in line]


def plain_fedavg(folders, settings, rounds, local_epochs):
    """The oracle: FedAvg in one process, a loop over rounds and sites."""
    sites = {name: load_site(folder) for name, folder in folders.items()}
    model = settings.build()
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
    settings = Settings(**SETTINGS, epochs=4)
    script = [sys.executable, "scripts/train_federated.py", "--kits", str(kits / "kits.json"), "--sites"]
    script += [*cards(site_folders), "--shared", str(site_folders["us"].parent / "shared" / "card.json")]
    script += ["--settings", json.dumps(SETTINGS | {"epochs": 4}), "--rounds", "2", "--local-epochs", "2"]
    runs = [
        subprocess.Popen(
            [*script, "--tensorboard", str(tmp_path / f"live{n}"), "--output", model_of(tmp_path / f"run{n}")]
        )
        for n in range(2)
    ]
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
    assert not ours(tmp_path)
    shared = site_folders["us"].parent / "shared"
    train_in_process(site_folders, shared, settings, 2, 2, tmp_path / "inprocess")
    assert sha256(tmp_path / "inprocess" / "model.safetensors") == sha256(tmp_path / "run0" / "model.safetensors")
    tables = [read_table(tmp_path / name / "metrics.csv").drop(columns="seconds") for name in ("inprocess", "run0")]
    assert tables[0].equals(tables[1])


def test_one_site_and_one_round_are_central_training_bit_for_bit(tmp_path):
    folders = make_sites(tmp_path, ("asia",))
    settings = Settings(**SETTINGS, epochs=3)
    federation = federation_of(kits_for(tmp_path / "federation", ["asia"]), folders)
    train_federation(federation, settings, 1, 3, tmp_path / "federated")
    train_here("central", list(folders.values()), settings, tmp_path / "central")
    one, other = (load_model(tmp_path / name / "model.safetensors") for name in ("federated", "central"))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_nvflares_cross_site_evaluation_agrees_to_the_last_digit(kits, site_folders, tmp_path):
    settings, models = Settings(**SETTINGS, epochs=1), {}
    for seed in (1, 2):
        path = tmp_path / f"{seed}.safetensors"
        save_model(path, get_parameters(build_model("compact", 16, seed)))
        models[f"seed={seed}"] = path, settings
    with private(tmp_path / "workspace", print) as workspace:
        found, thresholds = evaluate(federation_of(kits, site_folders), models, workspace)
    assert set(found) == set(models) == set(thresholds)
    validation, answers = load_site(site_folders["us"].parent / "shared").part("validation")
    for name, (path, _) in models.items():
        network = settings.build()
        set_parameters(network, load_model(path))
        chosen = metrics.choose_threshold(answers.astype(float), predict(network, validation, settings))
        assert thresholds[name] == chosen
        for site, folder in site_folders.items():
            images, labels = load_site(folder).part("test")
            here = metrics.evaluate(labels.astype(float), predict(network, images, settings), chosen)
            assert found[name][site] == here
    assert not (tmp_path / "workspace").exists()
    assert not ours(tmp_path)


def test_a_site_that_fails_is_named_with_its_error_and_nothing_is_left(kits, tmp_path):
    folders = make_sites(tmp_path)
    (folders["europe"] / "images.csv").write_text("broken\n")
    said, settings, output = [], Settings(**SETTINGS, epochs=1), tmp_path / "run"
    with pytest.raises(UserError, match=r"europe.*changed since its data card") as error:
        train_federation(federation_of(kits, folders), settings, 1, 1, output, said.append)
    assert str(folders["europe"].parent) not in str(error.value)
    assert not (tmp_path / "run" / "workspace").exists()
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert "PRIVATE KEY" not in "".join(said)
    assert not ours(tmp_path)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_the_run(kits, site_folders, tmp_path, how):
    script = [sys.executable, "scripts/train_federated.py", "--kits", str(kits / "kits.json"), "--sites"]
    script += [*cards(site_folders), "--shared", str(site_folders["us"].parent / "shared" / "card.json")]
    script += ["--settings", json.dumps(SETTINGS | {"epochs": 500}), "--rounds", "500", "--local-epochs", "1"]
    script += ["--tensorboard", str(tmp_path / "live"), "--output", model_of(tmp_path / "run")]
    run = subprocess.Popen(script, stdout=subprocess.PIPE, text=True)
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
