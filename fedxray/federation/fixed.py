"""Fixed point: answers times images as whole numbers, whose sum is exact, whatever the order, with masks or without.

A value x = n w (n images, w of the answer) is two words, uint64 modulo 2^64. The first is floor(x 2^f), in two's
complement, with f = 32 fraction bits (of counts f = 16, so that they may be larger). The second is what is left, in
FINE further bits, so that neither tiny second moments of an optimizer nor a small federation lose a bit of float32.
A value of float16 is a multiple of 2^-24, so that one word is enough, exactly (f = 24).
Words are added each by itself: a sum of up to 2^(64 - FINE) second words needs no carry.
"""

from collections.abc import Mapping

import numpy as np

from fedxray.core.errors import UserError
from fedxray.core.parameters import COUNTS, MOMENTS, Parameters

FINE = 56  # bits of a second word
MOST_SITES = 2 ** (64 - FINE)  # whose second words may be added
BITS, BITS_OF_COUNTS, BITS_OF_HALF = 32, 16, 24  # fraction bits of a first word
BLOCK = 32_768  # elements at a time: their words stay in the cache


def bits_of(name: str) -> int:
    """The fraction bits of the first word of an array of this name, which all sites must take alike."""
    return BITS_OF_COUNTS if name.startswith((COUNTS, f"{MOMENTS}step/")) else BITS


def encode(arrays: Mapping[str, np.ndarray], images: int, sites: int) -> Parameters:
    """The two words of each value times `images`, uint64 (2, *shape), by name, for a sum over so many sites.

    Of float16 it is one word, (1, *shape), and exact; else exact but for what is below 2^-(f + FINE), which is cut off
    downwards. Raises UserError for a value that is not finite, or so large that the sum of all sites might not fit;
    ValueError for too many sites.
    """
    if not 0 < sites <= MOST_SITES:
        raise ValueError(f"{sites} sites; fixed point adds up to {MOST_SITES}")
    return {name: _encode(name, array, images, sites) for name, array in arrays.items()}


def add(sums: Parameters, further: Mapping[str, np.ndarray]) -> None:
    """Add what another site has encoded to `sums`, modulo 2^64, in place.

    Raises ValueError if names, shapes or dtypes are others.
    """
    if sums.keys() != further.keys():
        raise ValueError("the answers have other arrays than one another")
    for name, words in sums.items():
        if words.shape != further[name].shape or not words.dtype == further[name].dtype == np.uint64:
            raise ValueError(f"{name}: the answers have other shapes than one another")
        words += further[name]


def decode(name: str, words: np.ndarray, divisor: float, dtype: np.dtype) -> np.ndarray:
    """The sum that words (2 or 1, *shape) stand for, over `divisor`: computed in float64, returned in `dtype`."""
    result = np.empty(words.shape[1:], dtype)
    flat, first, *others = result.reshape(-1), *words.reshape(len(words), -1)
    if not others:
        flat[:] = first.view(np.int64) * 2.0**-BITS_OF_HALF / divisor
        return result
    (second,) = others
    for start in range(0, flat.size, BLOCK):
        block = slice(start, start + BLOCK)
        high = (first[block] + (second[block] >> np.uint64(FINE))).view(np.int64)
        low = (second[block] & np.uint64(2**FINE - 1)).view(np.int64)
        # The sum is high 2^FINE + low; of a negative one the magnitude is taken, so that no bit cancels. Without
        # branches: the signs of weights are as random as a processor's guess of them.
        sign = high >> 63
        size = (np.abs(high) - ((sign < 0) & (low > 0))) * 2.0**FINE
        size += ((low ^ sign) - sign) & (2**FINE - 1)
        size *= 2.0 ** (-bits_of(name) - FINE)
        flat[block] = np.copysign(size, high) / divisor
    return result


def _encode(name: str, array: np.ndarray, images: int, sites: int) -> np.ndarray:
    count, bits = (1, BITS_OF_HALF) if array.dtype == np.float16 else (2, bits_of(name))
    words = np.empty((count, array.size), np.int64)
    flat, bound = array.reshape(-1), 2.0**62 / sites  # so that a sum fits, its carries too
    for start in range(0, flat.size, BLOCK):
        block = slice(start, start + BLOCK)
        scaled = np.multiply(flat[block], images * 2.0**bits, dtype=np.float64)  # exact: 24 bits times an integer
        if not (scaled.max() < bound and scaled.min() > -bound):  # so written that NaN is outside, too
            raise UserError(
                f"{name}: {flat[block][np.abs(scaled).argmax()]:g} times {images} images does not fit the sum of "
                f"{sites} sites in fixed point: training has diverged; take a smaller training.lr"
            )
        floor = np.floor(scaled)
        words[0, block] = floor
        if count == 2:
            scaled -= floor
            scaled *= 2.0**FINE
            words[1, block] = scaled
    return words.view(np.uint64).reshape(count, *array.shape)
