"""How arrays travel between a server and its sites: their plain bytes, in pieces that overlap with the next request.

NVFlare packs each array into a zip archive, whole, and unpacks it when it is there, whole; for a large array that takes
as long as the way itself. Its way of asking for an object piece by piece, and of asking again, is what carries these.
"""

import json
from collections.abc import Mapping
from functools import wraps
from typing import Any

import numpy as np
from nvflare.app_common.decomposers.numpy_decomposers import NumpyArrayDecomposer
from nvflare.fuel.f3.streaming.download_service import Consumer, Downloadable, ProduceRC, download_object

from fedxray.core.parameters import Parameters

PIECE = 16 * 2**20  # bytes; from 10 MiB on NVFlare sends a buffer without a copy of its own


class Pieces(Downloadable):
    """Arrays, as a receiver asks for them: first a description, then their bytes in order.

    What a receiver asks for depends on its `state` alone, so that it may ask twice.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        super().__init__(arrays)
        plain = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
        about = [[name, array.dtype.str, array.shape] for name, array in plain.items()]
        self.header = json.dumps(about).encode()
        self.views = [_bytes_of(array) for array in plain.values()]
        self.ends = np.cumsum([view.size for view in self.views], dtype=np.int64)

    def produce(self, state: dict | None, requester: str) -> tuple[str, list | None, dict]:
        """What follows on `state`, with the state after it; NVFlare gives None at first."""
        start = state["start"] if state else 0
        stop = start + PIECE
        data: list = [] if state else [self.header]
        for view, end in zip(self.views, self.ends.tolist(), strict=True):
            begin = end - view.size
            if begin < stop and end > start:
                data.append(view[max(0, start - begin) : stop - begin].data)
        return (ProduceRC.OK, data, {"start": stop}) if data else (ProduceRC.EOF, None, {})


class Joined(Consumer):
    """The same arrays at a receiver, in `arrays` when all of them are there; else `error` says why not."""

    supports_pipelining = True

    def __init__(self):
        super().__init__()
        self.arrays: Parameters = {}
        self.room: list[np.ndarray] = []  # the bytes of arrays that have not come yet
        self.error = ""

    def consume(self, ref_id: str, state: dict, data: list) -> dict:
        """Take what `Pieces.produce` has returned; returns its state."""
        if not self.arrays:
            header, *data = data
            self.arrays = {name: np.empty(shape, np.dtype(dtype)) for name, dtype, shape in json.loads(header)}
            self.room = [_bytes_of(array) for array in self.arrays.values() if array.size]
        for piece in data:
            rest = np.frombuffer(piece, np.uint8)
            while rest.size:
                room = self.room.pop(0)
                count = min(room.size, rest.size)
                room[:count], rest = rest[:count], rest[count:]
                if count < room.size:
                    self.room.insert(0, room[count:])
        return state

    def download_completed(self, ref_id: str) -> None:
        """Called at the end; raises ValueError if bytes are missing."""
        if self.room:
            raise ValueError("an array has not come whole")

    def download_failed(self, ref_id: str, reason: str) -> None:
        """Called in place of that if the download failed."""
        self.error = reason


def _bytes_of(array: np.ndarray) -> np.ndarray:
    """The bytes of a contiguous array, uint8 (nbytes,), without a copy. Raises TypeError for Python's objects."""
    return array.reshape(-1).view(np.uint8)


@wraps(NumpyArrayDecomposer.to_downloadable)
def _to_pieces(self: Any, items: dict, max_chunk_size: int, fobs_ctx: dict) -> Pieces:
    return Pieces(items)


@wraps(NumpyArrayDecomposer.download)
def _download(
    self: Any, from_fqcn: str, ref_id: str, per_request_timeout: float, cell: Any, fobs_ctx: Any = None, **options: Any
) -> tuple[str, Parameters]:
    joined = Joined()
    download_object(from_fqcn, ref_id, per_request_timeout, cell, joined, **options)
    return joined.error, joined.arrays


def pack_in_pieces() -> None:
    """Let NVFlare's arrays travel so, in this process: what a server's and a site's process of a job call first.

    The two functions still show the parameters of those that they replace, by which NVFlare is checked (private_api).
    """
    NumpyArrayDecomposer.to_downloadable, NumpyArrayDecomposer.download = _to_pieces, _download
