import numpy as np
import pytest
from helpers.analysis import DRAW, METHODS, SITES, chosen_models, predictions_of

from fedxray.analysis import comparison as evaluation
from fedxray.analysis.choice import with_thresholds
from fedxray.analysis.predictions import thresholds_of
from fedxray.core.errors import UserError
from fedxray.core.files import read_table, write_table
from fedxray.training.metrics import METRICS, auroc, choose_threshold


@pytest.fixture
def experiment():
    return chosen_models()


def test_the_threshold_is_of_validation_and_test_labels_cannot_move_it(experiment):
    chosen, table = experiment
    own = table[(table["path"] == "0") & (table["set"] == "validation")]
    expected = choose_threshold(own["label"].to_numpy(float), own["probability"].to_numpy())
    turned = table.assign(label=table["label"].where(table["set"] == "validation", 1 - table["label"]))
    for given in (table, turned):
        points = with_thresholds(chosen[:1].drop(columns="threshold"), thresholds_of(given, chosen[:1]))
        rows = evaluation.compare(points, given, *DRAW)
        assert set(rows["threshold"]) == {expected}
    assert list(rows["test_set"]) == ["pooled", "us", "asia"]
    assert list(rows["images"]) == [120, 60, 60]
    assert (rows["auroc_low"] <= rows["auroc_high"]).all()


def test_the_comparison_has_a_row_for_each_run_and_test_set(experiment, tmp_path):
    table = evaluation.compare(*experiment, *DRAW)
    assert list(table["mode"]) == ["federated"] * 6 + ["central"] * 6 + ["alone"] * 12
    wanted = ["mode", "method", "cohort", "site", "test_set", "lr", "epochs", "round", "seed"]
    assert list(table.columns[:9]) == wanted
    assert table["round"].isna().sum() == 18
    assert {f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high")} <= set(table)
    write_table(tmp_path / "c.csv", table)
    assert read_table(tmp_path / "c.csv")["round"].isna().sum() == 18


def test_the_same_seed_gives_the_same_intervals(experiment):
    one, same, other = (evaluation.compare(*experiment, 50, 0.95, seed) for seed in (1, 1, 2))
    assert one.equals(same)
    assert not one.equals(other)


def test_no_test_set_is_an_error(experiment):
    chosen, table = experiment
    with pytest.raises(UserError, match="no rows"):
        evaluation.compare(chosen, table[table["set"] == "validation"], *DRAW)


def test_the_summary_is_the_mean_over_seeds(experiment):
    table = experiment[1]
    summary = evaluation.summarise(*experiment, *DRAW)
    row = summary[(summary["mode"] == "federated") & (summary["test_set"] == "us") & (summary["metric"] == "auroc")]
    each = []
    for path in ("0", "1"):
        part = table[(table["path"] == path) & (table["set"] == "us")]
        each.append(auroc(part["label"].to_numpy(float), part["probability"].to_numpy()))
    assert row["estimate"].item() == pytest.approx(np.mean(each))
    assert row["se_between"].item() == pytest.approx(np.std(each, ddof=1) / np.sqrt(2))
    assert len(summary) == 4 * 3 * len(METRICS)


def test_personal_models_are_judged_by_their_hospitals_patients_and_coalitions_not_at_all():
    chosen, predictions = chosen_models(kinds=METHODS)
    for table in (evaluation.compare(chosen, predictions, *DRAW), evaluation.summarise(chosen, predictions, *DRAW)):
        assert "coalition" not in set(table["mode"])
        own = table[table["mode"] == "personal"]
        assert (own["site"] == own["test_set"]).all()
        sets = table.groupby(["mode", "method", "site"])["test_set"].agg(lambda names: list(dict.fromkeys(names)))
        assert sets["personal", "ditto", "us"] == ["us"]
        assert sets["federated", "scaffold", "pooled"] == ["pooled", *SITES]
        assert len(sets) == len(METHODS) - 1
    summary = evaluation.summarise(chosen, predictions, *DRAW)
    means = evaluation.fairness(summary[summary["metric"] == "auroc"])
    values = summary[(summary["mode"] == "personal") & (summary["metric"] == "auroc")].set_index("site")["estimate"]
    assert means.loc["ditto", list(SITES)].tolist() == values[list(SITES)].tolist()
    assert np.isnan(means.at["ditto", "pooled"])


def test_models_that_were_asked_other_images_cannot_be_contrasted(experiment):
    chosen, table = experiment
    wrong = table.drop(table.index[(table["path"] == "2") & (table["image"] == "us-0")])
    with pytest.raises(UserError, match="2 was asked other images"):
        evaluation.summarise(chosen, wrong, *DRAW)


def test_fairness_names_the_worst_site_and_the_spread(experiment):
    summary = evaluation.summarise(*experiment, *DRAW)
    table = evaluation.fairness(summary[summary["metric"] == "auroc"])
    assert list(table.index) == ["federated", "central", "us alone", "asia alone"]
    row = table.loc["federated"]
    assert row["worst site"] == min(row["us"], row["asia"])
    assert row["spread"] == pytest.approx(abs(row["us"] - row["asia"]))


def test_by_aetiology_against_normal():
    table = predictions_of()
    rows = evaluation.by_aetiology(table, 0.5, *DRAW).set_index("aetiology")
    tests = table[table["set"] != "validation"]
    for aetiology in ("virus", "bacteria"):
        part = tests[tests["aetiology"].isin(["none", aetiology])]
        expected = auroc(part["label"].to_numpy(float), part["probability"].to_numpy())
        assert rows.at[aetiology, "auroc"] == pytest.approx(expected)
        called = (tests["probability"][tests["aetiology"] == aetiology] >= 0.5).mean()
        assert rows.at[aetiology, "called_pneumonia"] == pytest.approx(called)
        assert rows.at[aetiology, "auroc_low"] <= expected <= rows.at[aetiology, "auroc_high"]
    assert np.isnan(rows.at["none", "auroc"])
