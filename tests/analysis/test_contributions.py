"""What each hospital brings, against explicit permutations and the bootstrap."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from helpers.data import points_of

from fedxray.analysis.bootstrap import patient_weights
from fedxray.analysis.comparison import compare
from fedxray.analysis.contributions import WHAT, contribute
from fedxray.analysis.statistics import holm
from fedxray.training.metrics import auroc

NAMES = ("us", "europe", "asia")  # not in the order of the alphabet
SIGNALS = {"us": 0.1, "europe": 0.15, "asia": 0.02, "us+europe": 0.25, "us+asia": 0.18, "europe+asia": 0.16}


def experiment(seeds):
    """(chosen.csv, predictions.csv) of a federation of three hospitals, each alone, and each two together."""
    kinds = [("federated", "pooled", 0.3), ("central", "pooled", 0.4)]
    kinds += [("coalition" if "+" in site else "alone", site, signal) for site, signal in SIGNALS.items()]
    runs = [(*kind, seed) for kind in kinds for seed in seeds]
    chosen = points_of(*((mode, site, 0.1, seed, 0.8) for mode, site, _, seed in runs)).assign(threshold=0.5)
    number, tables = np.arange(60), []
    labels, patients = number // 3 % 2, number // 3
    for path, (_, _, signal, seed) in enumerate(runs):
        rng = np.random.default_rng([path, seed])
        for name in (*NAMES, "validation", "nih"):
            probability = np.clip(signal * labels + (1 - signal) * rng.random(60), 0, 1)
            table = pd.DataFrame({"label": labels, "probability": probability})
            table = table.assign(path=str(path), set=name, patient=[f"{name}-{patient}" for patient in patients])
            tables.append(table.assign(image=[f"{name}-{image}" for image in number]))
    return chosen, pd.concat(tables, ignore_index=True)


def values_of(chosen, predictions, test_set, weights=None):
    """{members: AUROC, the mean over seeds} of each coalition."""
    found = {}
    for run in chosen[chosen["mode"] != "central"].itertuples():
        tests = predictions[(predictions["path"] == run.path) & predictions["set"].isin(NAMES)]
        tests = tests if test_set == "pooled" else tests[tests["set"] == test_set]
        value = auroc(tests["label"].to_numpy(float), tests["probability"].to_numpy(), weights)
        members = frozenset(NAMES if run.mode == "federated" else run.site.split("+"))
        found.setdefault(members, []).append(value)
    return {members: np.mean(each) for members, each in found.items()} | {frozenset(): 0.5}


def by_orders(value):
    """Shapley's value by its definition: the mean rise over all orders of joining."""
    rises = {name: [] for name in NAMES}
    for order in permutations(NAMES):
        for place, name in enumerate(order):
            rises[name].append(value[frozenset(order[: place + 1])] - value[frozenset(order[:place])])
    return {name: np.mean(each) for name, each in rises.items()}


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_values_are_those_of_all_orders_and_of_leaving_out(seeds):
    chosen, predictions = experiment(seeds)
    table = contribute(chosen, predictions, 0.95, ["nih"])
    assert list(table["test_set"].unique()) == ["pooled", *NAMES]
    assert list(table["hospital"].unique()) == list(NAMES)
    rows = table.set_index(["test_set", "what", "hospital"])
    for test_set in ("pooled", *NAMES):
        value = values_of(chosen, predictions, test_set)
        for name, expected in by_orders(value).items():
            assert rows.at[(test_set, "shapley", name), "estimate"] == pytest.approx(expected)
            left = value[frozenset(NAMES)] - value[frozenset(NAMES) - {name}]
            assert rows.at[(test_set, "leave_one_out", name), "estimate"] == pytest.approx(left)
        total = table["estimate"][(table["test_set"] == test_set) & (table["what"] == "shapley")].sum()
        assert total == pytest.approx(value[frozenset(NAMES)] - 0.5)  # efficiency
    for what in WHAT:
        family = table[table["what"] == what]
        np.testing.assert_allclose(family["p_adjusted"], holm(family["p"].to_numpy()))
    assert (table["low"] < table["estimate"]).all()
    assert (table["estimate"] < table["high"]).all()


def test_the_standard_error_is_that_of_drawn_patients():
    chosen, predictions = experiment((1,))
    row = contribute(chosen, predictions, 0.95, ["nih"]).iloc[0]
    tests = predictions[(predictions["path"] == "0") & predictions["set"].isin(NAMES)]
    drawn = patient_weights(tests["patient"].to_numpy(str), 300, np.random.default_rng(0))
    values = [by_orders(values_of(chosen, predictions, "pooled", weights))["us"] for weights in drawn]
    assert row["se"] == pytest.approx(np.std(values, ddof=1), rel=0.15)


def test_models_of_coalitions_are_compared_nowhere():
    chosen, predictions = experiment((1,))
    assert set(compare(chosen, predictions, 20, 0.95, 1, ["nih"])["mode"]) == {"federated", "central", "alone"}
