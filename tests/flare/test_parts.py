"""The parts of a federation that need no federation."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.data import make_settings
from helpers.federation import make_method, rounds_of, same
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext

from fedxray.core.errors import UserError
from fedxray.core.files import read_json
from fedxray.experiment.privacy import Privacy
from fedxray.federation.checkpoint import Checkpoint
from fedxray.federation.policy import Policy
from fedxray.federation.records import curves_of, round_line
from fedxray.flare import server
from fedxray.flare.job import Participants, key_of, poll_s, write_training
from fedxray.flare.own import OwnFile, card_of
from fedxray.flare.server import Scalars
from fedxray.training.mechanism import mechanism_of

ROW = {"epoch": 1, "train_loss": 0.5, "validation_loss": 0.6, "validation_accuracy": 0.7, "validation_auroc": 0.8}
OTHERS = {"sites": ["us"], "checksums": {"us": {"images": "0"}}, "own": True}
ALL = Policy(round_timeout_s=5, absent="fail", min_sites=0)


def record(number, sites, absent):
    rows = [{"epoch": number, "train_loss": 0.5}]
    validation = {"validation_loss": 0.3, "validation_accuracy": 0.8, "validation_auroc": 0.9}
    about = {"round": number, "epoch": number, "train_loss": 0.5, "validation": validation, "seconds": 1.0}
    return about | {"images": dict.fromkeys(sites, 8), "sites": dict.fromkeys(sites, rows), "absent": absent}


def test_a_checkpoint_gives_back_the_same_bits_and_is_replaced_whole(tmp_path):
    checkpoint = Checkpoint(tmp_path / "new" / "point.safetensors")
    assert not checkpoint.exists()
    for number in (1, 2):
        parameters = {"a": np.random.default_rng(number).normal(size=(3, 4)).astype(np.float32).T}
        state = {"a": parameters["a"] + 1, "server/b": np.random.default_rng(number).normal(size=3)}
        records = [record(n, ["us"], {}) | {"train_loss": np.nan} for n in range(number)]
        checkpoint.save(parameters, state, records)
        found, kept, said = checkpoint.load()
        assert same(found, parameters)
        assert same(kept, state)
        assert str(said) == str(records)  # as text, for NaN
    assert [path.name for path in checkpoint.path.parent.iterdir()] == ["point.safetensors"]
    checkpoint.remove()
    assert not checkpoint.exists()


def test_a_key_tells_apart_what_gives_other_results_and_nothing_else():
    both, rest = Participants(["us", "asia"], {}, ALL), (make_settings(), make_method(), rounds_of(2))
    patient = Policy(round_timeout_s=9, absent="drop", min_sites=1)
    assert key_of(both, *rest) == key_of(Participants(["asia", "us"], {}, patient), *rest)
    others = [(both._replace(**{name: value}), *rest) for name, value in OTHERS.items()]
    others += [(both, make_settings(initial="a" * 64), *rest[1:]), (both, make_settings(freeze="stem.*"), *rest[1:])]
    others += [(both, make_settings(seed=2), *rest[1:]), (both, rest[0], make_method(mu=0.2), rest[2])]
    others += [(both, *rest[:2], rounds_of(4, 0.5)), (both, *rest[:2], rounds_of(2, 1.0, 1))]
    noise = mechanism_of(Privacy("sites", 3.0, 1e-5, 0.1, 2.0, 8, 20, 0, "seeded"), 100, 300, 2, "patient")
    others += [(both, *rest, noise), (both, *rest, replace(noise, secret=True)), (both, *rest, replace(noise, steps=5))]
    assert len({key_of(*one) for one in [(both, *rest), *others]}) == 1 + len(others)


def test_a_job_brings_its_own_start_and_none_of_the_job_before_it(tmp_path):
    start = tmp_path / "start"
    start.write_bytes(b"model")
    about = Participants(["a"], {}, ALL), make_settings(), make_method(), rounds_of(1, 1.0, 1), None, "live"
    for initial, brought in ((start, ["initial.safetensors"]), (start, ["initial.safetensors"]), (None, [])):
        job = write_training(tmp_path / "job", *about, initial)
        assert [path.name for path in (job / "server").glob("*") if path.is_file()] == brought
        assert read_json(job / "meta.json")["name"] == f"train-{key_of(*about[:-1])}"


def test_how_many_sites_a_policy_needs():
    sites = ["us", "europe", "asia"]
    assert ALL.needed(sites) == 3
    assert Policy(5, absent="drop", min_sites=0).needed(sites) == 3
    assert Policy(5, absent="drop", min_sites=2).needed(sites) == 2
    assert Policy(5, absent="fail", min_sites=2).needed(sites) == 3


def test_an_evaluation_needs_every_site_whatever_a_round_may_do_without():
    participants = Participants(["us", "europe", "asia"], {}, Policy(5, absent="drop", min_sites=2))
    assert (participants.needed, participants.all_needed().needed) == (2, 3)
    assert participants.all_needed().policy.round_timeout_s == 5


def test_an_absence_is_in_the_line_and_leaves_a_gap_in_the_metrics():
    records = [record(1, ["asia", "us"], {}), record(2, ["us"], {"asia": "no answer in 5 s"})]
    assert round_line(records[1], 2).endswith("without asia: no answer in 5 s")
    assert curves_of(records)["series"].value_counts().to_dict() == {"global": 2, "us": 2, "asia": 1}


def test_scalars_stay_below_the_servers_folder(tmp_path):
    with pytest.raises(ValueError, match="leads out"):
        Scalars(tmp_path / "tb", "../elsewhere")
    Scalars(None, "../nowhere").add("us", ROW)
    assert not list(tmp_path.iterdir())


def test_the_server_waits_for_the_last_metrics_that_are_streamed_but_not_for_ever(monkeypatch):
    monkeypatch.setattr(server, "LATE_S", 0.5)
    scalars = Scalars(None, "")
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
    own_file, data = OwnFile(tmp_path / "kit"), tmp_path / "archive" / "x rays"
    with pytest.raises(UserError, match="missing") as error:
        own_file.load()
    text = own_file.without_places(str(error.value))
    assert text.startswith("kit/local/fedxray.json: missing")
    own_file.write(data=data)
    assert own_file.without_places(f"{data}/images.npy: changed") == "x rays/images.npy: changed"


def test_an_own_file_keeps_what_it_has_and_its_paths_hold_from_anywhere(tmp_path, monkeypatch):
    own_file = OwnFile(tmp_path / "kit")
    assert not own_file.exists()
    assert own_file.tensorboard is None
    monkeypatch.chdir(tmp_path)
    own_file.write(data=Path("x rays"))
    own_file.write(tensorboard=Path("curves"))
    monkeypatch.chdir("/")
    assert (own_file.data, own_file.tensorboard) == (tmp_path / "x rays", tmp_path / "curves")


def test_data_with_other_checksums_than_a_job_insists_on_are_refused(site_folders, tmp_path):
    own_file = OwnFile(tmp_path / "kit")
    own_file.write(data=site_folders["us"])
    checksums = card_of(site_folders["us"])["sha256"]
    assert len(own_file.load().table) == len(own_file.load(checksums).table) == 72
    with pytest.raises(UserError, match="changed since the registry was made"):
        own_file.load(checksums | {"table": "0" * 64})


def test_a_site_that_waits_for_others_asks_less_and_less_often_and_is_told_so(monkeypatch):
    assert [poll_s(waited) for waited in (0.0, 2.5, 10.0, 50.0, 9000.0)] == [0.05, 0.05, 0.2, 1.0, 1.0]
    controller, config = server.CardCollector(["us"], 60), SimpleNamespace(task_request_interval=2)
    context = FLContext()
    context.set_prop(FLContextKey.RUNNER, SimpleNamespace(config=config), private=True, sticky=False)
    controller.asked = 100.0
    for now, told in ((100.0, 0.05), (120.0, 0.4)):
        monkeypatch.setattr(server.time, "monotonic", lambda now=now: now)
        controller.handle_event(EventType.BEFORE_PROCESS_TASK_REQUEST, context)
        assert config.task_request_interval == told
