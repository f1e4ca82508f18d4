from dataclasses import replace

import pytest

from fedxray.analysis.sentences import sentence
from fedxray.analysis.statistics import Difference

pytestmark = pytest.mark.filterwarnings("error")

GIVEN = Difference("auroc", -0.0021, 0.003, 100.0, -0.0076, 0.0034, 0.4, 3, 0.002, 0.0022, 0.95)


@pytest.mark.parametrize(
    ("changes", "p", "margin", "text"),
    [
        (
            {},
            0.8,
            0.02,
            "On the pooled test set the AUROC of federated is 0.0021 [-0.0034, 0.0076] below central; the interval "
            "includes 0, so this test set does not tell them apart. Federated is non-inferior within the margin of "
            "0.02.",
        ),
        ({}, 0.8, 0.005, "not tell them apart. Non-inferiority within the margin of 0.005 is not shown."),
        (
            {"high": -0.0001},
            0.0004,
            None,
            "[0.0001, 0.0076] below central; the interval excludes 0: federated is worse",
        ),
        ({"high": -0.0001}, 0.0004, None, "(p < 0.001, adjusted)."),
        ({"high": -0.0001}, 0.06, None, "adjusted for the number of comparisons (p = 0.060) this does not tell them"),
        ({"estimate": 0.02, "low": 0.01, "high": 0.03}, 0.012, None, "0.0200 [0.0100, 0.0300] above central; the int"),
        ({"estimate": 0.02, "low": 0.01, "high": 0.03}, 0.012, None, "federated is better (p = 0.012, adjusted)."),
        (
            {"metric": "brier", "estimate": 0.02, "low": 0.01, "high": 0.03},
            0.012,
            None,
            "federated is worse (p = 0.012",
        ),
        (
            {"metric": "brier", "high": -0.0001},
            0.012,
            None,
            "the Brier score of federated is 0.0021 [0.0001, 0.0076] b",
        ),
        ({"metric": "calibration_error", "high": -0.0001}, 0.012, None, "federated is better (p = 0.012, adjusted)."),
        ({"metric": "calibration_error"}, 0.5, None, "the calibration error of federated"),
        (
            {"estimate": 0.0, "low": -0.01, "high": 0.01},
            1.0,
            None,
            "is equal to that of central [-0.0100, 0.0100]; the",
        ),
        ({"seeds": 1}, 0.8, None, "With one seed the interval does not include the variation between seeds."),
    ],
)
def test_sentences(changes, p, margin, text):
    said = sentence(replace(GIVEN, **changes), "federated", "central", p, margin)
    assert text in said
    assert ("better" in said) + ("worse" in said) == ("excludes 0: " in said)
    assert ("one seed" in said) == ("seeds" in changes)


def test_a_sentence_names_its_test_set():
    assert sentence(GIVEN, "a", "b", 0.5, where="the europe test set").startswith(
        "On the europe test set the AUROC of a"
    )
