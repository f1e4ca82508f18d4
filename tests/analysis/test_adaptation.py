"""A hospital's own threshold and calibration, of its validation patients alone."""

import numpy as np
import pandas as pd
import pytest
from helpers.analysis import METHODS, SITES, chosen_models
from sklearn.linear_model import LogisticRegression

from fedxray.analysis.adaptation import adapt, calibrate, platt
from fedxray.training.metrics import accuracy, choose_threshold


def by_regression(labels, probabilities):
    """Platt's (slope, intercept) by another program: each image twice, weighted by its target."""
    positive = labels.sum()
    negative = len(labels) - positive
    target = np.where(labels == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))
    logits = np.log(probabilities / (1 - probabilities))
    model = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000)
    both = np.concatenate([logits, logits])[:, None]
    model.fit(both, np.repeat([1, 0], len(labels)), sample_weight=np.concatenate([target, 1 - target]))
    return model.coef_.item(), model.intercept_.item()


@pytest.mark.parametrize("shift", [-2.0, 0.0, 3.0])
def test_calibration_is_logistic_regression_on_platts_targets(shift):
    rng = np.random.default_rng(0)
    labels = (rng.random(200) < 0.3).astype(float)
    logits = 3 * (labels - 0.5) + rng.normal(size=200) + shift
    probabilities = 1 / (1 + np.exp(-logits))
    assert platt(labels, probabilities) == pytest.approx(by_regression(labels, probabilities), rel=1e-4, abs=1e-4)
    calibrated = calibrate(probabilities, *platt(labels, probabilities))
    assert calibrated.mean() == pytest.approx(labels.mean(), abs=0.01)  # a shifted base rate is put right


def test_images_that_are_told_apart_perfectly_or_not_at_all_have_a_calibration():
    labels = np.array([0.0] * 6 + [1.0] * 6)
    slope, intercept = platt(labels, np.where(labels == 1, 1.0, 0.0))
    assert np.isfinite([slope, intercept]).all()
    found = calibrate(np.array([0.0, 1.0]), slope, intercept)
    np.testing.assert_allclose(found, [1 / 8, 7 / 8], atol=1e-6)  # Platt's targets
    flat = calibrate(np.full(12, 0.9), *platt(labels, np.full(12, 0.9)))
    np.testing.assert_allclose(flat, 0.5, atol=1e-6)


@pytest.fixture
def models():
    return chosen_models(kinds=METHODS)


def test_each_shared_model_has_the_threshold_of_each_hospitals_own_validation(models):
    chosen, predictions = models
    table = adapt(chosen, predictions)
    assert list(table["mode"].unique()) == ["federated", "central"]
    assert len(table) == 4 * 2 * len(SITES)  # models, seeds
    row = table[(table["method"] == "scaffold") & (table["seed"] == 2) & (table["test_set"] == "asia")].iloc[0]
    path = chosen["path"][(chosen["method"] == "scaffold") & (chosen["seed"] == 2)].item()
    of_run = predictions[predictions["path"] == path]
    own = of_run[(of_run["set"] == "validation") & (of_run["hospital"] == "asia")]
    assert row["threshold_own"] == choose_threshold(own["label"].to_numpy(float), own["probability"].to_numpy())
    test = of_run[of_run["set"] == "asia"]
    labels, probabilities = test["label"].to_numpy(float), test["probability"].to_numpy()
    assert row["accuracy_own"] == accuracy(labels, probabilities, row["threshold_own"])
    assert row["accuracy"] == accuracy(labels, probabilities, row["threshold"])
    calibrated = calibrate(probabilities, row["slope"], row["intercept"])
    assert row["brier_own"] == pytest.approx(np.mean((calibrated - labels) ** 2))
    turned = predictions.assign(label=predictions["label"].where(predictions["set"] == "validation", 0))
    choice = ["threshold_own", "slope", "intercept"]
    pd.testing.assert_frame_equal(adapt(chosen, turned)[choice], table[choice])


def test_a_hospital_with_too_little_validation_of_its_own_keeps_what_all_share(models):
    chosen, predictions = models
    validation = predictions["set"] == "validation"
    few = predictions.drop(predictions.index[validation & (predictions["hospital"] == "us")][9:])
    few = few[(few["set"] != "validation") | (few["hospital"] != "asia") | (few["label"] == 1)]
    for hospital, rows in adapt(chosen[:1], few).groupby("test_set"):
        row = rows.iloc[0]
        said = {"us": "9 images of its own in validation; at least 10", "asia": "are of one class"}[hospital]
        assert said in row["note"]
        assert np.isnan(row[["threshold_own", "accuracy_own", "brier_own", "slope"]].astype(float)).all()
        assert row["accuracy"] > 0
