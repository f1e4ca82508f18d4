"""Arrays that travel in pieces: what arrives is what was sent, whole or not at all."""

import numpy as np
import pytest
from nvflare.app_common.decomposers.numpy_decomposers import NumpyArrayDecomposer
from nvflare.fuel.f3.streaming.download_service import ProduceRC

from fedxray.flare import packing
from fedxray.flare.packing import Joined, Pieces, pack_in_pieces
from fedxray.flare.private_api import ASSUMPTIONS

DTYPES = ("float32", "float16", "uint64", "int64", "float64", "bool")


@pytest.fixture
def arrays(monkeypatch):
    """Arrays of every kind that travels, none at the bound of a piece."""
    monkeypatch.setattr(packing, "PIECE", 100)
    rng = np.random.default_rng(1)
    many = {f"{dtype}/{size}": rng.integers(0, 99, size).astype(dtype) for dtype in DTYPES for size in (1, 7, 333)}
    odd = {"empty": (0, 3), "count": (), "table": (3, 4)}
    shaped = {name: rng.normal(size=shape).astype(np.float32) for name, shape in odd.items()}
    return many | shaped | {"turned": rng.normal(size=(30, 40)).T, "nan": np.float32([np.nan, -0.0, np.inf])}


def replies(pieces):
    """All that a receiver is given, as it comes from the wire: bytes; each is asked for twice."""
    state, given = None, []
    while True:
        code, data, following = pieces.produce(state, "us.job")
        _, again, _ = pieces.produce(state, "us.job")
        if code == ProduceRC.EOF:
            return given
        assert [bytes(part) for part in data] == [bytes(part) for part in again]
        assert sum(len(part) for part in (data if state else data[1:])) <= packing.PIECE
        given.append([bytes(part) for part in data])
        state = following


def test_what_arrives_is_what_was_sent(arrays):
    joined, given = Joined(), replies(Pieces(arrays))
    for data in given:
        assert joined.consume("", {"start": 1}, data) == {"start": 1}
    joined.download_completed("")
    assert list(joined.arrays) == list(arrays)
    for name, array in arrays.items():
        found = joined.arrays[name]
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert found.tobytes() == array.tobytes()
        assert found.flags.writeable
    assert len(given) == -(-sum(array.nbytes for array in arrays.values()) // packing.PIECE)


def test_nothing_is_sent_for_no_bytes_but_their_names(arrays):
    joined = Joined()
    (only,) = replies(Pieces({"empty": arrays["empty"]}))
    joined.consume("", {}, only)
    joined.download_completed("")
    assert joined.arrays["empty"].shape == (0, 3)


def test_what_is_not_whole_is_refused(arrays):
    joined, given = Joined(), replies(Pieces(arrays))
    for data in given[:-1]:
        joined.consume("", {}, data)
    with pytest.raises(ValueError, match="not come whole"):
        joined.download_completed("")
    joined.consume("", {}, given[-1])
    with pytest.raises(IndexError):
        joined.consume("", {}, [b"more"])


def test_pythons_objects_neither_leave_nor_enter():
    with pytest.raises(TypeError):
        Pieces({"object": np.array([{}])})
    with pytest.raises(TypeError):
        Joined().consume("", {}, [b'[["object", "|O", [1]]]', b"12345678"])


def test_nvflares_arrays_travel_so(arrays, monkeypatch):
    for name in ("to_downloadable", "download"):  # and not in the tests after this one
        monkeypatch.setattr(NumpyArrayDecomposer, name, getattr(NumpyArrayDecomposer, name))
    assumed = [one for one in ASSUMPTIONS if one.name.startswith("NumpyArrayDecomposer.")]
    pack_in_pieces()
    assert isinstance(NumpyArrayDecomposer().to_downloadable(arrays, 0, {}), Pieces)
    assert [one.fault() for one in assumed] == ["", ""]
