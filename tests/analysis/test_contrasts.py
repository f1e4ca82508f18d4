"""The differences: which there are for each question, and that they are paired, adjusted, and said."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.analysis import DRAW, METHODS, SITES, chosen_models
from scipy import stats

from fedxray.analysis import comparison as evaluation
from fedxray.analysis.contrasts import contrast, patients_needed, verdict
from fedxray.analysis.sentences import summary_text
from fedxray.analysis.statistics import Difference, holm
from fedxray.training.metrics import METRICS


@pytest.fixture(scope="module")
def one():
    return chosen_models()


@pytest.fixture(scope="module")
def several():
    """chosen.csv, predictions.csv and differences.csv of three global methods, a personal one, and two budgets."""
    models = chosen_models(kinds=METHODS)
    return *models, contrast(*models, *DRAW, 0.02, "central")


def pairs(table, question):
    rows = table[(table["question"] == question) & (table["metric"] == "auroc")]
    columns = [rows[name] for name in ("mode", "method", "against", "against_method", "site", "test_set")]
    return list(zip(*columns, strict=True))


def test_the_contrasts_of_one_method_are_paired_adjusted_and_said(one):
    table = contrast(*one, *DRAW, 0.5, "central")
    rows = table[table["metric"] == "auroc"]
    assert list(zip(rows["question"], rows["against"], rows["site"], rows["test_set"], strict=True)) == [
        ("reference", "central", "pooled", "pooled"),
        ("alone", "alone", "us", "pooled"),
        ("alone", "alone", "asia", "pooled"),
        ("joining", "alone", "us", "us"),
        ("joining", "alone", "asia", "asia"),
    ]
    assert set(rows["mode"]) == {"federated"}
    assert set(rows["method"]) == set(rows["against_method"]) == {""}
    for _, family in table.groupby(["question", "metric"]):
        np.testing.assert_allclose(family["p_adjusted"], holm(family["p"].to_numpy()))
    assert list(rows["noninferior"]) == ["true", "", "", "true", "true"]
    assert list(rows["verdict"]) == ["", "", "", "gains", "gains"]
    assert list(rows["patients"]) == [40, 40, 40, 20, 20]
    assert rows["patients_needed"].isna().tolist() == [True] * 3 + [False] * 2
    assert len(table) == 5 * len(METRICS)
    assert "non-inferior within the margin of 0.5" in rows["sentence"].iloc[0]
    summary = evaluation.summarise(*one, *DRAW).set_index(["mode", "site", "test_set", "metric"])["estimate"]
    apart = summary["federated", "pooled", "pooled", "auroc"] - summary["central", "pooled", "pooled", "auroc"]
    assert rows["estimate"].iloc[0] == pytest.approx(apart)
    text = summary_text(evaluation.summarise(*one, *DRAW), table, 0.95)
    assert "us alone" in text
    assert rows["sentence"].iloc[0] in text


def test_each_question_of_several_methods_has_its_own_comparisons(several):
    table = several[-1]
    methods = ["fedavg", "fedavg+steps", "scaffold"]
    assert pairs(table, "reference") == [("federated", method, "central", "", "pooled", "pooled") for method in methods]
    # The method that validation chose, against the hospitals alone of its budget.
    assert pairs(table, "alone") == [("federated", "fedavg+steps", "alone", "steps", site, "pooled") for site in SITES]
    budgets = {"fedavg": "", "fedavg+steps": "steps", "scaffold": ""}
    for site in SITES:
        assert [pair for pair in pairs(table, "joining") if pair[-1] == site] == [
            *(("federated", method, "alone", budgets[method], site, site) for method in methods),
            ("personal", "ditto", "alone", "", site, site),
        ]
    assert pairs(table, "methods") == [
        *(("federated", method, "federated", "fedavg", "pooled", "pooled") for method in methods[1:]),
        *(
            (mode, method, "federated", "fedavg", "pooled", site)
            for site in SITES
            for mode, method in [("federated", "fedavg+steps"), ("federated", "scaffold"), ("personal", "ditto")]
        ),
    ]
    assert set(table["verdict"][table["question"] != "joining"]) == {""}
    assert not set(table["mode"]) & {"coalition", "central", "alone"}


def test_the_reference_may_be_a_method_or_the_hospitals_alone(several):
    chosen, predictions, _ = several
    found = contrast(chosen, predictions, *DRAW, 0.02, "scaffold")
    assert [row[:4] for row in pairs(found, "reference")] == [
        ("federated", method, "federated", "scaffold") for method in ("fedavg", "fedavg+steps")
    ]
    found = contrast(chosen, predictions, *DRAW, 0.02, "alone")
    assert [(row[1], *row[3:5]) for row in pairs(found, "reference")] == [
        *(("fedavg", "", "us"), ("fedavg", "", "asia"), ("fedavg+steps", "steps", "us")),
        *(("fedavg+steps", "steps", "asia"), ("scaffold", "", "us"), ("scaffold", "", "asia")),
    ]
    assert pairs(found, "alone") == []  # which would be the same


def test_an_experiment_of_personal_methods_alone_asks_whether_to_join():
    kinds = [kind for kind in METHODS if kind[0][0] in ("personal", "central") or kind[0][2] == "" != kind[0][0]]
    kinds = [kind for kind in kinds if kind[0][0] != "coalition"]
    table = contrast(*chosen_models(kinds=kinds), *DRAW, 0.02, "central")
    assert set(table["question"]) == {"joining"}
    assert pairs(table, "joining") == [("personal", "ditto", "alone", "", site, site) for site in SITES]


GIVEN = Difference("auroc", -0.005, 0.01, 60.0, -0.025, 0.015, 0.6, 3, 0.01, 0.0, 0.95)


@pytest.mark.parametrize(
    ("estimate", "low", "high", "p", "said"),
    [
        (0.03, 0.01, 0.05, 0.01, "gains"),
        (0.03, 0.01, 0.05, 0.2, "not harmed"),  # not after adjustment
        (-0.005, -0.015, 0.005, 0.5, "not harmed"),
        (-0.005, -0.025, 0.015, 0.5, "not shown"),
        (-0.1, -0.15, -0.05, 0.001, "harmed"),
        (-0.01, -0.015, -0.005, 0.001, "harmed"),  # a small loss that is shown
        (-0.1, -0.15, -0.05, 0.09, "not shown"),
        (np.nan, np.nan, np.nan, np.nan, "not shown"),
        (0.0, 0.0, 0.0, 1.0, "not harmed"),
    ],
)
def test_the_verdict_of_a_hospital(estimate, low, high, p, said):
    assert verdict(replace(GIVEN, estimate=estimate, low=low, high=high), p, 0.02) == said


@pytest.mark.parametrize("between", [0.0, 0.004])
def test_the_patients_that_would_show_that_joining_does_not_harm(between):
    given = replace(GIVEN, se_between=between, se=float(np.hypot(GIVEN.se_within, between)))
    needed = patients_needed(given, 40, 0.02)

    def low(patients):  # of the interval, if there were so many
        return given.estimate - stats.t.ppf(0.975, given.df) * np.hypot(0.01 * np.sqrt(40 / patients), between)

    assert low(needed) > -0.02 >= low(needed - 1)


def test_no_number_of_patients_shows_what_is_not_so():
    assert patients_needed(replace(GIVEN, estimate=-0.02), 40, 0.02) is None
    assert patients_needed(replace(GIVEN, se_between=0.02, se=0.0224), 40, 0.02) is None  # seeds vary too much
    assert patients_needed(replace(GIVEN, low=np.nan, high=np.nan), 40, 0.02) is None
    same = replace(GIVEN, estimate=0.0, se=0.0, se_within=0.0, df=np.nan, low=0.0, high=0.0)
    assert patients_needed(same, 40, 0.02) == 40
