"""Runs of every mode, trained by an engine and written to their folder."""

import pytest
from helpers.data import make_settings

from fedxray.core.errors import UserError
from fedxray.core.files import sha256
from fedxray.core.parameters import save_model
from fedxray.experiment.folder import RunFolder
from fedxray.federation.inprocess import InProcess
from fedxray.federation.policy import Schedule
from fedxray.federation.pooled import Pooled
from fedxray.runs import confirm, train_alone, train_run


@pytest.fixture
def engine(site_folders):
    shared = site_folders["us"].parent / "shared"
    return InProcess(site_folders, shared)


def test_a_federated_run_has_the_curves_of_all_and_says_what_it_sent(engine, tmp_path):
    settings = make_settings(image_size=16, epochs=4, lr=0.01)
    train_run(engine, "federated", settings, Schedule(2, 2), tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    assert sorted(path.name for path in run.path.iterdir()) == ["metrics.csv", "model.safetensors", "record.json"]
    record, curves = run.read_record(), run.read_curves()
    expected = {"mode": "federated", "engine": "inprocess", "site": "pooled", "lr": 0.01, "epochs": 4}
    expected |= {"rounds": 2, "local_epochs": 2, "seed": 1, "sites": ["asia", "europe", "us"], "train_images": 72}
    expected |= {"parameters": 76_977, "bytes_sent": 2 * 2 * 3 * 76_977 * 4, "device": "cpu", "checks": {}}
    assert expected.items() <= record.items()
    assert run.settings() == settings
    assert list(curves[curves["series"] == "global"]["epoch"]) == [2, 4]
    assert list(curves["series"].unique()) == ["global", "asia", "europe", "us"]


def test_a_central_run_has_one_curve_and_sends_nothing(site_folders, tmp_path):
    folders = list(site_folders.values())
    engine = Pooled("pooled", folders)
    train_run(engine, "central", make_settings(image_size=16, epochs=2), Schedule(1, 2), tmp_path, list(site_folders))
    record, curves = RunFolder(tmp_path).read_record(), RunFolder(tmp_path).read_curves()
    expected = {"mode": "central", "site": "pooled", "sites": list(site_folders), "train_images": 72, "epochs": 2}
    assert (expected | {"rounds": None, "local_epochs": None, "bytes_sent": 0}).items() <= record.items()
    assert list(curves["series"]) == ["global", "global"]
    assert list(curves["epoch"]) == [1, 2]


def test_a_hospital_alone_is_its_own_model(site_folders, tmp_path):
    engine = Pooled("asia", [site_folders["asia"]])
    train_alone(engine, make_settings(image_size=16, epochs=2), tmp_path)
    record = RunFolder(tmp_path).read_record()
    assert {
        "mode": "alone",
        "site": "asia",
        "sites": ["asia"],
        "train_images": 24,
        "bytes_sent": 0,
    }.items() <= record.items()


def test_a_run_is_confirmed_by_the_same_bytes_only(engine, tmp_path):
    train_run(engine, "federated", make_settings(image_size=16, epochs=1), Schedule(1, 1), tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    assert confirm(engine, run.path, tmp_path / "scratch") == sha256(run.model)
    assert not (tmp_path / "scratch").exists()
    parameters = run.parameters()
    parameters["head.bias"] = parameters["head.bias"] + 1e-7
    save_model(run.model, parameters)
    with pytest.raises(UserError, match="differs from the federation's model"):
        confirm(engine, run.path, tmp_path / "scratch")


def test_a_run_that_fails_leaves_no_model_and_no_keys(tmp_path):
    class Broken:
        name, sites = "nvflare", ["us"]

        def train(self, settings, schedule, scratch):
            (scratch / "client.key").write_text("secret")
            assert scratch.stat().st_mode & 0o777 == 0o700
            raise UserError("us: its data are gone")

    with pytest.raises(UserError, match="its data are gone"):
        train_run(Broken(), "federated", make_settings(), Schedule(1, 1), tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.*"))
