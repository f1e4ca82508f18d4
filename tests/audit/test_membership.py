import numpy as np
import pytest
from scipy.special import logit
from scipy.stats import beta, binom
from sklearn.metrics import log_loss, roc_auc_score, roc_curve

from fedxray.audit.membership import by_canaries, confidences, guess, least_epsilon, membership, p_value
from fedxray.core.seeds import stream


def test_how_sure_a_model_is_is_the_logit_of_the_label_and_falls_with_its_cross_entropy():
    labels, probabilities = np.array([0, 1, 1]), np.array([0.2, 0.7, 0.01])
    found = confidences(labels, probabilities)
    assert found == pytest.approx(logit([0.8, 0.7, 0.01]))
    losses = [log_loss([label], [p], labels=[0, 1]) for label, p in zip(labels, probabilities, strict=True)]
    assert found == pytest.approx(-np.log(np.expm1(losses)))
    assert confidences(np.array([1, 0]), np.array([0.0, 0.0])) == pytest.approx([-34.5, 34.5], abs=0.1)


def test_an_attack_is_measured_by_scikit_learns_curve_of_its_score():
    rng = stream(1, "membership")
    member = np.repeat([1, 0], 2000)
    score = -rng.exponential(np.where(member, 0.3, 1.0))
    found = membership(score, member, np.ones((2, 4000)), 0.95)
    assert found.auc == pytest.approx(roc_auc_score(member, score))
    assert found.low == found.high == pytest.approx(found.auc)  # each replicate counts each image once
    false, true, _ = roc_curve(member, score, drop_intermediate=False)
    assert found.rates == {rate: pytest.approx(true[false <= rate].max()) for rate in (0.01, 0.001)}


def test_scores_that_are_alike_tell_nothing_and_the_interval_says_so():
    rng = stream(2, "membership")
    member, weights = np.tile([0, 1], 300), rng.multinomial(600, np.full(600, 1 / 600), 400)
    found = membership(rng.exponential(size=600), member, weights, 0.95)
    assert found.low < 0.5 < found.high
    # The deviation of the AUC of two like groups of 300 (Mann & Whitney 1947).
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(np.sqrt(601 / (12 * 300 * 300)), rel=0.2)


def test_guesses_are_of_the_highest_and_lowest_scores_alone():
    score, included = np.array([0.9, 0.8, 0.5, 0.2, 0.1]), np.array([1, 0, 0, 1, 0])
    assert guess(score, included, 2) == 2
    assert guess(score, included, 4) == 2
    for wrong in (3, 6, 0):
        with pytest.raises(ValueError, match="guesses"):
            guess(score, included, wrong)


@pytest.mark.parametrize(("guesses", "correct"), [(40, 27), (60, 40), (100, 61), (272, 161), (1000, 990)])
def test_without_delta_the_bound_is_that_of_clopper_and_pearson(guesses, correct):
    least = beta.ppf(0.05, correct, guesses - correct + 1)  # of the accuracy
    expected = max(0.0, np.log(least / (1 - least)))
    assert least_epsilon(guesses, guesses, correct, 0.0, 0.95) == pytest.approx(expected, abs=1e-5)


def test_delta_weakens_the_bound_as_the_authors_program_says():
    def published(m, r, v, epsilon, delta):  # appendix D of the paper, as it is printed
        q = 1 / (1 + np.exp(-epsilon))
        alpha = total = 0.0
        for i in range(1, v + 1):
            total += binom.pmf(v - i, r, q)
            if total > i * alpha:
                alpha = total / i
        return min(binom.sf(v - 1, r, q) + alpha * delta * 2 * m, 1)

    for case in [(1000, 100, 75, 1.0, 1e-5), (1000, 1000, 600, 0.3, 1e-4), (100, 60, 60, 2.0, 1e-3)]:
        assert p_value(*case) == pytest.approx(published(*case), rel=1e-9)
    assert least_epsilon(1000, 100, 75, 1e-3, 0.95) < least_epsilon(1000, 100, 75, 0.0, 0.95)


def test_guesses_no_better_than_a_coin_prove_nothing():
    assert least_epsilon(100, 100, 50, 0.0, 0.95) == 0
    assert least_epsilon(100, 100, 40, 1e-5, 0.95) == 0


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_of_randomised_response_the_bound_holds_as_often_as_stated_and_comes_near(epsilon):
    rng, keeps = stream(3, "canaries", str(epsilon)), 1 / (1 + np.exp(-epsilon))
    bounds = []
    for _ in range(400):
        included = rng.integers(0, 2, 500)
        score = np.where(rng.random(500) < keeps, included, 1 - included) + 1e-6 * rng.random(500)
        answered = (score > 0.5).sum()
        guesses = 2 * min(answered, 500 - answered)  # of those that answer so; the others have no say
        bounds.append(by_canaries(score, included, int(guesses), 0.0, 0.95).epsilon)
    assert np.mean(np.array(bounds) <= epsilon) >= 0.95 - 1.645 * np.sqrt(0.95 * 0.05 / 400)
    assert np.median(bounds) > epsilon - 0.4
    assert max(bounds) < epsilon + 1
    assert least_epsilon(10**6, 10**6, round(keeps * 10**6), 0.0, 0.95) == pytest.approx(epsilon, abs=0.01)
