"""Named random streams: every random draw comes from a seed of the config and the name of what is drawn."""

import hashlib

import numpy as np


def seed_of(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream `names` under `seed`; streams of different names are independent (SHA-256)."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """The NumPy generator of the stream `names` under `seed`, for example `stream(1, "cohort", "split")`."""
    return np.random.Generator(np.random.PCG64(seed_of(seed, *names)))
