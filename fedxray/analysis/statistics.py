"""Models compared on the same test patients: estimates and differences, with intervals and p values.

Labels (n,) are 0 or 1, probabilities (n,) or (models, n) are of pneumonia, patients (n,) are keys: all of the same
images. A patient's images are not independent, so every variance here is between patients. An undefined value is NaN.
"""

from dataclasses import dataclass, replace

import numpy as np

from fedxray.analysis.bootstrap import calibration_errors, resampled
from fedxray.training.metrics import BINS, DECISIONS, LOWER_IS_BETTER, bins_of, shares

PRIMARY = "auroc"  # the metric of the verdict
ROUNDING = 1e-12  # a standard error below is a zero that was rounded


@dataclass(frozen=True)
class Difference:
    """Metric of A minus metric of B (or of A alone), averaged over the seeds; se^2 = se_within^2 + se_between^2.

    se_within: of the drawn patients; se_between: of the drawn seeds, 0 if seeds is 1, since one does not show it.
    low, high: the interval of `confidence`; p: two-sided, that the difference is 0; both by Student's t of df degrees.
    """

    metric: str
    estimate: float
    se: float
    df: float
    low: float
    high: float
    p: float
    seeds: int
    se_within: float
    se_between: float
    confidence: float


@dataclass(frozen=True)
class Spread:
    """A metric of A minus that of B (or of A alone), of which `interval` makes a `Difference`.

    It is what hospitals send, which do not have SciPy: all else of this module but intervals is computed without it.
    """

    metric: str
    each: tuple[float, ...]  # its value of each seed
    within: float  # the standard error of their mean, of the drawn patients
    patients: int
    same: bool = False  # whether A and B are the same on these images, so that a difference is 0, and not by chance

    def interval(self, confidence: float) -> Difference:
        """The mean over seeds, with its interval.

        Degrees of freedom by Welch 1947 and Satterthwaite 1946, from patients - 1 and seeds - 1. Without variation
        there is no interval: two models may be equally right on every patient of this sample by chance.
        """
        from scipy import stats  # hospitals have none

        seeds, estimate = len(self.each), float(np.mean(self.each))
        if self.same and not np.isnan(estimate):
            return Difference(self.metric, 0.0, 0.0, np.nan, 0.0, 0.0, 1.0, seeds, 0.0, 0.0, confidence)
        within = self.within if self.patients > 1 else np.nan  # a single patient shows no variation, which is not none
        between = float(np.std(self.each, ddof=1) / np.sqrt(seeds)) if seeds > 1 else 0.0
        se = float(np.hypot(within, between))
        if not se > ROUNDING:
            p = 1.0 if se <= ROUNDING and abs(estimate) <= ROUNDING else np.nan
            limits = np.nan, np.nan
            return Difference(self.metric, estimate, se, np.nan, *limits, p, seeds, within, between, confidence)
        df = se**4 / (within**4 / (self.patients - 1) + between**4 / max(seeds - 1, 1))
        half = float(stats.t.ppf((1 + confidence) / 2, df)) * se
        p = float(2 * stats.t.sf(abs(estimate) / se, df))
        limits = estimate - half, estimate + half
        return Difference(self.metric, estimate, se, df, *limits, p, seeds, within, between, confidence)


def midranks(values: np.ndarray) -> np.ndarray:
    """The rank from 1 of each value in its row, float64 (k, n); tied ones get the mean of theirs. NaN if one is NaN."""
    ranks = np.empty(values.shape)
    for row, ranked in zip(values, ranks, strict=True):
        _, place, count = np.unique(row, return_inverse=True, return_counts=True)
        ranked[:] = (np.cumsum(count) - (count - 1) / 2)[place]
    return np.where(np.isnan(values).any(axis=1, keepdims=True), np.nan, ranks)


def placements(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Placement values, float64 (k, n): for each image, the share of the other class that is on the right side of it.

    The structural components V10 (of the positive images) and V01 of DeLong, DeLong & Clarke-Pearson 1988 (Biometrics
    44:837); a tie counts half. `areas` and `covariance` make AUROCs and their covariance of them. By midranks in
    O(n log n) (Sun & Xu 2014, IEEE Signal Process. Lett. 21:1389). NaN if a class is absent.
    """
    positive = labels == 1
    count = int(positive.sum())
    values = np.full(probabilities.shape, np.nan)
    if 0 < count < len(labels):
        ranks = midranks(probabilities)
        below = ranks[:, positive] - midranks(probabilities[:, positive])
        above = count - (ranks[:, ~positive] - midranks(probabilities[:, ~positive]))
        values[:, positive], values[:, ~positive] = below / (len(labels) - count), above / count
    return values


def areas(labels: np.ndarray, placed: np.ndarray) -> np.ndarray:
    """AUROCs, float64 (k,), of the placement values (k, n), or the same linear combination of AUROCs as of values."""
    return placed[:, labels == labels[0]].mean(axis=1)  # the mean over either class is the AUROC


def covariance(labels: np.ndarray, placed: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Covariance, float64 (k, k), of the AUROCs of the placement values (k, n), or of linear combinations of AUROCs.

    DeLong's for clustered data by Obuchowski 1997 (Biometrics 53:567); the two are equal if each image is its own
    patient. S10 / m + S01 / n + (S11 + S11') / (m n), from each patient's sum of the centred values. S11 is of patients
    with images of both classes. Divisors I10 - 1, I01 - 1 (patients with an image of the class) and I - 1. NaN if a
    class is absent or of one patient alone.
    """
    names, index = np.unique(patients, return_inverse=True)
    sides = [labels == 1, labels == 0]
    holders = [len(np.unique(index[side])) for side in sides]
    if min(holders) < 2:
        return np.full((len(placed), len(placed)), np.nan)
    sums = []
    for side in sides:
        centred = placed[:, side] - placed[:, side].mean(axis=1, keepdims=True)
        sums.append(np.zeros((len(names), len(placed))))
        np.add.at(sums[-1], index[side], centred.T / side.sum())
    scales = [count / (count - 1) for count in (*holders, len(names))]
    cross = sums[0].T @ sums[1]
    return scales[0] * sums[0].T @ sums[0] + scales[1] * sums[1].T @ sums[1] + scales[2] * (cross + cross.T)


def differences(
    labels: np.ndarray,
    patients: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    thresholds_a: np.ndarray,
    thresholds_b: np.ndarray,
    weights: np.ndarray,
    confidence: float,
) -> dict[str, Difference]:
    """A minus B in each of `METRICS`, by name, pooled over seeds: a, b (seeds, n), row by row of the same seed.

    Takes thresholds (seeds,) as given, and weights (replicates, n) of `bootstrap.patient_weights`, the same for every
    seed and model and for every pair of one test set. se_within is of the seed-averaged difference: AUROC by DeLong's
    placement values so averaged, the others by the deviation of the bootstrap's replicates in which they are defined.
    se_between^2 is the sample variance of the seeds' differences / seeds. It holds the seed-by-patient interaction, as
    se_within does: this part counts twice, so that the variance errs to the large side.
    Raises ValueError if shapes do not match.
    """
    _check(a, labels, patients, weights, thresholds_a, thresholds_b, others=(b,))
    metrics_a, metrics_b = (resampled(labels, *model, weights) for model in ((a, thresholds_a), (b, thresholds_b)))
    minus = {metric: metrics_a[metric] - metrics_b[metric] for metric in metrics_a}
    spreads = _spreads(labels, patients, placements(labels, a) - placements(labels, b), minus)
    same, same_calls = np.array_equal(a, b), np.array_equal(thresholds_a, thresholds_b)
    return {
        metric: replace(spread, same=same and (metric not in DECISIONS or same_calls)).interval(confidence)
        for metric, spread in spreads.items()
    }


def estimates(
    labels: np.ndarray,
    patients: np.ndarray,
    probabilities: np.ndarray,
    thresholds: np.ndarray,
    weights: np.ndarray,
    confidence: float,
) -> dict[str, Difference]:
    """Each of `METRICS` of one model, by name, pooled over seeds as in `differences`; p is NaN.

    The interval is cut to [0, 1], where every metric lies. Raises ValueError if shapes do not match.
    """
    _check(probabilities, labels, patients, weights, thresholds)
    values, placed = resampled(labels, probabilities, thresholds, weights), placements(labels, probabilities)
    spreads = _spreads(labels, patients, placed, values)
    return {metric: of_one(spread, confidence) for metric, spread in spreads.items()}


def of_one(spread: Spread, confidence: float) -> Difference:
    """The interval of a metric of one model, cut to [0, 1], where every metric lies; p is NaN."""
    value = spread.interval(confidence)
    low, high = np.clip([value.low, value.high], 0, 1).tolist()
    return replace(value, low=low, high=high, p=np.nan)


def paired(labels: np.ndarray, patients: np.ndarray, a: np.ndarray, b: np.ndarray) -> Spread:
    """AUROC of A minus that of B, of one seed: probabilities (n,) each. Its interval is that of `differences`."""
    apart = placements(labels, a[None]) - placements(labels, b[None])
    return replace(_of_areas(labels, patients, apart), same=np.array_equal(a, b))


def calibrated(labels: np.ndarray, patients: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> Spread:
    """Calibration error of one model of one seed, probabilities (n,). `of_one` of it is that of `estimates`."""
    errors = calibration_errors(labels, probabilities, np.vstack([np.ones(len(labels)), weights]))
    return Spread("calibration_error", (float(errors[0]),), _deviation(errors[1:]), len(np.unique(patients)))


def combined(labels: np.ndarray, patients: np.ndarray, placed: np.ndarray, confidence: float) -> Difference:
    """A linear combination of AUROCs of the same images, pooled over seeds as in `differences`.

    `placed` (seeds, n) is the same combination of the models' `placements`; p is that it is 0.
    """
    return _of_areas(labels, patients, placed).interval(confidence)


def _of_areas(labels: np.ndarray, patients: np.ndarray, placed: np.ndarray) -> Spread:
    """The spread of `combined`."""
    variance = covariance(labels, placed.mean(axis=0, keepdims=True), patients).item()
    within, count = float(np.sqrt(np.maximum(variance, 0))), len(np.unique(patients))
    return Spread("auroc", tuple(areas(labels, placed).tolist()), within, count)


def _check(probabilities: np.ndarray, labels, patients, weights, *thresholds, others: tuple = ()) -> None:
    """Raises ValueError unless shapes match."""
    seeds, images = probabilities.shape
    shapes = [part.shape for part in (labels, patients, *thresholds, *others)] + [weights.shape[1:]]
    expected = [(images,), (images,), *[(seeds,)] * len(thresholds), *[(seeds, images)] * len(others), (images,)]
    if shapes != expected:
        raise ValueError(f"probabilities are of {seeds} seeds and {images} images; the others do not match: {shapes}")


def _spreads(labels: np.ndarray, patients: np.ndarray, placed: np.ndarray, values: dict) -> dict[str, Spread]:
    """Each metric, of placement values `placed` (seeds, n) and `resampled` values, or of differences of such."""
    count = len(np.unique(patients))
    return {
        metric: _of_areas(labels, patients, placed)
        if metric == "auroc"
        else Spread(metric, tuple(part[0].tolist()), _deviation(part[1:].mean(axis=1)), count)
        for metric, part in values.items()
    }


def _deviation(replicates: np.ndarray) -> float:
    """The sample deviation of the replicates (r,) that are defined; NaN of fewer than two."""
    defined = replicates[~np.isnan(replicates)]
    return float(defined.std(ddof=1)) if len(defined) > 1 else np.nan


def holm(p_values: np.ndarray) -> np.ndarray:
    """p values (m,) adjusted for their number, float64 (m,): Holm 1979 (Scand. J. Statist. 6:65). NaN is not counted.

    Put the comparisons of one question together: their number is what the adjustment is for.
    """
    p_values = np.asarray(p_values, np.float64)
    order = np.argsort(p_values)[: np.count_nonzero(~np.isnan(p_values))]  # NaN sorts last
    adjusted = np.full(len(p_values), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted


def noninferior(difference: Difference, margin: float) -> bool:
    """Whether the interval excludes that A is worse than B by `margin` or more; False where there is no interval.

    At a confidence of 0.95 a one-sided test at 0.025. Raises ValueError for a metric of which lower is better.
    """
    if difference.metric in LOWER_IS_BETTER:
        raise ValueError(f"{difference.metric}: non-inferiority is defined for metrics of which higher is better")
    return difference.low > -margin


def reliability(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean predicted, observed share, count) of each of `bins` bins of equal width, float64, float64, int64 (bins,).

    The bins are `metrics.calibration_error`'s, which is the count-weighted mean of |observed - predicted|; an empty bin
    is NaN, NaN, 0.
    """
    index = bins_of(probabilities, bins)
    count = np.bincount(index, minlength=bins)
    predicted, observed = (np.bincount(index, values, bins) for values in (probabilities, labels))
    return shares(predicted, count), shares(observed, count), count
