"""Metrics of a binary classifier, and their intervals by bootstrap over patients.

Labels are 0 (normal) or 1 (pneumonia), probabilities are of pneumonia; both are arrays (n,). Metrics take `weights`
(n,), how often each image counts: a bootstrap replicate is a vector of weights. An undefined metric is NaN.
"""

import numpy as np

METRICS = (
    *("auroc", "average_precision", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1"),
    *("brier", "calibration_error"),
)
BINS = 10


def roc(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> tuple:
    """(false positives, true positives, thresholds): weighted counts at each distinct probability, descending.

    Element i counts the images of probability >= thresholds[i]; the first is (0, 0, inf).
    """
    weights = np.ones(len(labels)) if weights is None else weights
    order = np.argsort(-probabilities, kind="stable")
    ordered = probabilities[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # the last image of each run of ties
    positive = np.cumsum((labels * weights)[order])[last]
    negative = np.cumsum(((1 - labels) * weights)[order])[last]
    return np.insert(negative, 0, 0.0), np.insert(positive, 0, 0.0), np.insert(ordered[last], 0, np.inf)


def auroc(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Area under the ROC curve by trapezoids: the Mann-Whitney probability, ties counting half (Hanley 1982)."""
    negative, positive, _ = roc(labels, probabilities, weights)
    return _ratio(np.trapezoid(positive, negative), positive[-1] * negative[-1])


def average_precision(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The sum of precision over the steps of recall, without interpolation."""
    negative, positive, _ = roc(labels, probabilities, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.nan_to_num(positive[1:] / (positive + negative)[1:])
    return _ratio(np.sum(np.diff(positive) * precision), positive[-1])


def accuracy(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> float:
    """The share of images on the right side of `threshold`; at the threshold itself is pneumonia."""
    return float(np.mean((probabilities >= threshold) == (labels == 1)))


def decisions(labels: np.ndarray, probabilities: np.ndarray, threshold: float, weights: np.ndarray) -> dict:
    """accuracy, balanced_accuracy, sensitivity, specificity and f1 at `threshold`."""
    called = probabilities >= threshold
    positive, negative = np.sum(weights * labels), np.sum(weights * (1 - labels))
    true, false = np.sum(weights * labels * called), np.sum(weights * (1 - labels) * called)
    sensitivity, specificity = _ratio(true, positive), _ratio(negative - false, negative)
    return {
        "accuracy": _ratio(true + negative - false, positive + negative),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "f1": _ratio(2 * true, true + false + positive),
    }


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


def evaluate(
    labels: np.ndarray, probabilities: np.ndarray, threshold: float, weights: np.ndarray | None = None
) -> dict:
    """Every one of `METRICS`, as floats, by name."""
    weights = np.ones(len(labels)) if weights is None else weights
    return {
        "auroc": auroc(labels, probabilities, weights),
        "average_precision": average_precision(labels, probabilities, weights),
        **decisions(labels, probabilities, threshold, weights),
        "brier": brier(labels, probabilities, weights),
        "calibration_error": calibration_error(labels, probabilities, weights),
    }


def resampled(labels: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray, weights: np.ndarray) -> dict:
    """`evaluate` of each row of probabilities (models, n) at its threshold, under each row of weights (replicates, n).

    float64 (1 + replicates, models), by name; row 0 is unweighted. Sums over images are products of matrices.
    """
    labels, weights = labels.astype(np.float64), np.vstack([np.ones(len(labels)), weights])
    total, positive = weights.sum(axis=1, keepdims=True), (weights @ labels)[:, None]
    called = probabilities >= thresholds[:, None]
    true, false = weights @ (labels * called).T, weights @ ((1 - labels) * called).T
    negative = total - positive
    sensitivity, specificity = shares(true, positive), shares(negative - false, negative)
    ranked = [_ranked(labels, row, weights) for row in probabilities]
    return {
        "auroc": np.stack([area for area, _ in ranked], axis=1),
        "average_precision": np.stack([precision for _, precision in ranked], axis=1),
        "accuracy": (true + negative - false) / total,
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "f1": shares(2 * true, true + false + positive),
        "brier": weights @ ((probabilities - labels) ** 2).T / total,
        "calibration_error": np.stack([_gaps(labels, row, weights) for row in probabilities], axis=1) / total,
    }


def _ranked(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`auroc` and `average_precision` under each of weights (replicates, n), float64 (replicates,) each."""
    order = np.argsort(-probabilities, kind="stable")
    last = np.append(np.flatnonzero(np.diff(probabilities[order])), len(order) - 1)  # the last of each run of ties
    drawn = weights[:, order]
    called = np.cumsum(drawn, axis=1)[:, last]
    positive = np.cumsum(drawn * labels[order], axis=1)[:, last]
    negative, steps = called - positive, np.diff(positive, axis=1, prepend=0.0)
    area = np.sum(np.diff(negative, axis=1, prepend=0.0) * (positive - steps / 2), axis=1)
    precision = np.divide(positive, called, out=np.zeros_like(called), where=called > 0)
    return (
        shares(area, positive[:, -1] * negative[:, -1]),
        shares(np.sum(steps * precision, axis=1), positive[:, -1]),
    )


def _gaps(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The sum over bins of |observed - predicted| of weights (replicates, n), float64 (replicates,)."""
    gaps = np.zeros((len(labels), BINS))
    gaps[np.arange(len(labels)), bins_of(probabilities, BINS)] = labels - probabilities
    return np.abs(weights @ gaps).sum(axis=1)


def bins_of(probabilities: np.ndarray, bins: int) -> np.ndarray:
    """The number of each probability's bin, of `bins` of equal width, int64 (n,)."""
    return np.minimum((probabilities * bins).astype(int), bins - 1)


def shares(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, of arrays of one shape or that broadcast; NaN where whole is 0."""
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def patient_weights(patients: np.ndarray, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """How often each image counts in each replicate, float64 (replicates, n): whole patients, drawn with replacement.

    The cluster bootstrap (Davison & Hinkley 1997, 3.8): a patient's images are not independent.
    """
    _, inverse = np.unique(patients, return_inverse=True)
    count = inverse.max() + 1
    draws = rng.multinomial(count, np.full(count, 1 / count), size=replicates)
    return draws[:, inverse].astype(np.float64)


def bootstrap(
    labels: np.ndarray,
    probabilities: np.ndarray,
    patients: np.ndarray,
    threshold: float,
    replicates: int,
    confidence: float,
    rng: np.random.Generator,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals (low, high) of every metric; replicates in which a metric is undefined do not count."""
    weights = patient_weights(patients, replicates, rng)
    drawn = resampled(labels, probabilities[None], np.array([threshold]), weights)
    tail = (1 - confidence) / 2
    return {metric: tuple(np.nanquantile(drawn[metric][1:, 0], [tail, 1 - tail]).tolist()) for metric in METRICS}


def roc_band(
    labels: np.ndarray,
    probabilities: np.ndarray,
    patients: np.ndarray,
    grid: np.ndarray,
    replicates: int,
    confidence: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Pointwise interval (low, high) of sensitivity at each 1 - specificity of `grid`, by the same bootstrap."""
    curves = []
    for weights in patient_weights(patients, replicates, rng):
        negative, positive, _ = roc(labels, probabilities, weights)
        if negative[-1] and positive[-1]:
            curves.append(np.interp(grid, negative / negative[-1], positive / positive[-1]))
    tail = (1 - confidence) / 2
    return tuple(np.quantile(np.array(curves), [tail, 1 - tail], axis=0))


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
