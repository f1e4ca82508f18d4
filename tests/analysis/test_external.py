"""External tests have rows of their own, and no other row knows of them."""

import numpy as np
import pytest
from helpers.analysis import DRAW, SITES, chosen_models

from fedxray.analysis import comparison as evaluation
from fedxray.analysis.at_sites import agreement
from fedxray.analysis.contrasts import contrast
from fedxray.analysis.external import apart
from fedxray.analysis.predictions import thresholds_of
from fedxray.analysis.sentences import summary_text
from fedxray.analysis.statistics import holm
from fedxray.core.errors import UserError
from fedxray.training.metrics import METRICS, auroc

NAMES = ("nih", "other")


@pytest.fixture(scope="module")
def with_external():
    """chosen.csv and predictions.csv of two hospitals and two external tests, and those without."""
    return chosen_models(NAMES), chosen_models()


def test_the_rows_of_hospitals_are_the_same_bytes_with_and_without_external_tests(with_external):
    there, without = with_external
    assert there[0].equals(without[0])  # thresholds too
    assert thresholds_of(there[1], there[0]) == thresholds_of(without[1], there[0])
    pairs = [
        (evaluation.compare(*there, *DRAW, NAMES), evaluation.compare(*without, *DRAW)),
        (evaluation.summarise(*there, *DRAW, NAMES), evaluation.summarise(*without, *DRAW)),
        (contrast(*there, *DRAW, 0.5, "central", NAMES), contrast(*without, *DRAW, 0.5, "central")),
    ]
    for table, expected in pairs:
        of_hospitals, outside = apart(table, NAMES)
        assert of_hospitals.to_csv(index=False) == expected.to_csv(index=False)
        assert set(outside["test_set"]) == set(NAMES)


def test_each_chosen_run_has_a_row_of_each_external_test_at_its_threshold_of_validation(with_external):
    (chosen, predictions), _ = with_external
    table = evaluation.compare(chosen, predictions, *DRAW, NAMES)
    assert list(table["test_set"][:5]) == ["pooled", "us", "asia", "nih", "other"]
    assert list(table["images"][:5]) == [120, 60, 60, 60, 60]
    rows = table[table["test_set"] == "nih"]
    assert len(rows) == len(chosen) == 8
    run = chosen.iloc[0]
    own = predictions[(predictions["path"] == run["path"]) & (predictions["set"] == "nih")]
    first = rows[(rows["mode"] == "federated") & (rows["seed"] == run["seed"])].iloc[0]
    called = own["probability"] >= run["threshold"]
    assert first["auroc"] == pytest.approx(auroc(own["label"].to_numpy(float), own["probability"].to_numpy()))
    assert first["sensitivity"] == pytest.approx(called[own["label"] == 1].mean())
    assert first["auroc_low"] <= first["auroc"] <= first["auroc_high"]
    assert first["patients"] == 20


def test_no_prediction_of_an_external_test_chooses_a_threshold(with_external):
    (chosen, predictions), _ = with_external
    turned = predictions.assign(label=predictions["label"].where(~predictions["set"].isin(NAMES), 1))
    assert thresholds_of(turned, chosen) == thresholds_of(predictions, chosen)


def test_external_differences_are_a_family_of_their_own(with_external):
    there, _ = with_external
    table = contrast(*there, *DRAW, 0.5, "central", NAMES)
    of_hospitals, outside = apart(table, NAMES)
    rows = outside[outside["metric"] == "auroc"]
    models = [("central", "pooled"), ("alone", "us"), ("alone", "asia")]
    assert list(zip(rows["against"], rows["site"], rows["test_set"], strict=True)) == [
        *((*model, "nih") for model in models),
        *((*model, "other") for model in models),
    ]
    np.testing.assert_allclose(rows["p_adjusted"], holm(rows["p"].to_numpy()))
    np.testing.assert_allclose(
        rows["p_adjusted"].min(), 6 * rows["p"].min()
    )  # Holm: the smallest of six counts six times
    assert set(outside["noninferior"]) == {""}
    assert set(of_hospitals["noninferior"]) == {"", "true"}
    assert len(outside) == 6 * len(METRICS)
    summary = evaluation.summarise(*there, *DRAW, NAMES).set_index(["mode", "site", "test_set", "metric"])["estimate"]
    apart_by = summary["federated", "pooled", "nih", "auroc"] - summary["alone", "us", "nih", "auroc"]
    assert rows["estimate"].iloc[1] == pytest.approx(apart_by)


def test_a_sentence_says_that_no_hospital_trained_there(with_external):
    there, _ = with_external
    table = contrast(*there, *DRAW, 0.5, "central", NAMES)
    _, outside = apart(table, NAMES)
    start = "On nih (external, no hospital trained on it) the AUROC of federated is "
    (line,) = outside["sentence"][(outside["metric"] == "auroc") & (outside["against"] == "central")][:1]
    assert line.startswith(start)
    assert "non-inferior" not in line.lower()
    text = summary_text(evaluation.summarise(*there, *DRAW, NAMES), table, 0.95)
    assert line in text
    assert text.index("On the pooled test set") < text.index(start)


def test_an_external_test_without_predictions_is_an_error(with_external):
    _, without = with_external
    for function in (evaluation.compare, evaluation.summarise):
        with pytest.raises(UserError, match="no rows of a test set"):
            function(*without, *DRAW, ["nih"])


def test_the_federations_own_evaluation_is_compared_on_the_hospitals_sets_alone(with_external):
    there, _ = with_external
    comparison = evaluation.compare(*there, *DRAW, NAMES)
    federated = comparison[comparison["mode"] == "federated"].set_index(["seed", "test_set"])
    runs = there[0][there[0]["mode"] == "federated"]
    found = {
        path: {site: dict(federated.loc[(seed, site), list(METRICS)]) for site in SITES}
        for path, seed in zip(runs["path"], runs["seed"], strict=True)
    }
    table = agreement(found, there[0], comparison, 0.0)
    assert set(table["site"]) == set(SITES)
    assert len(table) == 2 * 2 * len(METRICS)
