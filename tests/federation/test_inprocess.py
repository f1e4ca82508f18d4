"""The engine of one process, against a plain loop, and against the trainer alone."""

import numpy as np
import pytest
from helpers.data import make_settings

from fedxray.core.files import read_json
from fedxray.data.site import load_site
from fedxray.federation.algorithms.fedavg import fedavg
from fedxray.federation.inprocess import InProcess
from fedxray.federation.policy import Schedule
from fedxray.training.metrics import choose_threshold, evaluate
from fedxray.training.models import build, get_parameters, restore, set_parameters
from fedxray.training.trainer import Trainer, predict


@pytest.fixture
def shared(site_folders):
    return site_folders["us"].parent / "shared"


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in other)


def test_it_is_a_plain_loop_bit_for_bit(site_folders, shared):
    settings, parameters = make_settings(image_size=16, epochs=4), None
    model = build(settings)
    parameters = get_parameters(model)
    for number in range(2):
        models, images = {}, {}
        for name, folder in site_folders.items():
            set_parameters(model, parameters)
            train, validation = (load_site(folder).part(split) for split in ("train", "validation"))
            Trainer(settings, train, validation).fit(model, 2 * number, 2 * number + 2)
            models[name], images[name] = get_parameters(model), len(train[1])
        parameters = fedavg(models, images)
    engine = InProcess(site_folders, shared)
    trained = engine.train(settings, Schedule(2, 2))
    assert same(trained.parameters, parameters)
    assert [record["epoch"] for record in trained.rounds] == [2, 4]
    assert {len(rows) for record in trained.rounds for rows in record["sites"].values()} == {2}


def test_another_budget_is_refused(site_folders, shared):
    with pytest.raises(ValueError, match="epochs"):
        InProcess({"us": site_folders["us"]}, shared).train(make_settings(image_size=16, epochs=3), Schedule(2, 2))


def test_it_evaluates_at_the_threshold_of_the_validation_set(site_folders, shared, tmp_path):
    settings = make_settings(image_size=16, epochs=2)
    engine = InProcess(site_folders, shared)
    trained = engine.train(settings, Schedule(2, 1))
    from fedxray.core.parameters import save_model

    save_model(tmp_path / "model", trained.parameters)
    found = engine.evaluate({"one": (tmp_path / "model", settings)})
    model = restore(settings, trained.parameters)
    images, labels = load_site(shared).part("validation")
    threshold = choose_threshold(labels.astype(float), predict(model, images, settings.compute))
    assert found.thresholds == {"one": threshold}
    tests, truth = load_site(site_folders["us"]).part("test")
    expected = evaluate(truth.astype(float), predict(model, tests, settings.compute), threshold)
    assert found.metrics["one"]["us"] == expected
    assert set(found.metrics["one"]) == set(site_folders)


def test_it_has_the_cards(site_folders, shared):
    cards = InProcess(site_folders, shared).cards()
    assert cards["shared"] == read_json(shared / "card.json")
    assert {card["site"] for card in cards.values()} == {*site_folders, "shared"}
