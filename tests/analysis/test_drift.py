"""The stability index by hand and against chi-squared, and what is said of weeks that are many, few or changed."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fedxray.analysis.drift import by_week, chance_of, counts_of, edges_of, share_of, stability

MONDAY = date(2026, 1, 5)  # of week 2


def log_of(scores, day=MONDAY, start=0):
    rows = [(day + timedelta(days=n % 7), f"{start + n}", score) for n, score in enumerate(scores)]
    return pd.DataFrame(rows, columns=["day", "image", "score"])


def weeks_of(*parts, labels=None, least=50, bound=0.2, reference=None):
    """The rows of one part a week, of the reference 0.01 to 0.99 whose upper half has pneumonia."""
    reference = np.linspace(0.01, 0.99, 500) if reference is None else reference
    logs = [log_of(part, MONDAY + timedelta(weeks=n), 10_000 * n) for n, part in enumerate(parts)]
    truth = (reference > 0.5).astype(float)
    return by_week(pd.concat(logs), reference, truth, 0.5, bound, least, labels or {})


def test_the_index_is_that_of_a_table_by_hand():
    expected, actual = np.array([9, 19, 69]), np.array([49, 29, 19])
    # With half a case more: 9.5, 19.5, 69.5 of 98.5, and 49.5, 29.5, 19.5 of 98.5.
    by_hand = (40 / 98.5) * np.log(49.5 / 9.5) + (10 / 98.5) * np.log(29.5 / 19.5) + (-50 / 98.5) * np.log(19.5 / 69.5)
    assert stability(expected, actual) == pytest.approx(by_hand, rel=1e-12)
    assert stability(actual, expected) == pytest.approx(by_hand, rel=1e-12)
    assert stability(expected, expected) == 0
    assert np.isfinite(stability(np.array([0, 5]), np.array([5, 0])))


def test_bins_have_as_many_scores_each_and_ties_make_fewer():
    scores = np.arange(100) / 100
    assert list(counts_of(scores, edges_of(scores))) == [10] * 10
    tied = np.array([0.0] * 90 + [1.0] * 10)
    assert counts_of(tied, edges_of(tied)).sum() == 100
    assert len(edges_of(tied)) < 9


def test_what_chance_gives_is_near_the_quantile_of_chi_squared():
    expected, actual = np.full(10, 200), np.full(10, 50)
    quantile = stats.chi2.ppf(0.99, 9) * (1 / 2000 + 1 / 500)
    assert chance_of(expected, actual) == pytest.approx(quantile, rel=0.1)
    assert chance_of(expected, actual) == chance_of(expected, actual)


def test_of_weeks_without_a_change_about_one_in_a_hundred_is_above_chance():
    """By simulation, with few images, where the usual threshold of 0.2 would cry each other week."""
    rng = np.random.default_rng(0)
    above = high = 0
    for _ in range(40):
        table = weeks_of(*rng.beta(0.5, 0.5, (10, 50)), reference=rng.beta(0.5, 0.5, 60))
        above += int((table["psi"] > table["chance"]).sum())
        high += int((table["psi"] > 0.2).sum())
    assert above <= 14  # of 400: 4 expected, weeks that share a reference fall together
    assert high > 100


def test_a_share_has_the_interval_of_wilson():
    scipys = stats.binomtest(7, 40).proportion_ci(0.95, method="wilson")
    assert share_of(7, 40) == pytest.approx((7 / 40, scipys.low, scipys.high), rel=1e-9)
    assert np.isnan(share_of(0, 0)).all()


def test_a_week_that_changed_drifts_one_that_did_not_is_quiet_and_few_images_are_not_judged():
    rng = np.random.default_rng(1)
    same, changed = rng.random(400), 0.5 + rng.random(400) / 2
    table = weeks_of(same, changed, changed[:20])
    assert list(table["week"]) == ["test set", "2026-W02", "2026-W03", "2026-W04"]
    assert list(table["verdict"]) == ["", "quiet", "drift", "too few"]
    assert list(table["images"]) == [500, 400, 400, 20]
    assert table["psi"].isna().tolist() == [True, False, False, True]
    assert table["called"][2] == 1
    assert table["called"][0] == pytest.approx(0.5)
    assert weeks_of(changed[:20], least=10)["verdict"][1] == "drift"


def test_an_index_that_chance_may_explain_is_no_drift():
    table = weeks_of(np.random.default_rng(2).random(50), bound=0.01, reference=np.linspace(0.01, 0.99, 60))
    assert 0.01 < table["psi"][1] < table["chance"][1]
    assert table["verdict"][1] == "not shown"


def test_an_image_that_was_scored_twice_counts_once_and_as_at_first():
    log = pd.concat([log_of([0.9] * 60), log_of([0.1] * 60, MONDAY + timedelta(weeks=1))])
    reference = np.linspace(0.01, 0.99, 500)
    table = by_week(log, reference, (reference > 0.5).astype(float), 0.5, 0.2, 50, {})
    assert list(table["week"]) == ["test set", "2026-W02"]
    assert table["images"][1] == 60
    assert table["called"][1] == 1


def test_an_image_counts_on_its_first_day_though_a_row_of_that_day_came_later():
    late = log_of([0.9] * 60)  # as fedxray-predict --log --day writes it: the last rows, of the first week
    log = pd.concat([log_of([0.1] * 60, MONDAY + timedelta(weeks=1)), late])
    reference = np.linspace(0.01, 0.99, 500)
    table = by_week(log, reference, (reference > 0.5).astype(float), 0.5, 0.2, 50, {})
    assert list(table["week"]) == ["test set", "2026-W02"]
    assert (table["images"][1], table["called"][1]) == (60, 1)


def test_calibration_is_told_once_enough_labels_are_there():
    scores = np.full(100, 0.8)
    labels = {f"{n}": int(n % 4 > 0) for n in range(80)}  # three of four have pneumonia
    row = weeks_of(scores, labels=labels).iloc[1]
    assert row["labelled"] == 80
    assert (row["predicted"], row["observed"]) == pytest.approx((0.8, 0.75))
    assert row["calibration_error"] == pytest.approx(0.05)  # all in one bin
    few = weeks_of(scores, labels={"1": 1}).iloc[1]
    assert few["labelled"] == 1
    assert np.isnan(few["calibration_error"])
