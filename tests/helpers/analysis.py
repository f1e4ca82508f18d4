"""Invented predictions, and a small experiment of chosen models that made them."""

import numpy as np
import pandas as pd
from helpers.data import points_of

from fedxray.analysis.choice import with_thresholds
from fedxray.analysis.predictions import thresholds_of

DRAW = 50, 0.95, 1  # replicates, confidence, seed
SITES = ("us", "asia")


def predictions_of(path="a", seed=0, images=60, signal=0.4, external=()):
    """Predictions of a model at `path`: three images of each patient; images and labels do not depend on the seed.

    Those of the sets `external` come last, and change no others.
    """
    rng, parts = np.random.default_rng(seed), []
    for name in ("validation", *SITES, *external):
        number = np.arange(images)
        label = number // 3 % 2
        columns = {"set": name, "patient": [f"{name}-{n // 3}" for n in number], "label": label}
        columns |= {"image": [f"{name}-{n}" for n in number]}
        columns |= {"aetiology": np.where(label == 0, "none", np.where(number % 2, "virus", "bacteria"))}
        probability = np.clip(signal * label + (1 - signal) * rng.random(images), 0, 1)
        parts.append(pd.DataFrame(columns | {"probability": probability, "path": path}))
    return pd.concat(parts, ignore_index=True)


def chosen_models(external=()):
    """(chosen.csv, predictions.csv) of a federated, a central and two alone models, of two seeds each."""
    kinds = [("federated", "pooled"), ("central", "pooled"), ("alone", "us"), ("alone", "asia")]
    points = points_of(*((mode, site, 0.1, seed, 0.8) for mode, site in kinds for seed in (1, 2))).assign(chosen=True)
    signals = {"federated": 0.4, "central": 0.42, "alone": 0.1}
    parts = [
        predictions_of(row["path"], i, signal=signals[row["mode"]], external=external)
        for i, (_, row) in enumerate(points.iterrows())
    ]
    predictions = pd.concat(parts, ignore_index=True)
    return with_thresholds(points, thresholds_of(predictions)), predictions
