from dataclasses import replace

import numpy as np
import pytest
from helpers.data import make_settings

from fedxray.audit.findings import COLUMNS, EXAMPLE, of_canaries, of_members, of_step
from fedxray.audit.inversion import KINDS
from fedxray.audit.membership import Bound, Membership
from fedxray.audit.power import phantoms

BY_HEART = Membership(0.9, 0.8, 0.95, {0.01: 0.5, 0.001: 0.2})


def test_an_attack_that_finds_nothing_says_so_and_what_it_can_find():
    rows = of_members("federated", Membership(0.51, 0.47, 0.55, {0.01: 0.014, 0.001: 0.0}), BY_HEART)
    assert rows[0]["sentence"] == (
        "The attack finds nothing beyond chance (AUC 0.510 [0.470, 0.550]); on a model that knows its images by heart "
        "it has an AUC of 0.90. A stronger attack may find what this one does not."
    )
    assert [row["statistic"] for row in rows[1:]] == [
        "true positives at 1.0% false ones",
        "true positives at 0.1% false ones",
    ]
    assert all(set(row) == set(COLUMNS) for row in rows)


def test_an_attack_that_finds_something_says_so():
    (area, *_) = of_members("central", BY_HEART, None)
    assert area["sentence"] == "The loss tells images that were trained on from others (AUC 0.900 [0.800, 0.950])."


def test_guesses_are_said_with_what_they_prove():
    row = of_canaries("central", Bound(100, 92, 1.82), 0.95)
    assert row["sentence"] == "92 of 100 guesses are right, so epsilon is at least 1.82 (95% confidence)."
    assert set(row) == set(COLUMNS)
    assert "proves no epsilon above 0" in of_canaries("central", Bound(100, 50, 0.0), 0.95)["sentence"]


def test_the_compact_network_gives_a_row_for_each_update_and_no_picture():
    images, labels = phantoms(2, 32, 1)
    rows, pictures = of_step("compact", make_settings(), 1, images, labels, EXAMPLE)
    assert [row["statistic"] for row in rows] == [f"feature correlation, {kind}" for kind in KINDS]
    assert all("64 means at most" in row["sentence"] for row in rows)
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    assert all(set(row) == set(COLUMNS) for row in rows)
    assert pictures == []


def test_a_network_like_the_demos_gives_the_picture_of_one_image_away_in_clear_alone(wide):
    images, labels = phantoms(1, 32, 1)
    rows, (shown,) = of_step("wide", make_settings(), 1, images, labels, EXAMPLE, (0,))
    found = {row["statistic"].rpartition(", ")[2]: row for row in rows}
    assert found["in clear"]["value"] == pytest.approx(1, abs=1e-4)
    assert found["masked"]["high"] < 0.15  # of 64 rows and 2,048 features, by chance
    assert found["with noise"]["high"] < 0.15
    assert 0.2 < found["as sent"]["value"] < 0.95
    assert "exact features of its image" in found["in clear"]["sentence"]
    assert "clipped to 0.1, with noise of a deviation of 0.0908" in found["with noise"]["sentence"]
    like = {kind: np.corrcoef(shown[kind].ravel(), shown["true"].ravel())[0, 1] for kind in KINDS[:3]}
    assert like["in clear"] > 0.85
    assert max(abs(like["masked"]), abs(like["with noise"])) < 0.3


def test_the_demos_network_gives_the_features_of_one_image_away_exactly():
    images, labels = phantoms(1, 224, 1)
    rows, _ = of_step("demo", make_settings(), 1, images, labels, EXAMPLE)
    found = {row["statistic"].rpartition(", ")[2]: row for row in rows}
    assert found["in clear"]["value"] == pytest.approx(1, abs=1e-4)
    assert found["masked"]["high"] < 0.05
    assert found["with noise"]["high"] < 0.05
    assert 0.3 < found["as sent"]["value"] < 0.9
    assert "shows the server nothing" in found["masked"]["sentence"]


def test_noise_that_a_hospital_shares_with_others_is_its_own_share():
    noise = replace(EXAMPLE, place="sum", sigma=2.0, sites=5, colluders=1)
    images, labels = phantoms(1, 32, 1)
    rows, _ = of_step("compact", make_settings(), 1, images, labels, noise)
    sentences = [row["sentence"] for row in rows if row["statistic"].endswith("with noise")]
    assert len(sentences) == 1
    assert "deviation of 0.1," in sentences[0]  # 2.0 x 0.1 / sqrt(4)
