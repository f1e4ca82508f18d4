import numpy as np
import pytest
from helpers.data import make_settings

from fedxray.audit.membership import by_canaries, membership
from fedxray.audit.power import memorise, phantoms
from fedxray.core.seeds import stream


@pytest.fixture(scope="module")
def found():
    return memorise(make_settings(), 1, 100, 40)


def attack(score, member):
    weights = stream(1, "weights").multinomial(len(score), np.full(len(score), 1 / len(score)), 200)
    return membership(score, member, weights, 0.95)


def test_phantoms_are_one_image_of_each_patient_and_the_same_each_time():
    images, labels = phantoms(6, 32, 1)
    assert images.shape == (6, 32, 32)
    assert images.dtype == np.uint8
    assert set(labels) == {0.0, 1.0}
    assert len(np.unique(images.reshape(6, -1), axis=0)) == 6
    assert np.array_equal(images[:2], phantoms(2, 32, 1)[0])


def test_the_attacks_find_something_in_a_model_that_knows_its_images_by_heart(found):
    assert attack(found.sure, found.included).low > 0.6
    assert attack(found.sure - found.shadows, found.included).low > 0.6
    bound = by_canaries(found.sure, found.included, 50, 0.0, 0.95)
    assert bound.correct > 35
    assert bound.epsilon > 0.5


def test_they_find_nothing_in_a_model_of_which_other_coins_are_asked(found):
    coins = stream(7, "other coins").integers(0, 2, 100)
    assert attack(found.sure, coins).low < 0.5
    assert attack(found.sure - found.shadows, coins).low < 0.5
    assert by_canaries(found.sure, coins, 50, 0.0, 0.95).epsilon < 0.2
