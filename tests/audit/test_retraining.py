from dataclasses import replace

import numpy as np
import pytest
from helpers.data import make_settings, make_sites
from helpers.federation import make_method, rounds_of

from fedxray.analysis.bootstrap import patient_weights
from fedxray.audit import retraining
from fedxray.audit.inversion import PLAIN
from fedxray.audit.membership import by_canaries, membership
from fedxray.audit.retraining import Audited, by_shadows, halves, mechanism_of_record, shadows_of, with_canaries
from fedxray.core.seeds import stream
from fedxray.data.site import load_site
from fedxray.experiment.privacy import Privacy
from fedxray.federation.policy import sampled
from fedxray.training.mechanism import Mechanism, mechanism_of
from fedxray.training.models import build

SETTINGS = make_settings(image_size=16, lr=0.003, weight_decay=0.0, epochs=30, schedule="constant", **PLAIN)


def by_coin(site, seed):
    """The site with labels of its train and test images by a coin, which nothing but memory helps to tell."""
    validation, coins = site.table["split"] == "validation", stream(seed).integers(0, 2, len(site.table))
    return replace(site, table=site.table.assign(label=site.table["label"].where(validation, coins)))


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """A federation of one site that has learnt 60 images by heart."""
    folder = tmp_path_factory.mktemp("site")
    data = {"us": by_coin(load_site(make_sites(folder, ("us",), 60)["us"]), 1)}
    untrained = Audited(
        build(SETTINGS), SETTINGS, make_method(), rounds_of(1, 30.0), {}, data, data["us"].part("validation"), ""
    )
    return replace(untrained, model=untrained.train(data, "target"))


def attack(found):
    weights = patient_weights(found.patients, 200, stream(1, "weights"))
    return membership(found.score, found.member, weights, 0.95)


def test_each_image_is_in_half_of_the_shadows_and_a_patients_images_are_together():
    patients = np.repeat([f"p{number}" for number in range(21)], 3)
    labels = np.repeat(np.arange(21) % 3 == 0, 3).astype(int)
    parts = halves(patients, labels, 6, stream(1, "halves"))
    assert parts.shape == (6, 63)
    assert (parts.sum(axis=0) == 3).all()
    for part in parts:
        of_patient = part.reshape(21, 3)
        assert (of_patient == of_patient[:, :1]).all()
        assert of_patient[labels.reshape(21, 3)[:, 0] == 1, 0].sum() in (3, 4)  # of 7
    assert len({part.tobytes() for part in parts}) == 6


def test_shadow_models_find_what_a_model_has_learnt_by_heart_and_nothing_in_one_that_saw_other_images(target):
    shadows = shadows_of(target, 1)
    found = by_shadows(target, shadows)
    assert found.member.sum() == 60
    assert len(found.score) == 120
    assert attack(found).low > 0.6
    others = {"us": by_coin(target.data["us"], 2)}  # the same images with other labels
    nothing = attack(by_shadows(replace(target, model=target.train(others, "another")), shadows))
    assert nothing.low < 0.5 < nothing.high


def test_the_score_is_how_sure_the_target_is_less_the_mean_of_its_shadows(target, monkeypatch):
    sure = {"target": 5.0, ("shadow", 0): 1.0, ("shadow", 1): 2.0, ("shadow", 2): 3.0, ("shadow", 3): 4.0}
    trained = []

    def train(self, data, *names):
        trained.append(len(data["us"].patients("train")))
        return names

    monkeypatch.setattr(Audited, "train", train)
    monkeypatch.setattr(Audited, "confidences", lambda self, model, site, rows: np.full(len(rows), sure[model]))
    made = replace(target, model="target")
    assert (by_shadows(made, shadows_of(made, 1)).score == 5.0 - 2.5).all()
    assert len(trained) == 4
    assert sum(trained) == 2 * 120  # each pair has every image once


def test_canaries_are_found_where_a_model_learns_by_heart(target):
    found = with_canaries(target, 1)
    assert len(found.score) == 60
    assert 20 < found.member.sum() < 40
    assert attack(found).low > 0.55
    assert by_canaries(found.score, found.member, 30, 1e-5, 0.95).epsilon > 0.1


def test_canaries_have_the_wrong_label_and_are_trained_on_as_the_coins_say(target, monkeypatch):
    seen = []
    monkeypatch.setattr(Audited, "train", lambda self, data, *names: seen.append(data["us"]) or self.model)
    found = with_canaries(target, 1)
    assert (found.score == 0).all()  # the same model: no difference
    before, after = target.data["us"].table, seen[0].table
    train, test = before["split"] == "train", before["split"] == "test"
    assert (after["split"][train] == "train").all()
    assert after["label"][train].equals(before["label"][train])
    added = before["patient"][test & (after["split"] == "train")]
    assert set(added) == set(found.patients[found.member == 1])
    assert (after["label"][added.index] == 1 - before["label"][added.index]).all()
    monkeypatch.setattr(retraining, "MOST", 11)
    assert len(with_canaries(target, 1).score) == 11


def test_of_private_training_the_canaries_prove_less_than_is_claimed(target):
    noise = mechanism_of(Privacy("sites", 1.0, 1e-5, 0.1, 2.0, 20, 15, 0, "seeded"), 60, 60, 1, "patient")
    private = replace(target, settings=replace(SETTINGS, optimizer="sgd", lr=2.0), privacy=noise.about)
    private = replace(private, schedule=sampled(noise.steps, noise.rate, 15))
    private = replace(private, model=private.train(private.data, "target"))
    found = with_canaries(private, 1)
    assert by_canaries(found.score, found.member, 30, 1e-5, 0.95).epsilon <= 1.0
    assert attack(found).low < 0.6


def test_the_mechanism_of_a_record_is_that_of_the_run():
    noise = Mechanism("sum", 2.0, 0.08, 20, 0.1, 3.0, 1e-5, 100, 300, 4, 1, "image", True)
    assert mechanism_of_record(noise.about, 100, 300, 4) == noise
