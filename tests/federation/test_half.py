"""Half precision on the way: what is rounded, how far, what is not, and that small changes are not lost."""

import struct
from fractions import Fraction

import numpy as np
import pytest

from fedxray.core.errors import UserError
from fedxray.federation.half import added, changes, difference, halved, whole

MODEL = {"w": np.array([0.1, -3.0, 1e-6, 65504.0, 0.0], np.float32), "b": np.array([2.0**-14], np.float32)}
BESIDE = {"optimizer/second/w": np.array([1e-12], np.float32), "count/steps": np.array([4097.0], np.float32)}


def test_weights_are_rounded_and_what_travels_beside_them_is_not():
    sent = halved(MODEL | BESIDE, MODEL)
    assert {name: array.dtype for name, array in sent.items()} == {
        "w": np.float16,
        "b": np.float16,
        "optimizer/second/w": np.float32,
        "count/steps": np.float32,
    }
    got = whole(sent)
    assert all(array.dtype == np.float32 for array in got.values())
    assert all(got[name] is BESIDE[name] for name in BESIDE)


def test_a_value_is_off_by_a_4096th_of_it_at_most_or_by_less_than_anything_that_counts():
    values = np.random.default_rng(1).normal(size=5000).astype(np.float32) * np.float32(10) ** np.arange(-9, 1)[:, None]
    got = whole(halved({"w": values}, ["w"]))["w"]
    for value, rounded in zip(values.flat[::97], got.flat[::97], strict=True):
        off = abs(Fraction(float(value)) - Fraction(float(rounded)))
        assert off <= max(Fraction(1, 2**25), abs(Fraction(float(value))) / 4096)


def test_every_value_of_half_precision_and_what_lies_between_is_rounded_as_python_rounds_it():
    """All finite ones, subnormals included, the middles between neighbours (ties), and the float32 beside each."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middles = (halves[:-1] + halves[1:]) / 2  # exact
    beside = [np.nextafter(middles, np.float32(end)) for end in (0, 65504)]
    values = np.concatenate([halves, middles, *beside])
    values = np.concatenate([values, -values])
    expected = b"".join(struct.pack("<e", value) for value in values.tolist())
    found = halved({"w": values}, ["w"])["w"]
    assert found.astype("<f2").tobytes() == expected
    assert whole({"w": found})["w"].tolist() == [value for (value,) in struct.iter_unpack("<e", expected)]
    assert halved({"w": np.float32(0.1)}, ["w"])["w"] == np.float16(0.1)  # a difference of two numbers is no array


def test_a_change_below_the_spacing_of_half_precision_reaches_the_server():
    sent = halved(MODEL | BESIDE, MODEL)
    got = whole(sent)
    small = np.float32(2.0**-16)  # at 0.1 the spacing is 2^-14
    answer = got | {"w": got["w"] + np.array([small, 0, 0, 0, 0], np.float32), "change/w": np.ones(1, np.float32)}
    assert np.float16(got["w"][0] + small) == sent["w"][0]  # it would be lost
    travelled = difference(answer, sent, got)
    assert [travelled[name].dtype for name in ("w", "change/w", "optimizer/second/w")] == [
        np.float16,
        np.float32,
        np.float32,
    ]
    assert changes({"a": travelled, "b": travelled}) == ["b", "w"]
    arrived = added(whole(travelled), ["b", "w"], MODEL)
    assert arrived["w"].tolist() == [MODEL["w"][0] + small, *MODEL["w"][1:].tolist()]  # what did not change is exact
    assert arrived["w"].dtype == np.float32
    assert arrived["change/w"] is answer["change/w"]


def test_without_half_precision_nothing_is_touched():
    got = whole(MODEL)
    travelled = difference(MODEL, MODEL, got)
    assert changes({"a": travelled}) == []
    for arrays in (got, travelled, added(travelled, [], MODEL)):
        assert all(arrays[name] is MODEL[name] for name in MODEL)


@pytest.mark.parametrize("value", [65505.0, -1e6, np.nan, np.inf])
def test_a_value_that_does_not_fit_ends_the_run_in_one_line(value):
    with pytest.raises(UserError, match=r"^w: a value .*half precision.*smaller training\.lr.*float32$"):
        halved({"w": np.array([1.0, value], np.float32)}, ["w"])
