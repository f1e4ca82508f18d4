from dataclasses import replace

import numpy as np
import pytest
from helpers.data import make_settings

from fedxray.audit.findings import COLUMNS, EXAMPLE, of_canaries, of_members, of_search, of_step
from fedxray.audit.inversion import KINDS
from fedxray.audit.membership import Bound, Membership
from fedxray.audit.power import phantoms

BY_HEART = Membership(0.9, 0.8, 0.95, {0.01: 0.5, 0.001: 0.2})
PROVED = Bound(100, 92, 1.82, 3.4)


def test_an_attack_that_finds_nothing_says_so_and_what_it_can_find():
    found = Membership(0.51, 0.47, 0.55, {0.01: 0.014, 0.001: 0.0})
    rows = of_members("membership by loss", "federated", found, BY_HEART)
    assert rows[0]["sentence"] == (
        "The attack finds nothing beyond chance (AUC 0.510 [0.470, 0.550]); on a model that knows its images by heart "
        "it has an AUC of 0.90. A stronger attack may find what this one does not."
    )
    assert [row["statistic"] for row in rows[1:]] == [
        "true positives at 1.0% false ones",
        "true positives at 0.1% false ones",
    ]
    assert [row["power"] for row in rows] == [0.9, 0.5, 0.2]
    assert all(set(row) == set(COLUMNS) for row in rows)


def test_an_attack_that_finds_something_says_so():
    (area, *_) = of_members("membership by LiRA", "central", Membership(0.6, 0.55, 0.65, {}), BY_HEART)
    assert area["sentence"].startswith(
        "LiRA with 4 shadow models tells images that were trained on from others (AUC 0.600 [0.550, 0.650]);"
    )


def test_guesses_are_said_with_what_they_prove_and_what_is_claimed():
    found = Bound(50, 40, 0.71, 2.79)
    row = of_canaries("federated", found, 0.95, {}, PROVED)
    assert row["sentence"] == (
        "40 of 50 guesses are right, so epsilon is at least 0.71 (95% confidence). If all were right, they would prove "
        "2.79; of a model that knows its images by heart the attack proves 1.82. Nothing is claimed."
    )
    assert set(row) == set(COLUMNS)
    assert np.isnan(row["claimed"])
    row = of_canaries("federated", found, 0.95, {"epsilon": 3.0}, PROVED)
    assert row["sentence"].endswith("Claimed is at most 3, with which this agrees.")
    assert (row["value"], row["power"], row["claimed"]) == (0.71, 1.82, 3.0)
    refuted = of_canaries("federated", found, 0.95, {"epsilon": 0.5}, PROVED)["sentence"]
    assert "This refutes the 0.5 that is claimed, unless it is the one case in 20" in refuted
    nothing = of_canaries("federated", Bound(50, 25, 0.0, 2.79), 0.95, {}, PROVED)["sentence"]
    assert "proves no epsilon above 0" in nothing


def test_the_compact_network_gives_a_row_for_each_update_and_no_picture():
    images, labels = phantoms(2, 32, 1)
    rows, pictures = of_step("compact", make_settings(), 1, images, labels, EXAMPLE, power=0.99)
    assert [row["statistic"] for row in rows] == [f"feature correlation, {kind}" for kind in KINDS]
    assert all("64 means at most" in row["sentence"] for row in rows)
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    assert {row["power"] for row in rows} == {0.99}
    assert all(set(row) == set(COLUMNS) for row in rows)
    assert pictures == []


def test_a_network_like_the_demos_gives_the_picture_of_one_image_away_in_clear_alone(wide):
    images, labels = phantoms(1, 32, 1)
    rows, (shown,) = of_step("wide", make_settings(), 1, images, labels, EXAMPLE, (0,))
    found = {row["statistic"].rpartition(", ")[2]: row for row in rows}
    assert found["in clear"]["value"] == pytest.approx(1, abs=1e-4)
    assert {row["power"] for row in rows} == {found["in clear"]["value"]}
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


def test_a_search_for_a_picture_is_said_beside_the_average_that_needs_none(monkeypatch):
    monkeypatch.setattr("fedxray.audit.findings.SEARCHED", 2)
    images, labels = phantoms(12, 32, 1)
    found, guessed = of_search("compact", make_settings(), 1, images, labels, 0.97)
    assert [row["statistic"] for row in (found, guessed)] == ["picture correlation", "average of its label"]
    others = [image for image, label in zip(images[1:], labels[1:], strict=True) if label == labels[0]]
    standard = [(image - image.mean()) / (image.std(ddof=1) + 1) for image in others]
    assert guessed["value"] == pytest.approx(np.corrcoef(np.mean(standard, axis=0).ravel(), images[0].ravel())[0, 1])
    adds = "adds nothing" if found["value"] <= guessed["value"] else "adds to it"
    assert found["sentence"].endswith(f"so the search {adds}.")
    assert (found["power"], set(found)) == (0.97, set(COLUMNS))
