import numpy as np
import pytest

from fedxray.federation.algorithms.fedavg import BLOCK, fedavg


def models(count=4):
    rng = np.random.default_rng(0)
    return {f"s{n}": {"w": rng.normal(size=(3, 5)).astype(np.float32), "b": np.float32([n])} for n in range(count)}


def test_it_is_the_weighted_mean():
    given, images = models(), {"s0": 10, "s1": 200, "s2": 3, "s3": 57}
    mean = fedavg(given, images)
    for name in ("w", "b"):
        expected = np.average([given[s][name].astype(float) for s in given], axis=0, weights=list(images.values()))
        assert np.allclose(mean[name], expected, rtol=1e-6)
        assert mean[name].dtype == np.float32


def test_the_order_of_arrival_does_not_matter_to_the_last_bit():
    given, images = models(), {"s0": 10, "s1": 201, "s2": 3, "s3": 57}
    mean, other = fedavg(given, images), fedavg(dict(reversed(given.items())), images)
    assert all(np.array_equal(mean[name], other[name]) for name in mean)


def test_one_site_is_its_own_mean():
    given = models(1)
    assert np.array_equal(fedavg(given, {"s0": 7})["w"], given["s0"]["w"])


def test_no_images():
    with pytest.raises(ValueError, match="no site"):
        fedavg(models(1), {"s0": 0})


def test_blocks_give_the_bits_of_the_plain_sum():
    rng, images = np.random.default_rng(1), {"b": 3, "a": 50, "c": 7}
    shapes = {"long": (2 * BLOCK + 3,), "exact": (BLOCK,), "table": (5, 7), "empty": (0, 2), "count": ()}
    given = {
        site: {name: rng.normal(scale=9, size=shape).astype(np.float32) for name, shape in shapes.items()}
        | {"steps": rng.integers(-9, 99, 4), "turned": rng.normal(size=(3, 4)).astype(np.float32).T}
        for site in images
    }
    mean = fedavg(given, images)
    for name, first in given["a"].items():
        plain = np.zeros(first.shape)
        for site in sorted(images):
            plain = plain + given[site][name].astype(np.float64) * (images[site] / 60)
        assert mean[name].tobytes() == plain.astype(first.dtype).tobytes()
        assert (mean[name].dtype, mean[name].shape) == (first.dtype, first.shape)
