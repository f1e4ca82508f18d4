import numpy as np
from sklearn import metrics as oracle

from fedxray.analysis.bootstrap import bootstrap, patient_weights, resampled
from fedxray.training.metrics import METRICS, evaluate


def test_bootstrap_draws_whole_patients():
    patients = np.repeat(np.arange(30), np.random.default_rng(0).integers(1, 6, 30)).astype(str)
    weights = patient_weights(patients, 50, np.random.default_rng(1))
    for patient in np.unique(patients):
        assert (np.ptp(weights[:, patients == patient], axis=1) == 0).all()
    first = np.array([weights[:, patients == patient][:, 0] for patient in np.unique(patients)])
    assert (first.sum(axis=0) == 30).all()


def test_intervals_by_patient_are_wider_than_by_image_and_cover():
    """Images of a patient repeat it, so pretending that they are independent makes the interval too narrow."""
    rng = np.random.default_rng(0)
    labels = (rng.random(80) < 0.5).astype(float).repeat(6)
    probabilities = (0.4 * labels + 0.6 * rng.random(80).repeat(6)).clip(0, 1)
    widths = []
    for patients in (np.arange(80).repeat(6).astype(str), np.arange(480).astype(str)):
        low, high = bootstrap(labels, probabilities, patients, 0.5, 300, 0.95, rng)["auroc"]
        assert low < oracle.roc_auc_score(labels, probabilities) < high
        widths.append(high - low)
    assert widths[0] > 1.8 * widths[1]


def test_every_replicate_of_every_model_is_evaluate_under_its_weights():
    rng = np.random.default_rng(2)
    labels = (rng.random(300) < 0.6).astype(float)
    probabilities = np.round(rng.random((2, 300)), 2)  # with ties
    thresholds = np.array([0.3, 0.6])
    weights = patient_weights(rng.integers(0, 90, 300).astype(str), 20, rng)
    drawn = resampled(labels, probabilities, thresholds, weights)
    assert tuple(drawn) == METRICS
    for replicate, counts in enumerate([np.ones(300), *weights]):
        for model in range(2):
            values = evaluate(labels, probabilities[model], thresholds[model], counts)
            for metric, value in values.items():
                exact = metric not in ("average_precision", "brier", "calibration_error")  # sums of whole numbers
                np.testing.assert_allclose(drawn[metric][replicate, model], value, rtol=0 if exact else 1e-12)
