"""The nine metrics of a binary classifier: their names in code and in sentences, and their formulas.

Labels are 0 (normal) or 1 (pneumonia), probabilities are of pneumonia; both are arrays (n,). `weights` (n,) say how
often each image counts: once, or in a replicate of the bootstrap as often as it was drawn. An undefined metric is NaN.
"""

import numpy as np

DECISIONS = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1")  # these need a threshold
METRICS = ("auroc", "average_precision", *DECISIONS, "brier", "calibration_error")
LOWER_IS_BETTER = ("brier", "calibration_error")
WORDS = {"auroc": "AUROC", "f1": "F1", "brier": "Brier score"}  # the other metrics are called by their names
BINS = 10  # of the calibration error

Count = np.ndarray | np.floating  # how many images, in one case or in many


def words(metric: str) -> str:
    """How sentences, tables and figures call a metric."""
    return WORDS.get(metric, metric.replace("_", " "))


def evaluate(
    labels: np.ndarray, probabilities: np.ndarray, threshold: float, weights: np.ndarray | None = None
) -> dict[str, float]:
    """Every one of `METRICS` by name."""
    weights = np.ones(len(labels)) if weights is None else weights
    called = probabilities >= threshold
    positive, negative = np.sum(weights * labels), np.sum(weights * (1 - labels))
    true, false = np.sum(weights * labels * called), np.sum(weights * (1 - labels) * called)
    area, precision = _ranked(labels, probabilities, weights)
    values = {"auroc": area, "average_precision": precision, **decisions(true, false, positive, negative)}
    # `analysis.bootstrap.resampled` uses the same functions for all metrics but the next two. It sums by a product of
    # matrices, in another order, so a common function would change the last bits of one of the two.
    values |= {"brier": brier(labels, probabilities, weights)}
    values |= {"calibration_error": calibration_error(labels, probabilities, weights)}
    return {name: float(value) for name, value in values.items()}


def decisions(true: Count, false: Count, positive: Count, negative: Count) -> dict[str, np.ndarray]:
    """Every one of `DECISIONS` from counts, of shapes that broadcast to that of `true`.

    `positive` and `negative` count the images of each class, `true` and `false` those of them called pneumonia.
    """
    sensitivity, specificity = shares(true, positive), shares(negative - false, negative)
    return {
        "accuracy": shares(true + negative - false, positive + negative),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "f1": shares(2 * true, true + false + positive),
    }


def ranked_areas(positive: np.ndarray, called: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(AUROC, average precision), float64 (...,) each, from counts (..., k) at each distinct probability, descending.

    `called` counts the images of at least this probability, `positive` those of them that have pneumonia. AUROC is the
    area by trapezoids: the Mann-Whitney probability, ties counting half (Hanley & McNeil 1982, Radiology 143:29).
    Average precision is the sum of precision over the steps of recall, without interpolation.
    """
    negative, steps = called - positive, np.diff(positive, axis=-1, prepend=0.0)
    area = np.sum(np.diff(negative, axis=-1, prepend=0.0) * (positive - steps / 2), axis=-1)
    precision = np.divide(positive, called, out=np.zeros_like(called), where=called > 0)
    return (
        shares(area, positive[..., -1] * negative[..., -1]),
        shares(np.sum(steps * precision, axis=-1), positive[..., -1]),
    )


def auroc(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The area under the ROC curve, as in `ranked_areas`."""
    return float(_ranked(labels, probabilities, weights)[0])


def _ranked(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    negative, positive, _ = roc(labels, probabilities, weights)
    return ranked_areas(positive[1:], (positive + negative)[1:])


def roc(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(false positives, true positives, thresholds): weighted counts at each distinct probability, descending.

    Element i counts the images of probability >= thresholds[i]; the first is (0, 0, inf).
    """
    weights = np.ones(len(labels)) if weights is None else weights
    order, last = descending(probabilities)
    positive = np.cumsum((labels * weights)[order])[last]
    negative = np.cumsum(((1 - labels) * weights)[order])[last]
    return np.insert(negative, 0, 0.0), np.insert(positive, 0, 0.0), np.insert(probabilities[order][last], 0, np.inf)


def descending(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the images by descending probability, int64 (n,); the places there where each run of ties ends, int64 (k,))."""
    order = np.argsort(-probabilities, kind="stable")
    return order, np.append(np.flatnonzero(np.diff(probabilities[order])), len(order) - 1)


def accuracy(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> float:
    """The share of images on the right side of `threshold`; at the threshold itself is pneumonia."""
    return float(np.mean((probabilities >= threshold) == (labels == 1)))


def brier(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> float:
    """The mean squared error of the probability (Brier 1950)."""
    return float(np.average((probabilities - labels) ** 2, weights=weights))


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> float:
    """Expected calibration error over ten bins of equal width: mean |observed - predicted| (Naeini et al. 2015)."""
    gaps = np.bincount(bins_of(probabilities, BINS), weights * (labels - probabilities), BINS)
    return float(np.abs(gaps).sum() / weights.sum())


def choose_threshold(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The probability that maximises sensitivity + specificity (Youden 1950); the highest of several such."""
    negative, positive, thresholds = roc(labels, probabilities)
    return float(thresholds[1:][np.argmax((positive / positive[-1] - negative / negative[-1])[1:])])


def bins_of(probabilities: np.ndarray, bins: int) -> np.ndarray:
    """The number of each probability's bin, of `bins` of equal width, int64 (n,)."""
    return np.minimum((probabilities * bins).astype(int), bins - 1)


def shares(part: Count, whole: Count) -> np.ndarray:
    """part / whole, of arrays of one shape or that broadcast to that of `part`; NaN where whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)
