"""The bootstrap over patients: how often each image counts in each replicate, and every metric under these weights.

Labels, probabilities and patients (keys) are arrays (n,), of the same images.
"""

from argparse import ArgumentParser

import numpy as np

from fedxray.training.metrics import BINS, METRICS, bins_of, decisions, descending, ranked_areas


def add_options(parser: ArgumentParser) -> None:
    """Let a script take the replicates, level and seed of a bootstrap on its command line."""
    parser.add_argument("--replicates", type=int, required=True, help="of the bootstrap over patients")
    parser.add_argument("--confidence", type=float, required=True, help="level of the intervals, such as 0.95")
    parser.add_argument("--seed", type=int, required=True, help="of the bootstrap")


def patient_weights(patients: np.ndarray, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """How often each image counts in each replicate, float64 (replicates, n): whole patients, drawn with replacement.

    The cluster bootstrap (Davison & Hinkley 1997, 3.8): a patient's images are not independent.
    """
    _, inverse = np.unique(patients, return_inverse=True)
    count = inverse.max() + 1
    draws = rng.multinomial(count, np.full(count, 1 / count), size=replicates)
    return draws[:, inverse].astype(np.float64)


def resampled(
    labels: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """`training.metrics.evaluate` of several models at once, each at its threshold and under each replicate's weights.

    Takes probabilities (models, n), thresholds (models,) and weights (replicates, n). Returns each metric by name,
    float64 (1 + replicates, models); row 0 is unweighted. Sums over images are products of matrices.
    """
    labels, weights = labels.astype(np.float64), np.vstack([np.ones(len(labels)), weights])
    total, positive = weights.sum(axis=1, keepdims=True), (weights @ labels)[:, None]
    called = probabilities >= thresholds[:, None]
    true, false = weights @ (labels * called).T, weights @ ((1 - labels) * called).T
    areas = [_ranked(labels, row, weights) for row in probabilities]
    return {
        "auroc": np.stack([area for area, _ in areas], axis=1),
        "average_precision": np.stack([precision for _, precision in areas], axis=1),
        **decisions(true, false, positive, total - positive),
        "brier": weights @ ((probabilities - labels) ** 2).T / total,
        "calibration_error": np.stack([calibration_errors(labels, row, weights) for row in probabilities], axis=1),
    }


def calibration_errors(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The calibration error under each of weights (replicates, n), float64 (replicates,)."""
    gaps = np.zeros((len(labels), BINS))
    gaps[np.arange(len(labels)), bins_of(probabilities, BINS)] = labels - probabilities
    return np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1)


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


def _ranked(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and average precision under each of weights (replicates, n), float64 (replicates,) each."""
    order, last = descending(probabilities)
    drawn = weights[:, order]
    called = np.cumsum(drawn, axis=1)[:, last]
    positive = np.cumsum(drawn * labels[order], axis=1)[:, last]
    return ranked_areas(positive, called)
