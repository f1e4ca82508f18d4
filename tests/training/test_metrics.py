"""scikit-learn is the oracle."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from fedxray.training import metrics


@pytest.fixture(params=[0, 1, 2])
def data(request):
    rng = np.random.default_rng(request.param)
    labels = (rng.random(400) < 0.7).astype(float)
    probabilities = np.clip(0.35 * labels + rng.random(400) * 0.65, 0, 1)
    return labels, np.round(probabilities, request.param + 1), rng.integers(0, 5, 400).astype(float)  # with ties


def test_every_metric_is_scikit_learns_with_weights_too(data):
    labels, probabilities, drawn = data
    for weights in (np.ones(400), drawn):
        ours = metrics.evaluate(labels, probabilities, 0.5, weights)
        called, given = probabilities >= 0.5, {"sample_weight": weights}
        theirs = {
            "auroc": oracle.roc_auc_score(labels, probabilities, **given),
            "average_precision": oracle.average_precision_score(labels, probabilities, **given),
            "accuracy": oracle.accuracy_score(labels, called, **given),
            "balanced_accuracy": oracle.balanced_accuracy_score(labels, called, **given),
            "sensitivity": oracle.recall_score(labels, called, **given),
            "specificity": oracle.recall_score(labels, called, pos_label=0, **given),
            "f1": oracle.f1_score(labels, called, **given),
            "brier": oracle.brier_score_loss(labels, probabilities, **given),
        }
        for name, value in theirs.items():
            assert ours[name] == pytest.approx(value, abs=1e-12), name


def test_calibration_error_by_a_plain_loop(data):
    labels, probabilities, weights = data
    error = 0.0
    for number in range(10):
        low, high = number / 10, (number + 1) / 10
        inside = (probabilities * 10).astype(int).clip(0, 9) == number
        if weights[inside].sum():
            gap = np.average(labels[inside], weights=weights[inside]) - np.average(
                probabilities[inside], weights=weights[inside]
            )
            error += abs(gap) * weights[inside].sum() / weights.sum()
        assert low < high
    assert metrics.calibration_error(labels, probabilities, weights) == pytest.approx(error)


def test_the_threshold_maximises_youdens_index(data):
    labels, probabilities, _ = data
    chosen = metrics.choose_threshold(labels, probabilities)
    index = {t: oracle.balanced_accuracy_score(labels, probabilities >= t) for t in np.unique(probabilities)}
    assert index[chosen] == pytest.approx(max(index.values()))


def test_one_class_alone_is_undefined_not_an_error():
    values = metrics.evaluate(np.ones(4), np.array([0.1, 0.2, 0.8, 0.9]), 0.5)
    assert np.isnan(values["auroc"])
    assert np.isnan(values["specificity"])
    assert values["sensitivity"] == 0.5
