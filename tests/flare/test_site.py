"""What a site answers, and what it keeps in its kit: the executor, given tasks without a federation."""

import os
import shutil
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.data import make_settings
from helpers.federation import Hospital, make_method, same
from nvflare.apis.fl_constant import ReturnCode
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

from fedxray.core.errors import UserError
from fedxray.core.files import sha256
from fedxray.core.parameters import save_model
from fedxray.data.site import load_site
from fedxray.experiment.method import PLAIN
from fedxray.federation.algorithms import algorithm_of
from fedxray.federation.checkpoint import SiteStates
from fedxray.federation.policy import Schedule, alone
from fedxray.federation.pooled import Pooled
from fedxray.flare.budget import Budget, Limits
from fedxray.flare.kept import Kept
from fedxray.flare.own import OwnFile, card_of
from fedxray.flare.site import SiteAlone, SiteTrainer
from fedxray.flare.tasks import ALONE, LAST, PERSONAL, TRAIN, WHY
from fedxray.training.exported import load_exported
from fedxray.training.models import build, get_parameters
from fedxray.training.trainer import threshold_of

SETTINGS, SCHEDULE, KEY = make_settings(image_size=16), Schedule(5, 0.5, 0, 1), "a" * 64
STATEFUL = [
    make_method(name="scaffold", moments="kept", finetune=1),
    make_method(name="fedbn", finetune=1),
    make_method(name="ditto", finetune=1),
    make_method(moments="kept", finetune=1),
]
BY_NAME = pytest.mark.parametrize("method", STATEFUL, ids=lambda method: method.slug)


def context_of(kit, folder):
    """What NVFlare tells an executor of the site `us`, whose kit is `kit` and whose data lie in `folder`."""
    OwnFile(kit).write(data=folder)
    workspace = SimpleNamespace(get_root_dir=lambda: str(kit), get_run_dir=lambda job: str(kit))
    engine = SimpleNamespace(get_workspace=lambda: workspace, send_aux_request=lambda *of, **more: None)
    return SimpleNamespace(get_engine=lambda: engine, get_identity_name=lambda: "us", get_job_id=lambda: "job")


class Process:
    """A process of the site `us`, which has the kit `kit` and trains for the job KEY."""

    def __init__(self, kit, folder, method, key=KEY):
        self.context = context_of(kit, folder)
        self.trainer = SiteTrainer(asdict(SETTINGS), asdict(method), asdict(SCHEDULE), {}, {}, key, ["us"], own=False)
        self.trainer.log_exception = lambda *of: None

    def ask(self, task, number, last):
        """The answer to a task of round `number` (from 0); `last` is the last round (from 1) in which one counted."""
        model = FLModel(ParamsType.FULL, sent(number), current_round=number, total_rounds=5, meta={LAST: {"us": last}})
        return self.trainer.execute(task, FLModelUtils.to_shareable(model), self.context, None)

    def train(self, number, last):
        return FLModelUtils.from_shareable(self.ask(TRAIN, number, last)).params


def sent(number):
    """What a server sends in a round: another model each time."""
    return {name: value + np.float32(0.01 * number) for name, value in get_parameters(build(SETTINGS)).items()}


def of_a_site_that_trains(method, folder, numbers):
    """(its last answer, its own model then) of a site that takes part in these rounds (from 0) alone."""
    half, hospital = algorithm_of(method), Hospital(SETTINGS, load_site(folder))
    hospital.total = 5 + 2  # 24 images are two batches, so that half an epoch is one
    for number in numbers:
        hospital.first, hospital.steps = number, 1
        answer = half.train(hospital, sent(number))
    hospital.first, hospital.steps = 5, 2
    return answer, hospital.fit(*half.personal(hospital, sent(5)))[0]


@pytest.fixture
def us(site_folders):
    return site_folders["us"]


@BY_NAME
def test_a_round_asked_again_is_the_same_and_one_that_did_not_count_was_missed(us, tmp_path, method):
    def expected(*numbers):
        return of_a_site_that_trains(method, us, numbers)[0]

    process = Process(tmp_path, us, method)
    process.train(0, 0)
    assert same(process.train(1, 1), expected(0, 1))
    assert same(process.train(1, 1), expected(0, 1))  # a server that was killed has forgotten it
    again = Process(tmp_path, us, method)  # and so the process of its job was another one too
    assert same(again.train(1, 1), expected(0, 1))
    assert same(again.train(2, 1), expected(0, 2))  # the answer to the last one came too late
    assert same(Process(tmp_path, us, method).train(2, 1), expected(0, 2))
    assert same(again.train(3, 3), expected(0, 2, 3))
    own = [of_a_site_that_trains(method, us, numbers)[1] for numbers in ([0, 2, 3], [0, 1, 2, 3])]
    assert not same(*own)
    files = sorted((tmp_path / "states" / KEY).iterdir())
    assert [path.name for path in files] == ["000003.safetensors", "000004.safetensors"]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in files[0].parents[:2]} == {0o700}


@BY_NAME
def test_a_sites_own_model_stays_in_its_kit_and_is_the_same_after_a_restart(us, tmp_path, method):
    process, (_, expected) = Process(tmp_path, us, method), of_a_site_that_trains(method, us, [0, 1, 2])
    for number in range(4):
        process.train(number, number)  # the last answer is late
    for again in (process, process, Process(tmp_path, us, method)):
        shutil.rmtree(tmp_path / "personal", ignore_errors=True)
        answer = FLModelUtils.from_shareable(again.ask(PERSONAL, 5, 3))
        assert not answer.params
        assert [row["epoch"] for row in answer.meta["rows"]] == [3, 4]
        parameters, settings = Kept(tmp_path, KEY).read()
        assert same(parameters, expected)
        assert settings == SETTINGS
    network, config = load_exported(tmp_path / "personal" / KEY)  # as `fedxray-predict` takes it
    assert same(get_parameters(network), expected)
    assert config["threshold"] == threshold_of(network, load_site(us).own_validation(), SETTINGS.compute)
    files = list((tmp_path / "personal" / KEY).iterdir())
    assert sorted(path.name for path in files) == ["config.json", "model.safetensors", "settings.json"]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in files[0].parents[:2]} == {0o700}


@pytest.mark.parametrize("budget", ["passes", "steps"])
def test_a_site_that_trains_alone_keeps_the_model_and_answers_its_curve(us, tmp_path, budget):
    schedule, context = alone(2, budget, {"us": 24, "asia": 24}, 16), context_of(tmp_path, us)
    site = SiteAlone(asdict(SETTINGS), asdict(schedule), {}, {"us": card_of(us)["sha256"]}, KEY)
    task = FLModelUtils.to_shareable(FLModel(metrics={"sites": 1.0}))
    answer = FLModelUtils.from_shareable(site.execute(ALONE, task, context, None))
    assert not answer.params
    expected = Pooled("us", [us], own=True).train(SETTINGS, PLAIN, schedule)
    (record,) = expected.rounds
    assert set(answer.meta["record"]) == set(record)
    for name in set(record) - {"seconds", "sites"}:
        assert answer.meta["record"][name] == record[name]
    rows = [[row | {"seconds": 0} for row in one["sites"]["us"]] for one in (answer.meta["record"], record)]
    assert rows[0] == rows[1]
    assert same(Kept(tmp_path, KEY).read()[0], expected.parameters)
    network, config = load_exported(tmp_path / "personal" / KEY)
    assert config["threshold"] == threshold_of(network, load_site(us).own_validation(), SETTINGS.compute)
    assert config["mode"] == "alone"
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "personal" / KEY).iterdir()} == {0o600}


def test_a_site_trains_alone_from_the_model_that_the_server_sends(us, tmp_path):
    given, schedule = get_parameters(build(replace(SETTINGS, seed=9))), alone(1, "passes", {}, 16)
    save_model(tmp_path / "start", given)
    settings = replace(SETTINGS, initial=sha256(tmp_path / "start"))
    site = SiteAlone(asdict(settings), asdict(schedule), {}, {}, KEY)
    task = FLModelUtils.to_shareable(FLModel(ParamsType.FULL, given))
    site.execute(ALONE, task, context_of(tmp_path, us), None)
    pooled = Pooled("us", [us], own=True, initial=tmp_path / "start").train(settings, PLAIN, schedule)
    assert same(Kept(tmp_path, KEY).read()[0], pooled.parameters)
    (tmp_path / "other").mkdir()
    site = SiteAlone(asdict(settings), asdict(schedule), {}, {}, KEY)
    site.log_exception = lambda *of: None
    bare = FLModelUtils.to_shareable(FLModel(metrics={"sites": 1.0}))
    assert "no model is not the file that the run began with" in site.execute(
        ALONE, bare, context_of(tmp_path / "other", us), None
    ).get_header(WHY)


def test_training_alone_is_entered_in_the_ledger_and_refused_by_a_budget(us, tmp_path):
    def ask():
        site = SiteAlone(asdict(SETTINGS), asdict(alone(2, "passes", {}, 16)), {}, {}, KEY)
        site.log_exception = lambda *of: None
        task = FLModelUtils.to_shareable(FLModel(metrics={"sites": 1.0}))
        return site.execute(ALONE, task, context_of(tmp_path, us), None).get_header(WHY)

    budget = Budget(tmp_path)
    budget.limits = Limits(only_masked=True)  # its model does not leave
    assert ask() is None
    (spent,) = budget.spent
    assert (spent.job, spent.is_bounded, spent.answered) == (
        KEY,
        False,
        2 * -(-len(load_site(us).part("train")[1]) // 16),
    )
    budget.limits = Limits(epsilon=8.0, delta=1e-5)
    assert "because it has no noise" in ask()
    assert budget.spent == [spent]


def test_a_site_whose_data_are_others_does_not_train_alone(us, tmp_path):
    site = SiteAlone(asdict(SETTINGS), asdict(alone(2, "passes", {}, 16)), {}, {"us": {"table": "0"}}, KEY)
    site.log_exception = lambda *of: None
    answer = site.execute(
        ALONE, FLModelUtils.to_shareable(FLModel(metrics={"sites": 1.0})), context_of(tmp_path, us), None
    )
    assert "changed since the registry was made" in answer.get_header(WHY)
    assert [path.name for path in tmp_path.iterdir()] == ["local"]


def test_a_site_keeps_nothing_that_no_round_needs(us, tmp_path):
    process = Process(tmp_path, us, make_method(moments="averaged"))
    answer = process.train(0, 0)
    assert any(name.startswith("optimizer/") for name in answer)
    Process(tmp_path, us, make_method(moments="averaged")).train(1, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["local"]


def test_a_state_that_is_gone_is_told_without_its_place(us, tmp_path):
    answer = Process(tmp_path, us, make_method(name="fedbn")).ask(TRAIN, 1, 1)
    assert answer.get_return_code() == ReturnCode.EXECUTION_EXCEPTION
    assert answer.get_header(WHY).startswith(f"{tmp_path.name}/states/{KEY}/000001.safetensors: missing")
    assert str(tmp_path) not in answer.get_header(WHY)


def test_a_job_whose_key_is_a_path_is_refused(us, tmp_path):
    process = Process(tmp_path / "kit", us, make_method(name="fedbn"), key="../elsewhere")
    assert process.ask(TRAIN, 0, 0).get_return_code() == ReturnCode.EXECUTION_EXCEPTION
    assert [path.name for path in tmp_path.iterdir()] == ["kit"]


def test_a_site_keeps_the_states_of_the_last_jobs_alone(tmp_path):
    for number in range(12):
        states = SiteStates(tmp_path / "states" / f"job{number}")
        states.save(1, {"a": np.ones(3)}, 0)
        os.utime(states.folder, (number, number))
    kept = {path.name for path in (tmp_path / "states").iterdir()}
    assert kept == {f"job{number}" for number in range(4, 12)}
    assert states.after(0) == {}
    with pytest.raises(UserError, match="missing"):
        states.after(2)


@pytest.mark.parametrize(
    ("task", "number", "last", "said"),
    [
        (TRAIN, False, 0, "refuses round False, of a job of rounds 0 to 4"),
        (TRAIN, 5, 0, "refuses round 5, of a job of rounds 0 to 4"),
        (PERSONAL, 6, 0, "refuses round 6, of a job of rounds 0 to 5"),
        (TRAIN, 1, "../other/000001", "refuses round '../other/000001', of a job of rounds 0 to 5"),
    ],
)
def test_a_round_that_is_none_is_refused(us, tmp_path, task, number, last, said):
    answer = Process(tmp_path, us, make_method(name="fedbn", finetune=1)).ask(task, number, last)
    assert said in answer.get_header(WHY)


def test_where_a_job_computes_and_numbers_that_its_method_does_not_use_make_no_other_content():
    def content(method, **settings):
        one = SiteTrainer(
            asdict(replace(SETTINGS, **settings)), asdict(method), asdict(SCHEDULE), {}, {}, KEY, ["us"], own=False
        )
        return one._content

    first = content(make_method())
    assert first == content(make_method(mu=0.5, beta1=0.1), threads=7, device="cuda", compile=True)
    for other in (content(make_method(), lr=0.5), content(make_method(name="fedprox"))):
        assert other != first
    assert content(make_method(name="fedprox", mu=0.5)) != content(make_method(name="fedprox", mu=0.1))
    assert content(make_method(precision="float16")) != first
