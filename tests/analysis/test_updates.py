"""Strategies for a second wave of patients, against AUROCs that are computed one by one."""

import numpy as np
import pandas as pd
import pytest
from helpers.analysis import DRAW, SITES, chosen_models

from fedxray.analysis.statistics import holm
from fedxray.analysis.updates import update
from fedxray.experiment.cohorts import Cohort
from fedxray.report.figures.updates import updates
from fedxray.training.metrics import METRICS, auroc, evaluate

STRATEGIES = {"all": 0.42, "keep": 0.2, "new": 0.3}


@pytest.fixture(scope="module")
def made():
    """(cohorts, chosen.csv, predictions.csv): of each strategy a federated, a central and two alone models."""
    chosen, predictions, cohorts = [], [], []
    for strategy, signal in STRATEGIES.items():
        name = f"alpha=1,strategy={strategy}"
        cohorts.append(Cohort(name, SITES, {}, {}, strategy, "alpha=1,strategy=keep"))
        kinds = [(("federated", "pooled", ""), signal), (("central", "pooled", ""), signal + 0.05)]
        kinds += [(("alone", site, ""), signal / 2) for site in SITES]
        runs, table = chosen_models(kinds=kinds)
        chosen.append(runs.assign(cohort=name, path=f"{strategy}-" + runs["path"]))
        predictions.append(table.assign(path=f"{strategy}-" + table["path"]))
    tests = pd.concat(predictions, ignore_index=True)
    number = tests["patient"].str.rpartition("-")[2].astype(int)
    return cohorts, pd.concat(chosen, ignore_index=True), tests.assign(wave=1 + number // 2 % 2)


def test_each_strategy_is_compared_with_keeping_the_model_on_new_and_on_old_patients(made):
    cohorts, chosen, predictions = made
    table = update(chosen, predictions, cohorts, *DRAW)
    assert set(table["cohort"]) == {"alpha=1,strategy=keep"}
    assert set(table["strategy"]) == {"all", "new"}
    assert len(table) == 2 * 2 * (2 * 3 + 2) * len(METRICS)  # questions, strategies, models and test sets
    alone = table[table["mode"] == "alone"]
    assert (alone["site"] == alone["test_set"]).all()
    for row in table[table["metric"].isin(["auroc", "brier"])].itertuples():
        values = {}
        for strategy in (row.strategy, "keep"):
            runs = chosen[chosen["cohort"].str.endswith(f"={strategy}") & (chosen["mode"] == row.mode)]
            runs = runs[runs["site"] == row.site]
            each = []
            for run in runs.itertuples():
                part = predictions[(predictions["path"] == run.path) & (predictions["set"] != "validation")]
                part = part[part["wave"] == {"new": 2, "old": 1}[row.question]]
                part = part if row.test_set == "pooled" else part[part["set"] == row.test_set]
                values_of = evaluate(part["label"].to_numpy(float), part["probability"].to_numpy(), run.threshold)
                assert values_of["auroc"] == auroc(part["label"].to_numpy(float), part["probability"].to_numpy())
                each.append(values_of[row.metric])
            assert len(each) == 2
            values[strategy] = np.mean(each)
        assert row.value == pytest.approx(values[row.strategy])
        assert row.kept == pytest.approx(values["keep"])
        assert row.estimate == pytest.approx(row.value - row.kept)
        assert row.low < row.estimate < row.high
    for _, family in table.groupby(["question", "metric"]):
        assert family["p_adjusted"].to_numpy() == pytest.approx(holm(family["p"].to_numpy()), nan_ok=True)
    said = table[(table["test_set"] == "us") & (table["metric"] == "auroc") & (table["mode"] == "alone")]["sentence"]
    assert said.iloc[0].startswith("On new patients of us the AUROC of us alone, all is ")


def test_a_model_that_stays_as_it_was_changes_nothing(made):
    cohorts, chosen, predictions = made
    kept = predictions[predictions["path"].str.startswith("keep-")]
    same = [kept.assign(path=kept["path"].str.replace("keep-", f"{name}-")) for name in STRATEGIES]
    cuts = dict(zip(chosen["path"], chosen["threshold"], strict=True))
    chosen = chosen.assign(
        threshold=[cuts[path.replace("all-", "keep-").replace("new-", "keep-")] for path in chosen["path"]]
    )
    table = update(chosen, pd.concat(same, ignore_index=True), cohorts, *DRAW)
    assert (table["estimate"].dropna() == 0).all()


def test_the_figure_has_a_panel_for_each_test_set_and_a_mark_for_each_strategy(made):
    cohorts, chosen, predictions = made
    table = update(chosen, predictions, cohorts, *DRAW)
    figure = updates(table)
    assert [axis.get_title() for axis in figure.axes] == ["pooled", "us", "asia"]
    marks = [[line for line in axis.lines if line.get_marker() in ("o", "s")] for axis in figure.axes]
    assert [len(lines) for lines in marks] == [4, 6, 6]
    row = table[(table["metric"] == "auroc") & (table["test_set"] == "pooled") & (table["strategy"] == "all")]
    row = row[row["mode"] == "federated"].set_index("question")["estimate"]
    assert (row["new"], row["old"]) in {(line.get_xdata()[0], line.get_ydata()[0]) for line in marks[0]}
