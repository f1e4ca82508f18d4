"""The means of what sites answer, against numpy and brute force."""

import math
from itertools import combinations

import numpy as np
import pytest
from helpers.federation import make_method, same

from fedxray.federation.fixed import BLOCK
from fedxray.federation.means import distances, krum, mean_of, median, trimmed, weighted

IMAGES = {"s0": 10, "s1": 201, "s2": 3, "s3": 57, "s4": 21, "s5": 30, "s6": 12}


def answers(count=4, seed=0):
    rng = np.random.default_rng(seed)
    return {f"s{n}": {"w": rng.normal(size=(3, 5)).astype(np.float32), "b": np.float32([n])} for n in range(count)}


def stacked(given, name):
    return np.stack([given[site][name] for site in sorted(given)]).astype(float)


def vectors(given):
    return np.stack(
        [np.concatenate([given[site][name].ravel().astype(float) for name in "wb"]) for site in sorted(given)]
    )


def test_the_weighted_mean_is_numpys():
    given = answers()
    mean = weighted(given, IMAGES)
    for name in ("w", "b"):
        expected = np.average(stacked(given, name), axis=0, weights=[IMAGES[site] for site in sorted(given)])
        assert np.allclose(mean[name], expected, rtol=1e-6)
        assert mean[name].dtype == np.float32


@pytest.mark.parametrize("name", ["weighted", "median", "trimmed", "krum", "multikrum", "screened"])
def test_the_order_of_arrival_does_not_matter_to_the_last_bit(name):
    given, method = answers(7), make_method(mean=name, byzantine=2)

    def mean(given):
        return mean_of(given, IMAGES, method, lambda answer: float(answer["w"][0, 0]))

    assert same(mean(given), mean(dict(reversed(given.items()))))


@pytest.mark.parametrize("name", ["weighted", "median", "trimmed", "screened"])
def test_one_site_is_its_own_mean(name):
    given = answers(1)
    assert same(mean_of(given, IMAGES, make_method(mean=name), lambda answer: 0.0), given["s0"])


def test_no_images():
    with pytest.raises(ValueError, match="no site"):
        weighted(answers(1), {"s0": 0})


def test_blocks_give_the_bits_of_the_exact_sum():
    rng, images = np.random.default_rng(1), {"b": 3, "a": 50, "c": 7}
    shapes = {"long": (2 * BLOCK + 3,), "exact": (BLOCK,), "table": (5, 7), "empty": (0, 2), "count": ()}
    given = {
        site: {name: rng.normal(scale=9, size=shape).astype(np.float32) for name, shape in shapes.items()}
        | {"steps": rng.integers(-9, 99, 4), "turned": rng.normal(size=(3, 4)).astype(np.float32).T}
        for site in images
    }
    mean, middle, cut = weighted(given, images), median(given), trimmed(given, 0.34)
    for name, first in given["a"].items():
        products = [(given[site][name].astype(np.float64) * images[site]).ravel().tolist() for site in images]
        plain = np.reshape([math.fsum(of_one) / 60 for of_one in zip(*products, strict=True)], first.shape)
        values = np.sort(stacked(given, name), axis=0)
        for found, expected in ((mean, plain), (middle, values[1]), (cut, values[1])):
            assert found[name].tobytes() == expected.astype(first.dtype).tobytes()
            assert (found[name].dtype, found[name].shape) == (first.dtype, first.shape)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 12, 31])
def test_the_median_is_the_middle_of_each_coordinate(count):
    given, half = answers(count), count // 2
    for name, found in median(given).items():
        values = np.sort(stacked(given, name), axis=0)
        expected = values[half] if count % 2 else (values[half - 1] + values[half]) / 2
        assert np.array_equal(found, expected.astype(np.float32))


def test_a_median_with_a_value_that_is_no_number_is_none_and_the_answers_stay_as_they_are():
    given = answers(5)
    given["s3"]["w"][1, 2] = np.nan
    before = {site: {name: value.copy() for name, value in answer.items()} for site, answer in given.items()}
    found = median(given)["w"]
    assert np.argwhere(np.isnan(found)).tolist() == [[1, 2]]
    assert all(same(given[site], before[site]) for site in given)


@pytest.mark.parametrize(("share", "count", "out"), [(0.2, 5, 1), (0.34, 7, 2), (0.1, 7, 0), (1 / 7, 7, 1)])
def test_a_trimmed_mean_leaves_out_the_ends_of_each_coordinate(share, count, out):
    given = answers(count)
    for name, found in trimmed(given, share).items():
        values = np.sort(stacked(given, name), axis=0)
        assert np.allclose(found, values[out : count - out].mean(axis=0), rtol=1e-6)
    with pytest.raises(ValueError, match=r"0\.5 of 4 sites at both ends leaves none"):
        trimmed(answers(4), 0.5)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("count", "byzantine"), [(3, 0), (5, 1), (7, 2), (7, 1)])
def test_krum_takes_the_answer_that_is_nearest_to_its_nearest_others(seed, count, byzantine):
    given = answers(count, seed)
    points = vectors(given)

    def score(site):  # the smallest sum over every choice of n - f - 2 others
        others = [number for number in range(count) if number != site]
        squares = ((points - points[site]) ** 2).sum(axis=1)
        return min(squares[list(chosen)].sum() for chosen in combinations(others, count - byzantine - 2))

    order = sorted(range(count), key=score)
    for kept in (1, count - byzantine):
        assert krum(given, byzantine, kept) == sorted(f"s{number}" for number in order[:kept])
    one = mean_of(given, IMAGES, make_method(mean="krum", byzantine=byzantine), lambda answer: 0.0)
    assert same(one, given[f"s{order[0]}"])
    several = mean_of(given, IMAGES, make_method(mean="multikrum", byzantine=byzantine), lambda answer: 0.0)
    chosen = {f"s{number}": given[f"s{number}"] for number in order[: count - byzantine]}
    assert same(several, weighted(chosen, IMAGES))


def test_krum_of_too_few_sites_is_refused():
    with pytest.raises(ValueError, match="Krum against 1 needs 5 sites, and 4 answered"):
        krum(answers(4), 1, 1)


def test_screening_leaves_out_the_sites_of_the_highest_loss():
    given, losses = answers(4), {0.0: 0.3, 1.0: 0.9, 2.0: 0.1, 3.0: 0.5}
    found = mean_of(
        given, IMAGES, make_method(mean="screened", byzantine=2), lambda answer: losses[float(answer["b"][0])]
    )
    assert same(found, weighted({site: given[site] for site in ("s0", "s2")}, IMAGES))


@pytest.mark.parametrize("name", ["median", "trimmed", "krum", "multikrum", "screened"])
def test_a_robust_mean_withstands_a_site_that_sends_anything(name):
    given, method = answers(5), make_method(mean=name, byzantine=1)
    wild = given | {"s1": {key: value * 1e5 for key, value in given["s1"].items()}}
    honest = np.stack([vectors(given)[number] for number in (0, 2, 3, 4)])
    mean = mean_of(wild, IMAGES, method, lambda answer: float(np.abs(answer["w"]).max()))
    found = np.concatenate([mean[key].ravel() for key in "wb"])
    assert (found >= honest.min(axis=0) - 1e-6).all()
    assert (found <= honest.max(axis=0) + 1e-6).all()
    assert np.abs(vectors({"x": weighted(wild, IMAGES)})).max() > 1e4
    assert max(distances(wild), key=distances(wild).get) == "s1"


def test_a_distance_is_from_the_median():
    given = answers(5)
    middle = np.median(vectors(given), axis=0)
    for number, value in enumerate(distances(given).values()):
        assert value == pytest.approx(np.linalg.norm(vectors(given)[number] - middle), rel=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_blocks_give_the_bits_of_the_distance_of_whole_arrays(count):
    """By numpy alone, which sums halves of halves; a table of results has these bits."""
    rng, shapes = np.random.default_rng(2), [(3 * BLOCK + 5,), (BLOCK + 1,), (301, 403), (7, 5, 3, 3), (1,), (0, 2), ()]
    given = {
        f"s{site}": {str(shape): rng.normal(size=shape).astype(np.float32) for shape in shapes} for site in range(count)
    }
    given["s0"][str(shapes[0])][9] = np.inf if count == 4 else -0.0
    middle = {name: np.median(stacked(given, name), axis=0).astype(np.float32) for name in given["s0"]}
    expected = {
        site: float(np.sqrt(sum(np.sum(np.square(answer[name].astype(float) - middle[name])) for name in answer)))
        for site, answer in given.items()
    }
    assert distances(given) == expected


def test_the_counts_of_steps_of_optimizers_are_no_distance():
    """Sites of unequal sizes send averaged moments of unequal counts, which would outweigh every weight."""
    given = answers(5)
    far = sorted(given)[-1]
    given[far]["w"] = given[far]["w"] + 100
    counted = {
        site: answer | dict.fromkeys(("optimizer/step/w", "count/steps"), np.float32([(site != far) * 1e4 * number]))
        for number, (site, answer) in enumerate(sorted(given.items()))
    }
    assert distances(counted) == distances(given)
    assert krum(counted, 1, 1) == krum(given, 1, 1) != [far]
