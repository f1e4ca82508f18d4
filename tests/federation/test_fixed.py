"""Fixed point against whole numbers of Python, which are exact."""

from fractions import Fraction

import numpy as np
import pytest

from fedxray.core.errors import UserError
from fedxray.federation.fixed import FINE, MOST_SITES, add, bits_of, decode, encode

MOMENT = "optimizer/exp_avg_sq/w"  # tiny


def values(name, seed):
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=50) * 10.0 ** rng.uniform(-16 if name == MOMENT else -9, 2, 50)
    return np.float32([*drawn, 0.0, 1.0, -1.0, 2.0**-30, -(2.0**-30)])


@pytest.mark.parametrize("name", ["w", MOMENT, "count/steps", "optimizer/step/w"])
@pytest.mark.parametrize("images", [{"a": 1}, {"a": 24, "b": 40, "c": 10}, {"a": 100_001, "b": 3, "c": 7, "d": 77}])
def test_words_are_the_exact_sum_and_its_mean_is_rounded_once(name, images):
    given = {site: values(name, number) for number, site in enumerate(images)}
    sums = None
    for site in images:
        encoded = encode({name: given[site]}, images[site], len(images))
        if sums is None:
            sums = encoded
        else:
            add(sums, encoded)
    bits, total = bits_of(name), sum(images.values())
    mean = decode(name, sums[name], total, np.dtype(np.float32))
    for number, found in enumerate(mean):
        exact = sum(Fraction(float(given[site][number])) * images[site] for site in images)
        first, second = (int(word[number]) for word in sums[name])
        first -= 2**64 * (first >= 2**63)
        stands_for = Fraction(first * 2**FINE + second, 2 ** (bits + FINE))
        assert 0 <= exact - stands_for < Fraction(len(images), 2 ** (bits + FINE))
        if exact == stands_for:
            assert found == np.float32(float(exact / total))
        else:
            assert abs(float(exact / total) - found) < 2.0 ** (-bits - FINE + 2)


def test_one_site_is_its_own_mean_to_the_bit_and_so_are_many_that_agree():
    tiny = np.float32([2.0**-40, -(2.0**-47) * 1.3, 3e-12, 0.1])
    for sites in (1, 3, 100):
        sums = encode({MOMENT: tiny}, 7, sites)
        for _ in range(sites - 1):
            add(sums, encode({MOMENT: tiny}, 7, sites))
        assert decode(MOMENT, sums[MOMENT], 7 * sites, tiny.dtype).tobytes() == tiny.tobytes()


def test_what_may_not_fit_is_refused_and_never_wraps():
    largest = np.float32([2.0**29])
    assert decode("w", encode({"w": largest}, 1, 1)["w"], 1, largest.dtype) == largest
    for value, images, sites in ((2.0**30, 1, 1), (2.0**29, 2, 1), (-(2.0**29), 1, 3), (np.nan, 1, 1), (-np.inf, 1, 1)):
        with pytest.raises(UserError, match=r"^w: .* does not fit the sum of . sites in fixed point.*training\.lr$"):
            encode({"w": np.float32([0.1, value])}, images, sites)
    encode({"count/steps": np.float32([2.0**23])}, 10**6, 3)
    with pytest.raises(ValueError, match="257 sites"):
        encode({"w": largest}, 1, MOST_SITES + 1)


@pytest.mark.parametrize("images", [{"a": 1}, {"a": 24, "b": 40, "c": 10}, {"a": 100_001, "b": 3, "c": 7, "d": 77}])
def test_changes_in_half_precision_are_one_word_and_give_the_mean_of_two(images):
    rng = np.random.default_rng(5)
    drawn = {site: rng.normal(size=200) * 10.0 ** rng.uniform(-8, 2, 200) for site in images}
    given = {site: np.float16([*values, 2000, -2000, 2.0**-24, 0]) for site, values in drawn.items()}
    sums, wide = ({"w": np.zeros((count, 204), np.uint64)} for count in (1, 2))
    for site, values in given.items():
        add(sums, encode({"w": values}, images[site], len(images)))
        add(wide, encode({"w": values.astype(np.float32)}, images[site], len(images)))
    total = sum(images.values())
    mean = decode("w", sums["w"], total, np.dtype(np.float32))
    assert mean.tobytes() == decode("w", wide["w"], total, np.dtype(np.float32)).tobytes()
    for number, found in enumerate(mean):
        exact = sum(Fraction(float(given[site][number])) * images[site] for site in images) / total
        assert found == np.float32(float(exact))
    with pytest.raises(UserError, match="fixed point"):
        encode({"w": np.float16([np.nan])}, 1, 1)


def test_answers_that_differ_in_form_are_not_added():
    one = encode({"w": np.float32([1.0])}, 1, 2)
    for other, said in (
        ({"v": one["w"]}, "other arrays"),
        ({"w": one["w"][:, :0]}, "other shapes"),
        ({"w": one["w"].astype(np.int64)}, "other shapes"),
    ):
        with pytest.raises(ValueError, match=said):
            add(dict(one), other)
