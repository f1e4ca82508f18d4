"""Attacks on a finished model: whose image it was trained on, and the lower bound on epsilon that this proves."""

from typing import NamedTuple

import numpy as np
from scipy.special import bdtrc

from fedxray.training.metrics import auroc, roc

FALSE_POSITIVE_RATES = (0.01, 0.001)  # at which an attack is measured
LARGEST = 64.0  # epsilon; where guesses do not even refute this, no better bound is looked for


class Membership(NamedTuple):
    """How well an attack tells members from others."""

    auc: float  # 0.5: it tells nothing
    low: float  # of the interval of the AUC
    high: float
    rates: dict[float, float]  # {false positive rate: true positive rate}


class Bound(NamedTuple):
    """What guesses about canaries prove."""

    guesses: int
    correct: int
    epsilon: float  # is at least this, at the stated confidence
    most: float  # what it would be if all guesses were right


def confidences(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The logit of each image's own label, float64 (n,), from labels 0 or 1 and probabilities of 1, (n,) each.

    It is the higher, the lower the loss is, and nearer to normal than that (Carlini et al. 2022); cut at +-34.5.
    """
    sure = np.clip(np.where(labels == 1, probabilities, 1 - probabilities), 1e-15, 1 - 1e-15)
    return np.log(sure) - np.log1p(-sure)


def membership(score: np.ndarray, member: np.ndarray, weights: np.ndarray, confidence: float) -> Membership:
    """What an attack finds that calls an image a member if its score is high.

    If the score is how sure the model is of the label, it is the attack by the loss (Yeom et al. 2018).

    Takes scores (n,), members 0 or 1 (n,), and how often each image counts in each replicate of a bootstrap over
    patients (replicates, n), of which the percentile interval of the AUC is made. A true positive rate is the highest
    of any threshold whose false positive rate is no more than the one asked for (Carlini et al. 2022).
    """
    member = member.astype(float)
    drawn = np.array([auroc(member, score, row) for row in weights])
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    negative, positive, _ = roc(member, score)
    rates = {
        rate: float(positive[negative <= rate * negative[-1]].max() / positive[-1]) for rate in FALSE_POSITIVE_RATES
    }
    return Membership(auroc(member, score), float(low), float(high), rates)


def guess(score: np.ndarray, included: np.ndarray, guesses: int) -> int:
    """How many of `guesses` guesses about canaries are right.

    Each of the canaries was trained on if a fair coin said so: `included`, 0 or 1 (m,). Half of the guesses call those
    of the highest `score` (m,) included, half those of the lowest left out; the others are not guessed (Steinke, Nasr &
    Jagielski 2023, algorithm 1). Ties are by the canaries' order, which must tell nothing. Raises ValueError unless
    `guesses` is even and no more than m.
    """
    if guesses % 2 or not 0 < guesses <= len(score):
        raise ValueError(f"{guesses} guesses about {len(score)} canaries; an even number of them")
    order, half = np.argsort(-score, kind="stable"), guesses // 2
    return int(np.sum(included[order[:half]] == 1) + np.sum(included[order[-half:]] == 0))


def p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """The most that `correct` or more right guesses can be likely if training is (epsilon, delta) private.

    The tail of a binomial of `guesses` tries at the accuracy of randomised response, and what delta adds to it
    (Steinke, Nasr & Jagielski 2023, theorem 5.2 and appendix D). `canaries` is the number of coins that were thrown.
    """
    accuracy = 1 / (1 + np.exp(-epsilon))
    tail = float(bdtrc(correct - 1, guesses, accuracy))  # of a binomial: of `correct` or more
    more = 0.0
    if delta and correct:
        lost = np.arange(1, correct + 1)
        more = float(np.max((bdtrc(correct - lost - 1, guesses, accuracy) - tail) / lost))
    return float(min(1.0, tail + 2 * canaries * delta * more))


def least_epsilon(canaries: int, guesses: int, correct: int, delta: float, confidence: float) -> float:
    """The largest epsilon (to 1e-6, from below) that so many right guesses refute at this confidence; 0 if none.

    It is a lower bound on the epsilon of what was trained, if the number of guesses was fixed beforehand.
    """
    low, high, level = 0.0, LARGEST, 1 - confidence
    if p_value(canaries, guesses, correct, low, delta) > level:
        return 0.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        if p_value(canaries, guesses, correct, middle, delta) <= level:
            low = middle
        else:
            high = middle
    return low


def by_canaries(score: np.ndarray, included: np.ndarray, guesses: int, delta: float, confidence: float) -> Bound:
    """The guesses of `guess`, and the bound of `least_epsilon` that they prove."""
    correct = guess(score, included, guesses)
    proved, most = (least_epsilon(len(score), guesses, right, delta, confidence) for right in (correct, guesses))
    return Bound(guesses, correct, proved, most)
