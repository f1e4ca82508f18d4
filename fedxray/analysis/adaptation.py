"""A threshold and a calibration of each hospital's own, for models that all hospitals share."""

from collections.abc import Collection

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from fedxray.analysis.choice import MODEL_KEY
from fedxray.analysis.external import apart
from fedxray.training.metrics import choose_threshold, evaluate

LEAST = 10  # images of the hospital's own in validation; of fewer a threshold says nothing
AT_THRESHOLD = ("accuracy", "balanced_accuracy", "sensitivity", "specificity")
CALIBRATED = ("brier", "calibration_error")
NEAREST = 1e-7  # of a probability to 0 and 1, so that its logit is finite
RIDGE = 1e-9  # so that Newton's equations have a solution where all probabilities are equal


def adapt(chosen: pd.DataFrame, predictions: pd.DataFrame, external: Collection[str] = ()) -> pd.DataFrame:
    """One row per run of a shared model (federated, central) and hospital: its metrics, and those of its own (`_own`).

    Threshold (Youden) and calibration (`platt`) are chosen on the hospital's own patients of the validation set, and
    measured on its test set. They are empty, and `note` says why, where these are fewer than `LEAST` images or lack a
    class.
    """
    of_hospitals, rows = apart(predictions, external)[0], []
    predicted = dict(list(of_hospitals.groupby("path", sort=False)))
    for _, run in chosen[chosen["mode"].isin(["federated", "central"])].iterrows():
        validation = predicted[run["path"]][predicted[run["path"]]["set"] == "validation"]
        for hospital, test in predicted[run["path"]].groupby("set", sort=False):
            if hospital != "validation":
                row = {name: run[name] for name in MODEL_KEY} | {"test_set": hospital, "seed": run["seed"]}
                own = validation[validation["hospital"] == hospital]
                rows.append(row | _adapted(own, test, run["threshold"]))
    return pd.DataFrame(rows)


def _adapted(own: pd.DataFrame, test: pd.DataFrame, threshold: float) -> dict:
    """The columns of one run at one hospital, from its own rows of validation and its test set."""
    labels, probabilities = (test[name].to_numpy(float) for name in ("label", "probability"))
    shared, adapted, note = evaluate(labels, probabilities, threshold), {}, ""
    row = {"validation_images": len(own), "threshold": threshold, "threshold_own": np.nan}
    row |= {"slope": np.nan, "intercept": np.nan}
    if len(own) < LEAST:
        note = f"{len(own)} images of its own in validation; at least {LEAST} are needed"
    elif own["label"].nunique() < 2:
        note = "its own images in validation are of one class"
    else:
        known = own["label"].to_numpy(float), own["probability"].to_numpy()
        cut, (slope, intercept) = choose_threshold(*known), platt(*known)
        row |= {"threshold_own": cut, "slope": slope, "intercept": intercept}
        calibrated = evaluate(labels, calibrate(probabilities, slope, intercept), 0.5)
        adapted = evaluate(labels, probabilities, cut) | {name: calibrated[name] for name in CALIBRATED}
    for metric in (*AT_THRESHOLD, *CALIBRATED):
        row |= {metric: shared[metric], f"{metric}_own": adapted.get(metric, np.nan)}
    return row | {"note": note}


def platt(labels: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    """(slope, intercept) by which the logit becomes calibrated: logistic regression with Platt's targets.

    Platt 1999 (Advances in Large Margin Classifiers, 61): (n + 1) / (n + 2) of the n positive images, 1 / (m + 2) of
    the m negative ones, so that a few images that are told apart perfectly give no infinite slope. By Newton's method
    with halved steps (Lin, Lin & Weng 2007, Mach. Learn. 68:267). Both classes must be there.
    """
    positive, negative = labels.sum(), (1 - labels).sum()
    targets = np.where(labels == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))
    inputs = np.column_stack([_logits(probabilities), np.ones(len(labels))])

    def loss(weights: np.ndarray) -> float:
        logits = inputs @ weights
        return float(np.sum(np.logaddexp(0, logits) - targets * logits) + RIDGE / 2 * weights @ weights)

    weights = np.array([1.0, 0.0])
    for _ in range(100):
        found = expit(inputs @ weights)
        gradient = inputs.T @ (found - targets) + RIDGE * weights
        curvature = (inputs.T * (found * (1 - found))) @ inputs + RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        while loss(weights - step) > loss(weights) and np.abs(step).max() > 1e-12:
            step /= 2
        weights -= step
        if np.abs(step).max() < 1e-10:
            break
    return float(weights[0]), float(weights[1])


def calibrate(probabilities: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Probabilities whose logit is `slope` times theirs plus `intercept`."""
    return expit(slope * _logits(probabilities) + intercept)


def _logits(probabilities: np.ndarray) -> np.ndarray:
    return logit(np.clip(probabilities, NEAREST, 1 - NEAREST))
