"""What Gaussian noise on sampled sums costs in privacy: an upper bound on epsilon, for a patient added or removed.

In each step every patient is drawn with the probability `rate` (Poisson sampling), what a patient adds has
a norm of at most 1, and the sum gets Gaussian noise of the deviation `sigma` in each coordinate. The privacy loss of
one step is put on a grid so that the hockey-stick divergence is exact at the grid's points and only too large between
them (Doroshenko et al. 2022, "Connect the dots", arXiv:2207.04380). Steps are composed by the fast Fourier transform
(Koskela et al. 2020, arXiv:1906.03049). What the grid and the transform leave out is added to delta.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from fedxray.core.errors import UserError

NAME = "privacy loss distribution, FFT, upper bound"
GRID = 1e-3  # of the privacy loss, in nats; coarser where the window would have over `POINTS` points
POINTS = 2**20
TAIL = 1e-10  # the mass of composed losses beyond the window, with the rounding errors of the transform
REACH = 9.0  # deviations beyond which one step's noise counts as lost; their mass is below 2e-19
SMALLEST, LARGEST = 0.2, 1000.0  # of sigma, as `sigma_for` searches

# One step, of a removed or an added patient: masses float64 (n,), the first one's place on the grid, the lost mass.
Side = tuple[np.ndarray, int, float]

_erfc = np.frompyfunc(math.erfc, 1, 1)


class Steps(NamedTuple):
    """Steps of one kind."""

    sigma: float  # deviation of the noise, as a multiple of the most that a patient adds; at least 0.2
    rate: float  # at which each patient is drawn in a step; in (0, 1]
    steps: int  # at least 1


def epsilon(sigma: float, rate: float, steps: int, delta: float) -> float:
    """An upper bound on epsilon at `delta`, whether the patient is added or removed; see `composed`."""
    return composed((Steps(sigma, rate, steps),), delta)


@cache
def composed(parts: tuple[Steps, ...], delta: float) -> float:
    """An upper bound on epsilon at `delta` of all these steps together, whether the patient is added or removed.

    What a step computes may depend on what came of those before, but its numbers in `parts` may not. Raises ValueError
    for numbers of which there is none: a part or more, of the bounds in `Steps`, and 1e-9 <= `delta` < 1 are needed.
    """
    for sigma, rate, steps in parts:
        if not sigma >= SMALLEST or not 0 < rate <= 1 or steps < 1:  # so written that NaN is none
            raise ValueError(f"no epsilon for sigma {sigma}, rate {rate} and {steps} steps")
    if not parts or not 10 * TAIL <= delta < 1:
        raise ValueError(f"no epsilon for {len(parts)} kinds of steps and delta {delta}")
    counts, grid = [part.steps for part in parts], GRID
    while True:
        sides = list(zip(*(_losses(part.sigma, part.rate, grid) for part in parts), strict=True))
        windows = [_window(side, counts, grid) for side in sides]
        if max(last - first for first, last in windows) <= POINTS:
            break
        grid *= 2
    found = []
    for side, (first, last) in zip(sides, windows, strict=True):
        masses = _composed(side, counts, first, last)
        losses = (first + np.arange(len(masses))) * grid
        kept = sum(steps * math.log1p(-lost) for (_, _, lost), steps in zip(side, counts, strict=True))
        found.append(_epsilon(masses, losses, TAIL - math.expm1(kept), delta))
    return max(found)


@cache
def sigma_for(wanted: float, rate: float, steps: int, delta: float) -> float:
    """The least noise, rounded up to four digits after the point, whose `epsilon` is at most `wanted`.

    Raises UserError if a deviation of 1000 is too little.
    """
    if epsilon(LARGEST, rate, steps, delta) > wanted:
        raise UserError(f"privacy.epsilon: {wanted:g} needs a noise of over {LARGEST:g} times the clip; take more")
    low, high = round(SMALLEST * 10_000), 2 * round(SMALLEST * 10_000)
    if epsilon(low / 10_000, rate, steps, delta) <= wanted:
        return low / 10_000
    while epsilon(high / 10_000, rate, steps, delta) > wanted:
        low, high = high, min(2 * high, round(LARGEST * 10_000))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if epsilon(middle / 10_000, rate, steps, delta) <= wanted else (middle, high)
    return high / 10_000


def _losses(sigma: float, rate: float, grid: float) -> list[Side]:
    """One step, of a removed and of an added patient.

    With the patient the noisy sum is x of the mixture (1 - rate) N(0, sigma²) + rate N(1, sigma²), without it is of
    N(0, sigma²); the loss log(mixture / normal) = log(1 - rate + rate exp((2x - 1) / (2 sigma²))) grows with x. Lost
    mass is of losses that are too large for the grid, and counts as infinite.
    """

    def loss(x: float) -> float:
        exponent = (2 * x - 1) / (2 * sigma**2)
        return math.log1p(rate * math.expm1(exponent)) if exponent < 500 else math.log(rate) + exponent

    first, last = math.floor(loss(-REACH * sigma) / grid), math.ceil(loss(1 + REACH * sigma) / grid)
    edges = np.arange(first, last + 1) * grid
    with np.errstate(divide="ignore", invalid="ignore"):
        x = sigma**2 * np.log1p(np.expm1(edges) / rate) + 0.5
    x = np.where(np.isnan(x), -np.inf, x)
    plain, moved = _normal(x / sigma), _normal((x - 1) / sigma)
    inside = (1 - rate) * plain[1] + rate * moved[1]
    removed = _on_grid(inside, plain[1], edges)
    removed[0] += (1 - rate) * plain[0] + rate * moved[0]
    added = _on_grid(plain[1][::-1], inside[::-1], -edges[::-1])
    added[0] += plain[2]
    return [(removed, first, (1 - rate) * plain[2] + rate * moved[2]), (added, -last, plain[0])]


def _normal(edges: np.ndarray) -> tuple[float, np.ndarray, float]:
    """The standard normal's mass below, between and above ascending edges, each with the small tail's precision."""
    below, above = (0.5 * np.asarray(_erfc(sign * edges / math.sqrt(2)), np.float64) for sign in (-1, 1))
    return float(below[0]), np.where(edges[1:] < 0, np.diff(below), -np.diff(above)), float(above[-1])


def _on_grid(mass: np.ndarray, other: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Masses at the edges for `mass` (n,) between n + 1 edges of the loss log(mass / other), so that both are kept."""
    share = (1 - np.exp(edges[:-1]) * np.divide(other, mass, out=np.zeros_like(mass), where=mass > 0)) / -math.expm1(
        edges[0] - edges[1]
    )
    up = mass * np.where(mass > 0, np.clip(share, 0, 1), 0)
    masses = np.zeros(len(edges))
    masses[:-1] += mass - up
    masses[1:] += up
    return masses


def _window(side: Sequence[Side], counts: Sequence[int], grid: float) -> tuple[int, int]:
    """Places on the grid beyond which the sum of so many losses has at most `TAIL` of mass at each end (Chernoff)."""
    powers, bounds = np.geomspace(1e-3, 1e3, 61), {}
    totals, least, most = {1: np.zeros(len(powers)), -1: np.zeros(len(powers))}, 0.0, 0.0
    for (masses, first, _), steps in zip(side, counts, strict=True):
        losses = (first + np.arange(len(masses))) * grid
        with np.errstate(divide="ignore"):
            logs = np.log(masses)
        for sign, total in totals.items():
            total += steps * np.array([_log_sum(logs + sign * power * losses) for power in powers])
        least, most = least + steps * losses[0], most + steps * losses[-1]
    for sign, total in totals.items():
        bounds[sign] = (total - math.log(TAIL)) / (sign * powers)
    low, high = max(bounds[-1].max(), least), min(bounds[1].min(), most)
    return math.floor(low / grid), math.ceil(high / grid)


def _log_sum(values: np.ndarray) -> float:
    """The logarithm of a sum of exponentials."""
    largest = values.max()
    return float(largest + np.log(np.exp(values - largest).sum()))


def _composed(side: Sequence[Side], counts: Sequence[int], first: int, last: int) -> np.ndarray:
    """The masses, from place `first` of the grid on, of the sum of so many losses of each part."""
    length, start = 1 << (last - first).bit_length(), 0
    transformed = np.ones(length // 2 + 1, np.complex128)
    for (masses, place, _), steps in zip(side, counts, strict=True):
        folded = np.bincount(np.arange(len(masses)) % length, weights=masses, minlength=length)
        transformed *= np.fft.rfft(folded) ** steps
        start += steps * place
    return np.clip(np.roll(np.fft.irfft(transformed, length), start - first), 0, None)


def _epsilon(masses: np.ndarray, losses: np.ndarray, lost: float, delta: float) -> float:
    """The least epsilon of at least 0 at which the losses' hockey-stick divergence is at most `delta`."""

    def divergence(value: float) -> float:
        above = np.searchsorted(losses, value, "right")
        return lost + float(masses[above:] @ -np.expm1(value - losses[above:]))

    low, high = 0.0, float(losses[-1])
    if divergence(low) <= delta:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if divergence(middle) <= delta else (middle, high)
    return high
