"""The parts of a federation that need no federation."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from fedxray.core.files import write_json
from fedxray.experiment.settings import Settings
from fedxray.federation.checkpoint import Checkpoint
from fedxray.federation.records import line_of, metrics_of
from fedxray.flare import server
from fedxray.flare.job import Policy, key_of
from fedxray.flare.own import card_of, without_places
from fedxray.flare.server import Scalars

ROW = {"epoch": 1, "train_loss": 0.5, "validation_loss": 0.6, "validation_accuracy": 0.7, "validation_auroc": 0.8}
SETTINGS = Settings(model="compact", image_size=16, seed=1, epochs=4, lr=0.003)


def record(number, sites, absent):
    rows = [{"epoch": number, "train_loss": 0.5}]
    about = {"round": number, "epoch": number, "train_loss": 0.5, "validation_auroc": 0.9, "seconds": 1.0}
    return about | {"images": dict.fromkeys(sites, 8), "sites": dict.fromkeys(sites, rows), "absent": absent}


def test_a_checkpoint_gives_back_the_same_bits_and_is_replaced_whole(tmp_path):
    checkpoint = Checkpoint(tmp_path / "new" / "point.safetensors")
    assert not checkpoint.exists()
    for number in (1, 2):
        parameters = {"a": np.random.default_rng(number).normal(size=(3, 4)).astype(np.float32).T}
        records = [record(n, ["us"], {}) for n in range(number)]
        checkpoint.save(parameters, records)
        found, said = checkpoint.load()
        assert np.array_equal(found["a"], parameters["a"])
        assert said == records
    assert [path.name for path in checkpoint.path.parent.iterdir()] == ["point.safetensors"]
    checkpoint.remove()
    assert not checkpoint.exists()


def test_a_key_tells_apart_what_gives_other_results_and_nothing_else():
    job = SETTINGS, ["us", "asia"], 2, 2, {}
    assert key_of(*job) == key_of(SETTINGS, ["asia", "us"], 2, 2, {})
    others = [(SETTINGS, ["us"], 2, 2, {}), (SETTINGS, ["us", "asia"], 4, 1, {})]
    others += [(SETTINGS, ["us", "asia"], 2, 2, {"us": {"images": "0"}})]
    assert len({key_of(*other) for other in (job, *others)}) == 4


def test_how_many_sites_a_policy_needs():
    sites = ["us", "europe", "asia"]
    assert Policy().needed(sites) == 3
    assert Policy(absent="drop").needed(sites) == 3
    assert Policy(absent="drop", min_sites=2).needed(sites) == 2
    assert Policy(absent="fail", min_sites=2).needed(sites) == 3


def test_an_absence_is_in_the_line_and_leaves_a_gap_in_the_metrics():
    records = [record(1, ["asia", "us"], {}), record(2, ["us"], {"asia": "no answer in 5 s"})]
    assert line_of(records[1], 2).endswith("without asia: no answer in 5 s")
    assert metrics_of(records)["series"].value_counts().to_dict() == {"global": 2, "us": 2, "asia": 1}


def test_scalars_stay_below_the_servers_folder(tmp_path):
    with pytest.raises(ValueError, match="leads out"):
        Scalars({"tensorboard": str(tmp_path / "tb")}, "../elsewhere")
    Scalars({}, "../nowhere").add("us", ROW)
    assert not list(tmp_path.iterdir())


def test_the_server_waits_for_the_last_metrics_that_are_streamed_but_not_for_ever(monkeypatch):
    monkeypatch.setattr(server, "LATE_S", 0.5)
    scalars = Scalars({}, "")
    late = threading.Timer(0.2, lambda: scalars.add("us", ROW))
    late.start()
    scalars.wait({"us": 1})
    assert scalars.streamed["us"] == 1
    start = time.monotonic()
    scalars.wait({"us": 2})
    assert 0.4 < time.monotonic() - start < 5


def test_the_card_that_leaves_a_site_names_no_image_and_no_patient(site_folders):
    for folder in site_folders.values():
        assert not any(word in str(card_of(folder)) for word in ("us-train", "p-us"))


def test_what_a_site_sends_of_an_error_does_not_say_where_its_files_lie(tmp_path):
    kit, data = tmp_path / "kit", tmp_path / "archive" / "x rays"
    workspace = SimpleNamespace(get_root_dir=lambda: str(kit), get_site_config_dir=lambda: str(kit / "local"))
    text = without_places(f"{kit}/local/fedxray.json: missing", workspace)
    assert text == "kit/local/fedxray.json: missing"
    write_json(kit / "local" / "fedxray.json", {"data": str(data)})
    assert without_places(f"{data}/images.npy: changed", workspace) == "x rays/images.npy: changed"
