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
        of_validation = np.array(SITES)[number // 6 % 2]  # each has both classes
        columns |= {"hospital": of_validation if name == "validation" else name if name in SITES else ""}
        columns |= {"aetiology": np.where(label == 0, "none", np.where(number % 2, "virus", "bacteria"))}
        probability = np.clip(signal * label + (1 - signal) * rng.random(images), 0, 1)
        parts.append(pd.DataFrame(columns | {"probability": probability, "path": path}))
    return pd.concat(parts, ignore_index=True)


KINDS = (("federated", "pooled"), ("central", "pooled"), ("alone", "us"), ("alone", "asia"))
METHODS = (  # of an experiment of several methods and two budgets: (mode, site, method), and how good each is
    *((("federated", "pooled", "fedavg"), 0.3), (("federated", "pooled", "fedavg+steps"), 0.4)),
    *((("federated", "pooled", "scaffold"), 0.35), (("central", "pooled", ""), 0.42)),
    *((("alone", site, budget), 0.1) for budget in ("", "steps") for site in SITES),
    *((("personal", site, "ditto"), 0.5) for site in SITES),
    (("coalition", "us+asia", ""), 0.2),
)


def chosen_models(external=(), kinds=None):
    """(chosen.csv, predictions.csv) of two seeds of a federated, a central and two alone models, or of other `kinds`.

    These are as `METHODS`.
    """
    signals = {"federated": 0.4, "central": 0.42, "alone": 0.1}
    kinds = kinds or [((mode, site, ""), signals[mode]) for mode, site in KINDS]
    models = [(*kind, signal) for kind, signal in kinds for _ in (1, 2)]
    points = points_of(
        *((mode, site, 0.1, 1 + i % 2, 0.6 + signal, method) for i, (mode, site, method, signal) in enumerate(models))
    ).assign(chosen=True)
    parts = []
    for i, (mode, site, _, signal) in enumerate(models):
        table = predictions_of(str(i), i, signal=signal, external=external)
        parts.append(table[table["set"].isin(["validation", site])] if mode == "personal" else table)
    predictions = pd.concat(parts, ignore_index=True)
    return with_thresholds(points, thresholds_of(predictions, points)), predictions
