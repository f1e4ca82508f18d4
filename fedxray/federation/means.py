"""Means of what the sites answer: the image-weighted one of federated averaging, and robust ones.

A robust mean withstands sites whose answers are wrong. It must see each site's answer; what algorithms see is the mean
alone. Every function takes answers {site: arrays by name}, sums in the order of the sites' names, so that the result
does not depend on which site answered first, and returns each array in its own dtype.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from fedxray.core.parameters import COUNTS, MOMENTS, Parameters
from fedxray.experiment.method import Method, left_out
from fedxray.federation.fixed import BLOCK, add, decode, encode

Answers = Mapping[str, Parameters]
Score = Callable[[Parameters], float]
STRIPE = 16 * BLOCK  # elements that a thread takes at a time, block by block
THREADS = min(4, os.cpu_count() or 1)  # numpy lets them compute at once; more would wait for the memory


def mean_of(answers: Answers, images: Mapping[str, int], method: Method, loss: Score) -> Parameters:
    """The mean that `method` names; `images` is each site's number of training images.

    `loss` gives the loss of a site's model on the server's validation set; only `screened` asks for it.
    """
    if method.mean == "median":
        return median(answers)
    if method.mean == "trimmed":
        return trimmed(answers, method.trim)
    if method.mean in ("krum", "multikrum"):
        kept = krum(answers, method.byzantine, 1 if method.mean == "krum" else len(answers) - method.byzantine)
        return weighted({site: answers[site] for site in kept}, images)
    if method.mean == "screened":
        losses = {site: loss(answers[site]) for site in sorted(answers)}
        kept = sorted(losses, key=lambda site: (losses[site], site))[: len(answers) - method.byzantine]
        return weighted({site: answers[site] for site in kept}, images)
    return weighted(answers, images)


def weighted(answers: Answers, images: Mapping[str, int]) -> Parameters:
    """The mean weighted by images: federated averaging (McMahan et al. 2017, Algorithm 1).

    Sums in fixed point, as under secure aggregation (`fixed.py`). Raises ValueError if there is no image at all, and
    UserError if a value is not finite or too large.
    """
    total, sites = sum(images[site] for site in answers), sorted(answers)
    if total <= 0:
        raise ValueError("no site has a training image")

    def mean(name: str, rows: list[np.ndarray]) -> np.ndarray:
        sums, *others = (encode({name: row}, images[site], len(sites)) for site, row in zip(sites, rows, strict=True))
        for words in others:
            add(sums, words)
        return decode(name, sums[name], total, rows[0].dtype)

    return _by_coordinate(answers, mean)


def median(answers: Answers) -> Parameters:
    """The median of each coordinate (Yin et al. 2018, arXiv:1803.01498): withstands less than half of the sites.

    Images do not count: a site that is wrong may be wrong about its number too.
    """
    return _by_coordinate(answers, _middle)


def trimmed(answers: Answers, share: float) -> Parameters:
    """The mean of each coordinate without the `share` of highest and of lowest values (Yin et al. 2018).

    Leaves out floor(share x sites) at each end. Raises ValueError if that leaves no site.
    """
    count = left_out(share, len(answers))
    if 2 * count >= len(answers):
        raise ValueError(f"{share} of {len(answers)} sites at both ends leaves none")

    def inner(name: str, rows: list[np.ndarray]) -> np.ndarray:
        return np.sort(np.stack(rows).astype(np.float64), axis=0)[count : len(rows) - count].mean(axis=0)

    return _by_coordinate(answers, inner)


def krum(answers: Answers, byzantine: int, count: int) -> list[str]:
    """The `count` sites whose answers have the smallest score, sorted by name: Krum, and multi-Krum for several.

    A site's score is the sum of the squared distances to its n - f - 2 nearest others, f = `byzantine` (Blanchard et
    al. 2017, NeurIPS). Optimizers' moments and counts are left out. Raises ValueError for n < 2 f + 3, of which they
    prove nothing.
    """
    sites, answers = sorted(answers), _weights_alone(answers)
    if len(sites) < 2 * byzantine + 3:
        raise ValueError(f"Krum against {byzantine} needs {2 * byzantine + 3} sites, and {len(sites)} answered")
    squares = np.array([[_square(answers[one], answers[other]) for other in sites] for one in sites])
    nearest = np.sort(squares, axis=1)[:, 1 : len(sites) - byzantine - 1]  # the first is the distance to itself
    order = np.argsort(nearest.sum(axis=1), kind="stable")[:count]
    return sorted(sites[number] for number in order)


def distances(answers: Answers) -> dict[str, float]:
    """How far each site's answer is from the median of all in each coordinate: the L2 norm of the difference.

    Optimizers' moments and counts are left out, as in `krum`.
    """
    answers = _weights_alone(answers)
    sites, squares = sorted(answers), np.zeros(len(answers))
    with ThreadPoolExecutor(THREADS) as pool:
        for name, parts in _flat(answers):
            blocks = _halved(parts[0].size)
            squares += _joined(parts[0].size, pool.map(partial(_apart, name, parts), blocks))
    return dict(zip(sites, np.sqrt(squares).tolist(), strict=True))


def _weights_alone(answers: Answers) -> Answers:
    """The answers without optimizers' moments and counts: a count of steps would outweigh all else in a distance."""
    return {
        site: {name: value for name, value in answer.items() if not name.startswith((MOMENTS, COUNTS))}
        for site, answer in answers.items()
    }


def _square(one: Parameters, other: Parameters) -> float:
    """The squared distance of two answers."""
    total = 0.0
    for name in one:
        apart = one[name].astype(np.float64)
        apart -= other[name]
        total += np.sum(np.square(apart, out=apart))
    return float(total)


def _apart(name: str, parts: list[np.ndarray], block: slice) -> np.ndarray:
    """The squared distance of each site's part from the median of all, in one block; float64 (sites,)."""
    rows = [part[block] for part in parts]
    middle, squares = _middle(name, rows).astype(rows[0].dtype), []
    for row in rows:
        apart = row.astype(np.float64)
        apart -= middle
        squares.append(np.sum(np.square(apart, out=apart)))
    return np.array(squares)


def _halved(size: int, start: int = 0) -> Iterator[slice]:
    """Blocks of so many coordinates, in order: halves of halves, as in the pairwise sum of numpy."""
    if size <= BLOCK:
        yield slice(start, start + size)
        return
    half = size // 16 * 8
    yield from _halved(half, start)
    yield from _halved(size - half, start + half)


def _joined(size: int, sums: Iterator[np.ndarray]) -> np.ndarray:
    """The sum of the sums of the blocks of `_halved`: to the last bit what `np.sum` makes of all at once."""
    if size <= BLOCK:
        return next(sums)
    half = size // 16 * 8
    return _joined(half, sums) + _joined(size - half, sums)


def _middle(name: str, rows: list[np.ndarray]) -> np.ndarray:
    """The median of each coordinate, NaN if any is: by odd-even transposition, of few rows the fastest way."""
    ordered, count = list(rows), len(rows)
    for turn in range(count):
        for at in range(turn % 2, count - 1, 2):
            low, high = ordered[at : at + 2]
            ordered[at : at + 2] = np.minimum(low, high), np.maximum(low, high)
    low, high = ordered[(count - 1) // 2], ordered[count // 2]
    if low is high:
        return low
    return (low.astype(np.float64) + high) / 2


def _by_coordinate(answers: Answers, function: Callable[[str, list[np.ndarray]], np.ndarray]) -> Parameters:
    """`function` of a name and the sites' rows, in the order of the sites' names, for each coordinate of all arrays.

    Computed in blocks of coordinates, each by itself, in threads. Raises ValueError if the answers differ in shape.
    """
    result, shapes = {}, {name: array.shape for name, array in answers[min(answers)].items()}
    with ThreadPoolExecutor(THREADS) as pool:
        for name, parts in _flat(answers):
            made = np.empty_like(parts[0])

            def compute(first: int, name=name, parts=parts, made=made) -> None:
                for start in range(first, min(first + STRIPE, made.size), BLOCK):
                    block = slice(start, start + BLOCK)
                    made[block] = function(name, [part[block] for part in parts])

            list(pool.map(compute, range(0, made.size, STRIPE)))
            result[name] = made.reshape(shapes[name])
    return result


def _flat(answers: Answers) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Each array's name, and its values at the sites, in the order of the sites' names, in one dimension each.

    Raises ValueError if the answers differ in shape.
    """
    sites = sorted(answers)
    for name, first in answers[sites[0]].items():
        if any(answers[site][name].shape != first.shape for site in sites):
            raise ValueError(f"{name}: the answers have other shapes than one another")
        yield name, [answers[site][name].reshape(-1) for site in sites]
