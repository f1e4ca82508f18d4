"""The choice of a method, and its table: by validation alone."""

import numpy as np
import pandas as pd
import pytest
from helpers.analysis import DRAW, METHODS, SITES, chosen_models
from sklearn.metrics import roc_auc_score

from fedxray.analysis.comparison import summarise
from fedxray.analysis.contrasts import contrast
from fedxray.analysis.methods import COLUMNS, _with_plain_gains, table_of_methods, validated
from fedxray.core.files import read_table, write_table


@pytest.fixture(scope="module")
def models():
    return chosen_models(kinds=METHODS)


def table_of(chosen, predictions, reference="central"):
    summary = summarise(chosen, predictions, *DRAW)
    contrasts = contrast(chosen, predictions, *DRAW, 0.02, reference)
    return table_of_methods(chosen, predictions, summary, contrasts), contrasts


def test_the_pooled_patients_and_each_hospital_have_the_models_that_they_could_use(models):
    table, _ = table_of(*models)
    assert list(table) == COLUMNS
    shared = [(mode, method, site) for (mode, site, method), _ in METHODS if site == "pooled"]
    alone = [("alone", budget, site) for budget in ("", "steps") for site in SITES]
    for hospital in ("pooled", *SITES):
        rows = table[table["hospital"] == hospital]
        found = list(rows[["mode", "method", "site"]].itertuples(index=False, name=None))
        own = [(mode, method, hospital) for mode, method in (("alone", ""), ("alone", "steps"), ("personal", "ditto"))]
        assert found == (shared + alone if hospital == "pooled" else shared + own)
    assert list(table["hospital"].unique()) == ["pooled", *SITES]


def test_of_a_hospital_the_best_on_its_own_validation_is_chosen(models):
    chosen, predictions = models
    table = validated(chosen, predictions)
    for hospital in SITES:
        rows = table[table["hospital"] == hospital]
        for row in rows.itertuples():
            runs = chosen[(chosen[["mode", "method", "site"]] == [row.mode, row.method, row.site]).all(axis=1)]
            parts = [predictions[predictions["path"] == path] for path in runs["path"]]
            own = [part[(part["set"] == "validation") & (part["hospital"] == hospital)] for part in parts]
            values = [roc_auc_score(part["label"], part["probability"]) for part in own]
            assert row.validation_auroc == pytest.approx(np.mean(values))
        candidates = rows[rows["mode"] != "central"]
        assert rows["chosen"].sum() == 1
        assert rows["chosen"][candidates["validation_auroc"].idxmax()]
    pooled = table[(table["hospital"] == "pooled") & table["chosen"]]
    assert list(pooled["method"]) == ["fedavg+steps"]


def test_where_nothing_is_better_than_alone_alone_is_chosen(models):
    chosen, predictions = models
    perfect = predictions.assign(probability=predictions["label"].astype(float))
    table = validated(chosen, perfect)
    assert set(table["mode"][table["chosen"] & (table["hospital"] != "pooled")]) == {"alone"}


def test_no_test_label_and_no_test_prediction_moves_a_choice(models):
    chosen, predictions = models
    rng, tests = np.random.default_rng(0), predictions["set"] != "validation"
    permuted = predictions.copy()
    permuted.loc[tests, "label"] = rng.permutation(predictions["label"][tests])
    permuted.loc[tests, "probability"] = rng.permutation(predictions["probability"][tests])
    before, after = table_of(chosen, predictions)[0], table_of(chosen, permuted)[0]
    choice = ["cohort", "hospital", "mode", "method", "site", "validation_auroc", "chosen"]
    pd.testing.assert_frame_equal(before[choice], after[choice])
    assert not before["auroc"].equals(after["auroc"])
    pd.testing.assert_frame_equal(validated(chosen, predictions[~tests]), before[choice])


def test_gains_and_verdicts_are_those_of_the_contrasts(models, tmp_path):
    table, contrasts = table_of(*models)
    write_table(tmp_path / "methods.csv", table)
    table = read_table(tmp_path / "methods.csv").set_index(["hospital", "mode", "method", "site"])
    rows = contrasts[contrasts["metric"] == "auroc"].set_index(["question", "mode", "method", "test_set"])
    joined = rows.loc[("joining", "personal", "ditto", "us")]
    row = table.loc[("us", "personal", "ditto", "us")]
    for of, name in (("estimate", "gain"), ("high", "gain_high"), ("verdict", "verdict"), ("p_adjusted", "p_adjusted")):
        assert row[name] == joined[of]
    assert row["against"] == "us alone"
    row = table.loc[("pooled", "federated", "scaffold", "pooled")]
    assert row["gain"] == rows.loc[("reference", "federated", "scaffold", "pooled"), "estimate"]
    assert (row["against"], row["verdict"], row["bytes_sent"], row["rounds"]) == ("central", "", 4000, 4)
    central = table.loc[("us", "central", "", "pooled")]
    assert central["gain"] == pytest.approx(central["auroc"] - table.at[("us", "alone", "", "us"), "auroc"])
    assert np.isnan(central["gain_low"])
    assert np.isnan(table.at[("us", "alone", "", "us"), "gain"])


def test_against_the_hospitals_alone_the_best_of_them_counts(models):
    table, contrasts = table_of(*models, "alone")
    rows = contrasts[(contrasts["question"] == "reference") & (contrasts["metric"] == "auroc")]
    least = rows[rows["method"] == "scaffold"].sort_values("estimate").iloc[0]
    row = table[(table["hospital"] == "pooled") & (table["method"] == "scaffold")].iloc[0]
    assert (row["gain"], row["against"]) == (least["estimate"], f"{least['site']} alone")


def test_an_experiment_of_one_method_has_the_same_table():
    table, _ = table_of(*chosen_models())
    assert list(table["hospital"]) == ["pooled"] * 4 + ["us"] * 3 + ["asia"] * 3
    assert list(table["mode"][table["chosen"]]) == ["federated"] * 3
    assert set(table["method"]) == {""}


def test_a_hospital_alone_with_noise_has_its_gain_over_itself_without():
    rows = [
        ("federated", "fedavg", "pooled", 0.9, "us alone", 0.1),
        ("alone", "", "us", 0.8, "", np.nan),
        ("alone", "epsilon=8", "us", 0.6, "", np.nan),
    ]
    table = pd.DataFrame(rows, columns=["mode", "method", "site", "auroc", "against", "gain"])
    made = _with_plain_gains(table.assign(cohort="", hospital="us"))
    assert list(made["against"]) == ["us alone", "", "us alone"]
    assert made["gain"].iloc[2] == pytest.approx(-0.2)
    assert np.isnan(made["gain"].iloc[1])
