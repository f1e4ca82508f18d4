"""Oracles: the definition by a plain double loop, the example of DeLong et al. 1988, scikit-learn, simulation."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr
from sklearn.metrics import roc_auc_score

from fedxray.analysis import statistics
from fedxray.analysis.bootstrap import patient_weights
from fedxray.analysis.sentences import sentence
from fedxray.analysis.statistics import Difference
from fedxray.training import metrics

pytestmark = pytest.mark.filterwarnings("error")

# DeLong, DeLong & Clarke-Pearson 1988: albumin, total protein, K-G score and success of surgery of the 43 patients with
# all three, as given in the SAS/STAT User's Guide, PROC LOGISTIC, "Comparing Receiver Operating Characteristic Curves".
OVARIAN = """
3.0 5.8 10 0 3.2 6.3 5 1 3.9 6.8 3 1 2.8 4.8 6 0 3.2 5.8 3 1 0.9 4.0 5 0 2.5 5.7 8 0 1.6 5.6 5 1 3.8 5.7 5 1
3.7 6.7 6 1 3.2 5.4 4 1 3.8 6.6 6 1 4.1 6.6 5 1 3.6 5.7 5 1 4.3 7.0 4 1 3.6 6.7 4 0 2.3 4.4 6 1 4.2 7.6 4 0
4.0 6.6 6 0 3.5 5.8 6 1 3.8 6.8 7 1 3.0 4.7 8 0 4.5 7.4 5 1 3.7 7.4 5 1 3.1 6.6 6 1 4.1 8.2 6 1 4.3 7.0 5 1
4.3 6.5 4 1 3.2 5.1 5 1 2.6 4.7 6 1 3.3 6.8 6 0 1.7 4.0 7 0 3.7 6.1 5 1 3.3 6.3 7 1 4.2 7.7 6 1 3.5 6.2 5 1
2.9 5.7 9 0 2.1 4.8 7 1 2.8 6.2 8 0 4.0 7.0 7 1 3.3 5.7 6 1 3.7 6.9 5 1 3.6 6.6 5 1
"""


def singletons(labels):
    return np.arange(len(labels)).astype(str)


def simulate(rng, patients, shift=(1.0, 1.0), mixed=False, seeds=1, seed_spread=0.0):
    """(labels, patients, scores (2, seeds, n)): normal scores of two models that share patient and image effects.

    Of each score the variance is 1 given class and seed, so the AUROC of a model is Phi(shift / sqrt 2).
    """
    sizes = rng.integers(1, 6, patients)
    key = np.repeat(np.arange(patients), sizes)
    labels = (rng.random(len(key)) < 0.5 if mixed else (rng.random(patients) < 0.5)[key]).astype(float)
    common = np.sqrt(0.4) * rng.normal(size=patients)[key] + np.sqrt(0.2) * rng.normal(size=len(key))
    own = np.sqrt(0.2) * rng.normal(size=(2, 1, patients))[..., key] + np.sqrt(0.2) * rng.normal(
        size=(2, seeds, len(key))
    )
    effect = np.array(shift)[:, None, None] + seed_spread * rng.normal(size=(2, seeds, 1))
    return labels, key.astype(str), common + own + effect * labels


def compare(labels, patients, scores, thresholds=0.5, replicates=2, seed=0):
    weights = patient_weights(patients, replicates, np.random.default_rng(seed))
    given = np.full(scores.shape[1], thresholds)
    return statistics.differences(labels, patients, *ndtr(scores - 0.5), given, given, weights, 0.95)


def delong(labels, probabilities, patients):
    """AUROCs and their covariance, by the three functions of which every interval of AUROC is made."""
    placed = statistics.placements(labels, probabilities)
    return statistics.areas(labels, placed), statistics.covariance(labels, placed, patients)


def by_pairs(labels, probabilities):
    """DeLong's AUROCs and covariance from the definition: a loop over models and pairs of images."""
    high, low = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    wins = np.zeros((len(probabilities), len(high), len(low)))
    for k, row in enumerate(probabilities):
        for i, positive in enumerate(high):
            for j, negative in enumerate(low):
                wins[k, i, j] = 1.0 if row[positive] > row[negative] else 0.5 if row[positive] == row[negative] else 0.0
    covariance = np.cov(wins.mean(axis=2)) / len(high) + np.cov(wins.mean(axis=1)) / len(low)
    return wins.mean(axis=(1, 2)), covariance


@pytest.fixture(params=[1, 2, 6])
def data(request):
    rng = np.random.default_rng(request.param)
    labels = (rng.random(120) < 0.6).astype(float)
    return labels, np.round(np.clip(0.25 * labels + 0.75 * rng.random((3, 120)), 0, 1), request.param)  # with ties


def test_delong_is_the_definition_by_pairs(data):
    labels, probabilities = data
    aurocs, covariance = delong(labels, probabilities, singletons(labels))
    expected, expected_covariance = by_pairs(labels, probabilities)
    np.testing.assert_allclose(aurocs, expected, rtol=1e-12)
    np.testing.assert_allclose(covariance, expected_covariance, rtol=1e-10)
    np.testing.assert_allclose(aurocs, [roc_auc_score(labels, row) for row in probabilities], rtol=1e-12)


def test_delong_gives_the_published_example():
    albumin, protein, kg, success = np.array(OVARIAN.split(), float).reshape(-1, 4).T
    aurocs, covariance = delong(success, np.stack([albumin, protein, 10 - kg]), singletons(success))
    np.testing.assert_allclose(aurocs, [0.7366, 0.6478, 0.7258], atol=5e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), [0.0927, 0.1000, 0.1028], atol=5e-5)
    contrast = np.array([[1, 0, -1], [0, 1, -1]])  # both against the K-G score
    apart = contrast @ aurocs
    assert apart @ np.linalg.solve(contrast @ covariance @ contrast.T, apart) == pytest.approx(2.5340, abs=5e-5)


def test_the_clustered_covariance_is_obuchowskis_by_a_loop_over_patients():
    labels, patients, scores = simulate(np.random.default_rng(5), 40, mixed=True)
    scores = scores[:, 0].round(1)
    aurocs, covariance = delong(labels, scores, patients)
    m, n, total = labels.sum(), (1 - labels).sum(), len(set(patients))
    with_positive, with_negative = (len(set(patients[labels == side])) for side in (1, 0))
    expected = np.zeros((2, 2))
    for patient in set(patients):
        x, y = np.zeros(2), np.zeros(2)
        for image in np.flatnonzero(patients == patient):
            others = scores[:, labels != labels[image]]
            rank = (scores[:, [image]] > others).mean(axis=1) + (scores[:, [image]] == others).mean(axis=1) / 2
            if labels[image]:
                x += rank - aurocs
            else:
                y += (1 - rank) - aurocs
        expected += np.outer(x, x) / m**2 * with_positive / (with_positive - 1)
        expected += np.outer(y, y) / n**2 * with_negative / (with_negative - 1)
        expected += (np.outer(x, y) + np.outer(y, x)) / (m * n) * total / (total - 1)
    np.testing.assert_allclose(covariance, expected, rtol=1e-10)


@pytest.mark.parametrize("mixed", [False, True])
def test_the_clustered_variance_is_the_patient_bootstraps(mixed):
    labels, patients, scores = simulate(np.random.default_rng(1), 250, (0.8, 1.3), mixed)
    probabilities = ndtr(scores[:, 0])
    _, covariance = delong(labels, probabilities, patients)
    drawn = np.array(
        [
            [metrics.auroc(labels, row, weights) for row in probabilities]
            for weights in patient_weights(patients, 2500, np.random.default_rng(2))
        ]
    )
    np.testing.assert_allclose(covariance, np.cov(drawn.T), rtol=0.1)
    _, independent = delong(labels, probabilities, singletons(labels))
    if not mixed:  # the clusters matter
        assert (np.diag(independent) < 0.75 * np.diag(covariance)).all()


def test_copies_of_images_are_no_new_patients(data):
    labels, probabilities = data
    patients = singletons(labels)
    _, once = delong(labels, probabilities, patients)
    copies = np.tile(labels, 2), np.tile(probabilities, 2)
    _, clustered = delong(*copies, np.tile(patients, 2))
    _, independent = delong(*copies, singletons(copies[0]))
    np.testing.assert_allclose(clustered, once, rtol=1e-10)
    np.testing.assert_allclose(independent, once / 2, rtol=0.05)


def test_differences_are_those_of_metrics_evaluate_under_the_same_weights():
    rng = np.random.default_rng(3)
    labels, patients, scores = simulate(rng, 60, (0.8, 1.3), mixed=True, seeds=3)
    a, b = ndtr(scores - 0.5).round(2)  # with ties
    given_a, given_b = np.array([0.3, 0.5, 0.6]), np.array([0.5, 0.4, 0.7])
    weights = patient_weights(patients, 40, rng)
    found = statistics.differences(labels, patients, a, b, given_a, given_b, weights, 0.95)

    def each(weights):
        ours, theirs = (
            [list(metrics.evaluate(labels, p, t, weights).values()) for p, t in zip(*model, strict=True)]
            for model in ((a, given_a), (b, given_b))
        )
        return np.array(ours) - np.array(theirs)

    observed, drawn = each(np.ones(len(labels))), np.array([each(row).mean(axis=0) for row in weights])
    assert tuple(found) == metrics.METRICS
    for number, (metric, difference) in enumerate(found.items()):
        assert (difference.metric, difference.seeds) == (metric, 3)
        assert difference.estimate == pytest.approx(observed[:, number].mean(), abs=1e-12)
        assert difference.se_between == pytest.approx(observed[:, number].std(ddof=1) / np.sqrt(3))
        if metric != "auroc":
            assert difference.se_within == pytest.approx(drawn[:, number].std(ddof=1))
    contrast = np.repeat([1, -1], 3) / 3
    _, covariance = delong(labels, np.vstack([a, b]), patients)
    assert found["auroc"].se_within == pytest.approx(np.sqrt(contrast @ covariance @ contrast))


def test_estimates_are_of_the_model_alone():
    rng = np.random.default_rng(7)
    labels, patients, scores = simulate(rng, 60, mixed=True, seeds=2)
    a, given = ndtr(scores[0] - 0.5), np.array([0.4, 0.6])
    weights = patient_weights(patients, 60, rng)
    found = statistics.estimates(labels, patients, a, given, weights, 0.95)

    def each(weights):
        return np.array(
            [list(metrics.evaluate(labels, *model, weights).values()) for model in zip(a, given, strict=True)]
        )

    observed, drawn = each(np.ones(len(labels))), np.array([each(row).mean(axis=0) for row in weights])
    _, covariance = delong(labels, a, patients)
    for number, (metric, value) in enumerate(found.items()):
        within = np.sqrt(covariance.mean()) if metric == "auroc" else drawn[:, number].std(ddof=1)
        assert (value.estimate, value.se_within) == pytest.approx((observed[:, number].mean(), within))
        assert value.se_between == pytest.approx(observed[:, number].std(ddof=1) / np.sqrt(2))
        assert 0 <= value.low < value.estimate < value.high <= 1
        assert np.isnan(value.p)
    assert found["specificity"].high == 1  # it was cut
    with pytest.raises(ValueError, match="2 seeds"):
        statistics.estimates(labels, patients, a, given[:1], weights, 0.95)


def test_ranks_and_what_a_hospital_computes_of_one_seed_are_those_of_scipy_and_of_all_metrics():
    rng = np.random.default_rng(5)
    values = np.round(rng.random((3, 40)), 1)
    assert (statistics.midranks(values) == stats.rankdata(values, axis=1)).all()
    values[1, 7] = np.nan
    assert np.array_equal(statistics.midranks(values), stats.rankdata(values, axis=1), equal_nan=True)
    labels, patients = np.arange(60) % 2.0, np.array([f"p{n // 3}" for n in range(60)])
    a, b = np.clip(0.3 * labels + rng.random((2, 60)) * 0.7, 0, 1)
    weights, cut = patient_weights(patients, 50, rng), np.array([0.5])
    whole = statistics.differences(labels, patients, a[None], b[None], cut, cut, weights, 0.95)["auroc"]
    assert statistics.paired(labels, patients, a, b).interval(0.95) == whole
    equal = statistics.paired(labels, patients, a, a).interval(0.95)
    assert (equal.low, equal.high, equal.p) == (0, 0, 1)
    error = statistics.estimates(labels, patients, a[None], cut, weights, 0.95)["calibration_error"]
    found = statistics.of_one(statistics.calibrated(labels, patients, a, weights), 0.95)
    assert replace(found, p=0) == replace(error, p=0)  # NaN of both


def test_interval_and_p_are_students_with_welch_satterthwaite_degrees():
    difference = statistics.Spread("auroc", (0.01, 0.03), 0.02, 21).interval(0.95)
    # by hand: s_between^2 / 2 = 0.0002 / 2 = 0.0001; se^2 = 0.0004 + 0.0001; df = 25 / (16 / 20 + 1 / 1) = 13.889
    assert (difference.estimate, difference.se) == pytest.approx((0.02, np.sqrt(0.0005)))
    assert difference.df == pytest.approx(25 / 1.8)
    assert difference.high - 0.02 == pytest.approx(2.1464 * difference.se, rel=1e-3)  # t of 13.889 degrees, 0.975
    assert difference.low == pytest.approx(0.04 - difference.high)
    alone = statistics.Spread("auroc", (0.02,), 0.02, 21).interval(0.95)
    assert (alone.df, alone.se_between, alone.se) == (pytest.approx(20), 0.0, pytest.approx(0.02))
    assert alone.p == pytest.approx(0.3293, abs=1e-4)  # t = 1, 20 degrees
    edge = statistics.Spread("auroc", (0.02,), 0.02, 21).interval(1 - alone.p)
    assert edge.low == pytest.approx(0)  # interval and p agree


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (3, 0.15)])
def test_intervals_cover_the_true_difference_of_auroc(seeds, spread):
    rng = np.random.default_rng(seeds)
    high, low = ndtr(np.array([1.3, 1.0]) / np.sqrt(2 + spread**2))  # AUROCs, their mean over seeds
    covered = []
    for _ in range(300):
        labels, patients, scores = simulate(rng, 80, (1.3, 1.0), seeds=seeds, seed_spread=spread)
        difference = compare(labels, patients, scores)["auroc"]
        covered.append(difference.low <= high - low <= difference.high)
    assert 0.90 < np.mean(covered) < 0.99


def test_intervals_cover_the_true_difference_of_accuracy():
    """Exchangeable models, so the truth is 0; pretending that images are independent must fail it."""
    rng, covered, naive = np.random.default_rng(4), [], []
    for _ in range(200):
        labels, patients, scores = simulate(rng, 80)
        patients, scores = np.tile(patients, 2), np.tile(scores, 2)
        for keys, into in ((patients, covered), (singletons(patients), naive)):
            difference = compare(np.tile(labels, 2), keys, scores, replicates=60)["accuracy"]
            into.append(difference.low <= 0 <= difference.high)
    assert 0.90 < np.mean(covered) < 0.99
    assert np.mean(naive) < 0.88


def test_identical_models_do_not_differ():
    labels, patients, scores = simulate(np.random.default_rng(0), 30, seeds=2)
    found = compare(labels, patients, np.stack([scores[0], scores[0]]), replicates=20)
    for difference in found.values():
        assert (difference.estimate, difference.se, difference.p) == (0, 0, 1)
        assert (difference.low, difference.high) == (0, 0)
    assert statistics.noninferior(found["auroc"], 0.01)
    said = sentence(found["auroc"], "a", "b", 1.0, 0.01)
    assert "AUROC of a is equal to that of b [0.0000, 0.0000]; the two give the same predictions. A is non-inf" in said


def test_one_model_at_two_thresholds_differs_in_its_decisions_alone():
    labels, patients, scores = simulate(np.random.default_rng(0), 30)
    weights = patient_weights(patients, 50, np.random.default_rng(0))
    rows = ndtr(scores[0]), ndtr(scores[0])
    found = statistics.differences(labels, patients, *rows, np.array([0.9]), np.array([0.1]), weights, 0.95)
    assert found["specificity"].low > 0
    assert found["sensitivity"].high < 0
    assert found["auroc"].high == found["brier"].high == 0


def test_no_variation_is_no_certainty():
    """Two models that are right on every image are not shown to be equal, nor is one that is always wrong measured."""
    labels = np.repeat([0.0, 1.0], 10)
    right = (labels + np.linspace(0, 0.4, 20)) / 2
    weights = patient_weights(singletons(labels), 20, np.random.default_rng(0))
    given = np.array([0.4])
    for other, estimate, p in ((right**2, 0.0, 1.0), (1 - right, 1.0, np.nan)):
        rows = right[None], other[None]
        difference = statistics.differences(labels, singletons(labels), *rows, given, given, weights, 0.95)["auroc"]
        assert (difference.estimate, difference.se) == (estimate, 0)
        np.testing.assert_equal([difference.p, difference.low, difference.high], [p, np.nan, np.nan])
        assert not statistics.noninferior(difference, 0.02)
        assert "for an interval" in sentence(difference, "a", "b", p, 0.02)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_is_undefined_not_an_error(label):
    rng = np.random.default_rng(0)
    labels, patients = np.full(12, label), np.repeat(np.arange(6), 2).astype(str)
    aurocs, covariance = delong(labels, rng.random((2, 12)), patients)
    assert np.isnan(aurocs).all()
    assert np.isnan(covariance).all()
    found = compare(labels, patients, rng.normal(size=(2, 2, 12)), replicates=20)
    for metric in ("auroc", "balanced_accuracy", "specificity" if label else "sensitivity"):
        difference = found[metric]
        assert np.isnan([difference.estimate, difference.p, difference.low, difference.high]).all()
        assert "undefined" in sentence(difference, "a", "b", np.nan)
    assert found["accuracy"].low < found["accuracy"].high
    same = compare(labels, patients, np.zeros((2, 1, 12)), replicates=20)["auroc"]
    assert np.isnan(same.estimate)


def test_a_single_patient_or_one_in_a_class_gives_no_interval():
    labels, scores = np.array([0, 1, 0, 1]), np.random.default_rng(0).normal(size=(2, 2, 4))
    for patients, metric in ((["p"] * 4, "auroc"), (["p"] * 4, "brier"), (["p", "q", "r", "q"], "auroc")):
        difference = compare(labels, np.array(patients), scores, replicates=20)[metric]
        assert not np.isnan(difference.estimate)
        assert np.isnan([difference.low, difference.high, difference.p]).all()
        assert "too few patients" in sentence(difference, "a", "b", np.nan)


def test_replicates_without_a_class_do_not_count():
    labels, patients, scores = simulate(np.random.default_rng(6), 6)
    assert 0 < labels.mean() < 1
    weights = patient_weights(patients, 200, np.random.default_rng(0))
    assert (weights @ labels == 0).any()
    assert compare(labels, patients, scores, replicates=200)["sensitivity"].se > 0


def test_shapes_that_do_not_match_are_refused():
    labels, patients, scores = simulate(np.random.default_rng(0), 10, seeds=2)
    with pytest.raises(ValueError, match="2 seeds"):
        statistics.differences(
            labels, patients, scores[0], scores[1][:1], np.ones(2), np.ones(2), np.ones((3, len(labels))), 0.95
        )


def test_holm_by_hand():
    # sorted 0.01 0.02 0.03 0.04 times 4 3 2 1 = 0.04 0.06 0.06 0.04, which must not fall: 0.04 0.06 0.06 0.06
    np.testing.assert_allclose(statistics.holm([0.04, 0.01, 0.03, 0.02]), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(statistics.holm([0.5, np.nan, 0.01, 0.9]), [1, np.nan, 0.03, 1])
    assert np.isnan(statistics.holm([np.nan])).all()
    assert statistics.holm([]).shape == (0,)


GIVEN = Difference("auroc", -0.0021, 0.003, 100.0, -0.0076, 0.0034, 0.4, 3, 0.002, 0.0022, 0.95)


def test_noninferiority_is_by_the_lower_limit_and_of_metrics_to_be_high():
    assert statistics.noninferior(GIVEN, 0.0077)
    assert not statistics.noninferior(GIVEN, 0.0076)
    with pytest.raises(ValueError, match="brier"):
        statistics.noninferior(replace(GIVEN, metric="brier"), 0.02)


def test_reliability_adds_up_to_the_calibration_error(data):
    labels, probabilities = data
    for row in (probabilities[0], np.append(probabilities[1][1:], 1.0)):
        predicted, observed, count = statistics.reliability(labels, row)
        full = count > 0
        error = np.sum((count * np.abs(observed - predicted))[full]) / len(row)
        assert error == pytest.approx(metrics.calibration_error(labels, row, np.ones(len(row))))
    predicted, observed, count = statistics.reliability(np.array([0, 1, 1]), np.array([0.1, 0.3, 0.9]), bins=4)
    np.testing.assert_allclose(predicted, [0.1, 0.3, np.nan, 0.9])
    np.testing.assert_allclose(observed, [0, 1, np.nan, 1])
    assert count.tolist() == [1, 1, 0, 1]
