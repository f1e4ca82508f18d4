"""The engine of one process, against a plain loop, against training alone and centrally, and against the trainer."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.data import make_settings
from helpers.federation import FEDERATIONS, make_method, models_of, plain_loop, rounds_of, same, unequal_sites

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, sha256
from fedxray.core.parameters import save_model
from fedxray.data.site import load_site
from fedxray.experiment.method import PLAIN
from fedxray.federation import rounds
from fedxray.federation.engine import Model
from fedxray.federation.inprocess import InProcess
from fedxray.federation.policy import Schedule, alone
from fedxray.federation.pooled import Pooled
from fedxray.training import trainer
from fedxray.training.metrics import choose_threshold, evaluate
from fedxray.training.models import build, get_parameters, restore
from fedxray.training.trainer import predict


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """(folders, shared): hospitals that differ in size."""
    return unequal_sites(tmp_path_factory.mktemp("sites"))


@pytest.fixture
def shared(site_folders):
    return site_folders["us"].parent / "shared"


def model_of(sites, method, schedule, **settings):
    return models_of(InProcess(*sites).train(make_settings(image_size=16, **settings), method, schedule))


HALF = [
    (replace(method, precision="float16"), schedule)
    for method, schedule in FEDERATIONS
    if method.name in ("fedavg", "fedyogi", "scaffold", "fednova", "fedbn", "ditto")
]


@pytest.mark.parametrize(("method", "schedule"), FEDERATIONS + HALF, ids=lambda one: getattr(one, "slug", ""))
def test_it_is_a_plain_loop_bit_for_bit(sites, method, schedule):
    settings = make_settings(image_size=16)
    trained = InProcess(*sites).train(settings, method, schedule)
    model, own = plain_loop(*sites, settings, method, schedule)
    assert same(trained.parameters, model)
    assert same(models_of(trained)[1], own)
    assert bool(own) == method.is_personal
    epochs = [record["epoch"] for record in trained.rounds if record["epoch"]]
    assert epochs[-1] == schedule.epochs - schedule.tail
    for record in trained.rounds:
        assert {len(rows) for rows in record["sites"].values()} == {schedule.measured(record["round"] - 1)}
        assert (record["validation"] is None) == (record["epoch"] is None)
    for site in trained.personal.values():
        assert len(site.rows) == 1 + schedule.tail


@pytest.mark.parametrize(
    ("changed", "each_way"),
    [
        ({"moments": "kept"}, [(1, 1), (1, 1)]),
        ({"name": "ditto"}, [(1, 1), (1, 1)]),
        ({"name": "scaffold"}, [(1, 2), (2, 2)]),  # there is no c at first
    ],
)
def test_what_travels_is_counted(sites, changed, each_way):
    trained = InProcess(*sites).train(make_settings(image_size=16), make_method(**changed), rounds_of(2))
    size = 3 * 76_977 * 4
    assert [record["bytes"] for record in trained.rounds] == [(down + up) * size for down, up in each_way]


STARTED = [one for one in FEDERATIONS if one[0].name in ("fedavg", "fedavgm", "scaffold", "fednova", "ditto")][1:]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """(the file of a model that is given, its parameters)."""
    path, parameters = tmp_path_factory.mktemp("start") / "m.safetensors", get_parameters(build(make_settings(seed=9)))
    save_model(path, parameters)
    return path, parameters


@pytest.mark.parametrize(("method", "schedule"), STARTED, ids=lambda one: getattr(one, "slug", ""))
def test_with_a_start_it_is_a_plain_loop_from_there_and_what_is_frozen_stays_to_the_bit(sites, start, method, schedule):
    path, given = start
    settings = make_settings(image_size=16, initial=sha256(path), freeze="stem.*+blocks.0.*", body_lr=0.5)
    trained = InProcess(*sites, initial=path).train(settings, method, schedule)
    still = {name for name in given if name.startswith(("stem.", "blocks.0."))}
    for model in (trained.parameters, *models_of(trained)[1].values()):
        assert {name for name in given if model[name].tobytes() == given[name].tobytes()} >= still
        assert not np.array_equal(model["head.weight"], given["head.weight"])
    model, own = plain_loop(*sites, settings, method, schedule, start=given)
    if method.name not in ("fedavgm", "fedadam", "fedyogi"):  # whose rounding the server alone undoes
        assert same(trained.parameters, model)
        assert same(models_of(trained)[1], own)


def test_a_server_that_goes_on_after_a_round_ends_in_the_same_bytes_from_a_start_too(sites, start):
    (path, _), (folders, shared) = start, sites
    method, schedule = make_method(name="fedavgm", moments="averaged"), rounds_of(4, 0.5)
    settings = make_settings(image_size=16, initial=sha256(path), freeze="stem.*")
    validation = load_site(shared).part("validation")
    servers = [rounds.ServerRounds(settings, method, schedule, validation, initial=path) for _ in range(2)]
    hospitals = {site: rounds.SiteRounds(settings, method, schedule, load_site(at)) for site, at in folders.items()}
    for number in range(schedule.rounds):
        server = servers[number // 2]
        if number == 2:  # the first one was killed; its checkpoint has these
            server.parameters, server.state = servers[0].parameters, servers[0].state
        sent = server.send()
        server.aggregate(number, {site: one.train(sent, number) for site, one in hospitals.items()})
    assert servers[1].changed
    assert same(InProcess(*sites, initial=path).train(settings, method, schedule).parameters, servers[1].parameters)


def test_running_statistics_are_averaged_as_weights_are(sites):
    method, schedule = make_method(name="fedbn"), rounds_of(1)
    settings = make_settings(image_size=16, model="shufflenet_v2_x0_5", norms="batch", standardise="imagenet")
    for way in (make_method(), method):
        trained = InProcess(*sites).train(settings, way, schedule)
        model, own = plain_loop(*sites, settings, way, schedule)
        assert same(trained.parameters, model)
        assert same(models_of(trained)[1], own)
        shared = np.array_equal(model["network.conv1.1.running_var"], np.ones(24, np.float32))
        assert shared == (way is method)  # FedBN's statistics stay at the sites


def test_central_training_and_a_federation_of_one_site_go_on_from_the_same_start(site_folders, shared, start):
    path, _ = start
    settings = make_settings(image_size=16, epochs=2, initial=sha256(path))
    central = Pooled("pooled", [site_folders["europe"]], initial=path).train(
        settings, PLAIN, alone(2, "passes", {}, 16)
    )
    one = InProcess({"europe": site_folders["europe"]}, shared, initial=path)
    assert same(one.train(settings, make_method(moments="kept"), rounds_of(8, 0.25)).parameters, central.parameters)
    assert not same(central.parameters, model_of(({"europe": site_folders["europe"]}, shared), PLAIN, rounds_of(2))[0])
    with pytest.raises(UserError, match=r"model\.initial: .* is not the file that the run began with"):
        one.train(replace(settings, initial=""), make_method(), rounds_of(1))


@pytest.mark.parametrize(
    ("changed", "each_way"),  # parameters of four bytes, and those of two
    [
        ({"moments": "kept"}, [(0, 2), (0, 2)]),
        ({"name": "scaffold"}, [(1, 2), (2, 2)]),
        ({"name": "fednova"}, [(1, 1), (1, 1)]),  # its answer is no model
    ],
)
def test_weights_travel_in_two_bytes(sites, changed, each_way):
    method = make_method(precision="float16", **changed)
    trained = InProcess(*sites).train(make_settings(image_size=16), method, rounds_of(2))
    steps = 3 * 4 * (method.name == "fednova")
    expected = [3 * 76_977 * (4 * whole + 2 * half) + steps for whole, half in each_way]
    assert [record["bytes"] for record in trained.rounds] == expected


def test_a_model_that_is_trained_in_half_precision_is_near_the_other_and_not_the_same(sites):
    one, _ = model_of(sites, make_method(moments="kept"), rounds_of(8, 0.5))
    other, _ = model_of(sites, make_method(moments="kept", precision="float16"), rounds_of(8, 0.5))
    apart, moved = (
        np.sqrt(sum(np.sum((one[name] - before[name]) ** 2) for name in one))
        for before in (other, get_parameters(build(make_settings(image_size=16))))
    )
    assert 0 < apart < 0.1 * moved
    assert any((value != np.float16(value)).any() for value in other.values())  # the server's own is not rounded


IDENTITIES = {
    "FedProx without a pull": {"name": "fedprox", "mu": 0.0},
    "FedAvgM without momentum": {"name": "fedavgm", "server_lr": 1.0, "server_momentum": 0.0},
    "Ditto's model of all": {"name": "ditto"},
    "multi-Krum that leaves none out": {"mean": "multikrum"},
}


@pytest.mark.parametrize("changed", IDENTITIES.values(), ids=IDENTITIES)
@pytest.mark.parametrize("moments", ["fresh", "kept", "averaged"])
def test_an_algorithm_without_its_term_is_federated_averaging(sites, changed, moments):
    plain, _ = model_of(sites, make_method(moments=moments), rounds_of(4, 0.5))
    other, _ = model_of(sites, make_method(moments=moments, **changed), rounds_of(4, 0.5))
    assert same(other, plain)


@pytest.mark.parametrize("changed", [{"name": "ditto", "attraction": 0.0}, {"finetune": 2}], ids=["ditto", "finetune"])
def test_a_model_that_nothing_pulls_is_the_one_trained_alone(sites, changed):
    settings, (folders, _) = make_settings(image_size=16, epochs=2), sites
    schedule = rounds_of(0, 1.0, 2) if "finetune" in changed else rounds_of(4, 0.5)
    _, own = model_of(sites, make_method(**changed), schedule)
    for site, folder in folders.items():
        pooled = Pooled(site, [folder], own=True).train(settings, PLAIN, alone(2, "passes", {}, 16))
        assert same(own[site], pooled.parameters)


@pytest.mark.parametrize("moments", ["kept", "averaged"])
@pytest.mark.parametrize("schedule", [rounds_of(2, 2.0), rounds_of(16, 0.25), Schedule(4, 0.5, 2, 0)], ids=str)
def test_one_site_whose_optimizer_goes_on_is_central_training(site_folders, shared, moments, schedule):
    one = {"europe": site_folders["europe"]}, shared
    central = Pooled("pooled", [site_folders["europe"]]).train(
        make_settings(image_size=16, epochs=4), PLAIN, alone(4, "passes", {}, 16)
    )
    assert same(model_of(one, make_method(moments=moments), schedule)[0], central.parameters)
    assert not same(model_of(one, make_method(), schedule)[0], central.parameters)


@pytest.mark.parametrize(("values", "best"), [([0.5, 0.7, 0.9, 0.9], 2), ([0.9, 0.8, 0.7, 0.9], 0)])
def test_fine_tuning_may_stop_where_the_sites_own_validation_is_best(sites, monkeypatch, values, best):
    settings, schedule, method = make_settings(image_size=16), rounds_of(1, 1.0, 3), make_method(finetune=3)
    _, expected = plain_loop(*sites, settings, method, schedule, further=best)
    measured = iter([0.5] * 4 + 3 * values)  # of a round: each site's and the server's
    row = {"validation_loss": 0.0, "validation_accuracy": 0.0}
    for module in (rounds, trainer):
        monkeypatch.setattr(module, "validate", lambda *of: row | {"validation_auroc": next(measured)})
    trained = InProcess(*sites).train(settings, replace(method, finetune_stop="validation"), schedule)
    assert same(models_of(trained)[1], expected)
    for own in trained.personal.values():
        assert [line["validation_auroc"] for line in own.rows] == values[: best + 1]
        assert [line["epoch"] for line in own.rows] == [1, 2, 3, 4][: best + 1]


def test_it_evaluates_at_the_threshold_of_the_validation_set_and_a_hospitals_model_at_its_own(sites, tmp_path):
    settings, (folders, shared) = make_settings(image_size=16), sites
    trained = InProcess(*sites).train(settings, make_method(), rounds_of(2))
    save_model(tmp_path / "model", trained.parameters)
    models = {"one": Model(tmp_path / "model", settings), "own": Model(tmp_path / "model", settings, "asia")}
    found = InProcess(*sites).evaluate(models)
    network = restore(settings, trained.parameters)

    def threshold(images, labels):
        return choose_threshold(labels.astype(float), predict(network, images, settings.compute))

    common = threshold(*load_site(shared).part("validation"))
    own = threshold(*load_site(folders["asia"]).own_validation())
    assert common != own
    assert found.thresholds == {"one": common, "own": own}
    images, labels = load_site(folders["asia"]).part("test")
    for name, at in (("one", common), ("own", own)):
        expected = evaluate(labels.astype(float), predict(network, images, settings.compute), at)
        assert found.metrics[name]["asia"] == expected | {"threshold": at}
        assert found.metrics[name]["us"]["threshold"] == common
        assert set(found.metrics[name]) == set(folders)


def test_it_has_the_cards(site_folders, shared):
    cards = InProcess(site_folders, shared).cards()
    assert cards["shared"] == read_json(shared / "card.json")
    assert {card["site"] for card in cards.values()} == {*site_folders, "shared"}


def test_moments_that_are_kept_or_averaged_are_used(sites):
    models = [
        model_of(sites, make_method(moments=moments), rounds_of(2))[0] for moments in ("fresh", "kept", "averaged")
    ]
    assert not any(same(one, other) for number, one in enumerate(models) for other in models[:number])
    assert all(np.isfinite(array).all() for model in models for array in model.values())


SECURE = [federation for federation in FEDERATIONS + HALF if federation[0].mean == "weighted"]


@pytest.mark.parametrize(("method", "schedule"), SECURE, ids=lambda one: getattr(one, "slug", ""))
def test_the_sums_of_secure_aggregation_give_the_same_bytes_and_records_without_single_sites(sites, method, schedule):
    settings = make_settings(image_size=16)
    plain = InProcess(*sites).train(settings, method, schedule)
    secure = InProcess(*sites).train(settings, replace(method, secure_aggregation=True), schedule)
    assert [same(*models) for models in zip(models_of(secure), models_of(plain), strict=True)] == [True, True]
    assert secure.partners == {}  # no masks, and the record says so
    for one, other in zip(secure.rounds, plain.rounds, strict=True):
        assert one["images"] == {"pooled": sum(other["images"].values())}
        losses = [one["train_loss"], other["train_loss"]]
        assert losses == [None, None] or losses[0] == pytest.approx(losses[1], rel=1e-12)
        assert one["validation"] == other["validation"]
        assert one["sites"] == {site: [] for site in other["sites"]}
        assert one["distances"] == {}
