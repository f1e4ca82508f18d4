"""Whether the scores that a model gives in use are still distributed as on the test patients of its training site.

By week, so that one sees when. Nothing here needs SciPy, which hospitals do not install.
"""

import math
from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
import pandas as pd

from fedxray.core.seeds import stream
from fedxray.training.metrics import calibration_error

BINS = 10  # of the stability index
CONFIDENCE = 0.95  # of intervals of shares
CHANCE = 0.99  # of weeks without any change have a lower index than what is called chance
DRAWS = 2000
TOO_FEW, QUIET, UNCERTAIN, DRIFT = "too few", "quiet", "not shown", "drift"
COLUMNS = (
    *("week", "images", "psi", "chance", "called", "called_low", "called_high"),
    *("labelled", "calibration_error", "predicted", "observed", "observed_low", "observed_high", "verdict"),
)


def edges_of(reference: np.ndarray) -> np.ndarray:
    """The inner edges, float64 (at most 9,), of ten bins with as many scores of the reference (n,); fewer with ties."""
    return np.unique(np.quantile(reference, np.arange(1, BINS) / BINS))


def counts_of(scores: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many scores are in each bin, int64 (edges + 1,); a score at an edge is in the bin above."""
    return np.bincount(np.searchsorted(edges, scores, side="right"), minlength=len(edges) + 1)


def stability(expected: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """The population stability index of counts (..., bins), float64 (...): sum of (p - q) ln(p / q) over bins.

    Siddiqi 2006 (Credit Risk Scorecards, Wiley), which is the divergence J of Jeffreys 1946 (Proc. R. Soc. Lond. A
    186:453). Each bin has half a case more, so that an empty one gives no infinity.
    """
    p, q = (
        (counts + 0.5) / (counts.sum(axis=-1, keepdims=True) + 0.5 * counts.shape[-1]) for counts in (actual, expected)
    )
    return np.sum((p - q) * np.log(p / q), axis=-1)


def chance_of(expected: np.ndarray, actual: np.ndarray) -> float:
    """The index that one of a hundred pairs of samples of these sizes exceeds if both are of one distribution.

    By draws from the pooled shares, (bins,) each. For many cases it is the quantile of chi-squared of bins - 1 degrees
    times 1/n + 1/m (Yurdakul & Naranjo 2020, J. Risk Model Validation 14(4):89).
    """
    pooled = (expected + actual) / (expected.sum() + actual.sum())
    rng = stream(1, "drift", int(expected.sum()), int(actual.sum()))
    drawn = (rng.multinomial(int(counts.sum()), pooled, DRAWS) for counts in (expected, actual))
    return float(np.quantile(stability(*drawn), CHANCE))


def share_of(part: int, whole: int) -> tuple[float, float, float]:
    """(share, low, high) of a count, with the interval of Wilson 1927 (J. Am. Stat. Assoc. 22:209); NaN of nothing."""
    if whole == 0:
        return math.nan, math.nan, math.nan
    share, z = part / whole, NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    middle = (share + z**2 / (2 * whole)) / (1 + z**2 / whole)
    half = z * math.sqrt(share * (1 - share) / whole + z**2 / (4 * whole**2)) / (1 + z**2 / whole)
    return share, middle - half, middle + half


def by_week(
    log: pd.DataFrame,
    reference: np.ndarray,
    reference_labels: np.ndarray,
    cut: float,
    bound: float,
    least: int,
    labels: Mapping[str, int],
) -> pd.DataFrame:
    """One row for the reference (the training site's test images), and one for each week in which an image was scored.

    `log` has `day`, `image` and `score`, and an image counts once, as on its first day; `cut` is the score from
    which an image is called pneumonia; `labels` are {image: 0 or 1} of those that are known. A week of fewer than
    `least` images is not judged. Drift is an index of `bound` or more that chance does not explain; of `bound` or more
    that it may, the verdict is `not shown`. Of fewer than `least` labels there is no calibration.
    """
    first = log.sort_values("day", kind="stable").drop_duplicates("image")  # rows of a past day may come later
    weeks = ["{}-W{:02d}".format(*day.isocalendar()[:2]) for day in first["day"]]
    edges = edges_of(reference)
    expected = counts_of(reference, edges)
    rows = [{"week": "test set", **_row(reference, reference_labels, cut, 1)}]
    for week, scored in first.assign(week=weeks).groupby("week"):
        scores = scored["score"].to_numpy(float)
        known = np.array([labels.get(image, math.nan) for image in scored["image"]], float)
        row = {"week": week, **_row(scores, known, cut, least), "verdict": TOO_FEW}
        if len(scores) >= least:
            actual = counts_of(scores, edges)
            index, chance = float(stability(expected, actual)), chance_of(expected, actual)
            verdict = QUIET if index < bound else DRIFT if index > chance else UNCERTAIN
            row |= {"psi": index, "chance": chance, "verdict": verdict}
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS)).fillna({"verdict": ""})


def _row(scores: np.ndarray, labels: np.ndarray, cut: float, least: int) -> dict:
    """How many images there are, the share called pneumonia, and what their labels say; a label is NaN if unknown."""
    known = ~np.isnan(labels)
    called = share_of(int(np.count_nonzero(scores >= cut)), len(scores))
    row = {"images": len(scores), **dict(zip(("called", "called_low", "called_high"), called, strict=True))}
    row["labelled"] = int(known.sum())
    if row["labelled"] >= least:
        said, predicted = labels[known], scores[known]
        observed = share_of(int(said.sum()), len(said))
        row |= dict(zip(("observed", "observed_low", "observed_high"), observed, strict=True))
        row["predicted"] = float(predicted.mean())
        row["calibration_error"] = calibration_error(said, predicted, np.ones(len(said)))
    return row
