import numpy as np
from helpers.data import make_settings

from fedxray.audit import power
from fedxray.audit.membership import by_canaries, by_loss
from fedxray.audit.power import memorise, phantoms
from fedxray.core.seeds import stream


def attack(found):
    weights = stream(1, "weights").multinomial(len(found.loss), np.full(len(found.loss), 1 / len(found.loss)), 200)
    return by_loss(found.loss, found.included, weights, 0.95)


def test_phantoms_are_one_image_of_each_patient_and_the_same_each_time():
    images, labels = phantoms(6, 32, 1)
    assert images.shape == (6, 32, 32)
    assert images.dtype == np.uint8
    assert set(labels) == {0.0, 1.0}
    assert len(np.unique(images.reshape(6, -1), axis=0)) == 6
    assert np.array_equal(images[:2], phantoms(2, 32, 1)[0])


def test_the_attacks_find_something_in_a_model_that_knows_its_images_by_heart():
    found = memorise(make_settings(), 1, 100, 60)
    assert attack(found).low > 0.6
    bound = by_canaries(-found.loss, found.included, 50, 0.0, 0.95)
    assert bound.correct > 35
    assert bound.epsilon > 0.5


def test_they_find_nothing_in_a_model_that_was_shown_other_images():
    found = memorise(make_settings(), 1, 100, 20)
    coins = stream(7, "other coins").integers(0, 2, 100)
    other = power.Memorised(found.loss, coins)
    assert attack(other).low < 0.5
    assert by_canaries(-found.loss, coins, 50, 0.0, 0.95).epsilon < 0.2
