"""The accountant against the closed form of one Gaussian mechanism, published values and another library."""

import math
import warnings

import numpy as np
import pytest

from fedxray.core.errors import UserError
from fedxray.training.accountant import Steps, _losses, composed, epsilon, sigma_for

RATE, DELTA = 256 / 2869, 1e-5
# (sigma, steps): epsilon by the pessimistic accountant of Google's dp-accounting 0.6.0, rounded to three digits.
PUBLISHED = {
    **{(0.6, 336): 35.029, (0.8, 336): 18.175, (1.0, 336): 11.611, (1.5, 336): 5.879, (2.5, 336): 2.928},
    **{(5.0, 336): 1.282, (1.0, 112): 6.616, (2.0, 1000): 7.233},
}


def closed_form(sigma, delta):
    """The exact epsilon of one Gaussian mechanism of sensitivity 1 (Balle & Wang 2018, arXiv:1805.06530, theorem 8)."""

    def normal(x):
        return 0.5 * math.erfc(-x / math.sqrt(2))

    low, high = 0.0, 200.0
    for _ in range(100):
        middle = (low + high) / 2
        lost = normal(0.5 / sigma - middle * sigma) - math.exp(middle) * normal(-0.5 / sigma - middle * sigma)
        low, high = (middle, high) if lost > delta else (low, middle)
    return high


@pytest.mark.parametrize("sigma", [0.3, 0.7, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("delta", [1e-7, 1e-5, 1e-2])
def test_without_sampling_it_is_the_closed_form_and_never_below(sigma, delta):
    exact = closed_form(sigma, delta)
    assert exact <= epsilon(sigma, 1.0, 1, delta) <= exact + 1e-3


@pytest.mark.parametrize("steps", [2, 30, 500])
def test_steps_without_sampling_are_one_of_less_noise(steps):
    exact = closed_form(4.0 / math.sqrt(steps), DELTA)
    assert exact <= epsilon(4.0, 1.0, steps, DELTA) <= exact + 1e-2


@pytest.mark.parametrize(("sigma", "steps"), PUBLISHED)
def test_it_is_within_two_hundredths_of_the_published_and_never_below(sigma, steps):
    above = epsilon(sigma, RATE, steps, DELTA) - PUBLISHED[sigma, steps]
    assert -5e-4 <= above <= 0.02


@pytest.mark.parametrize(("sigma", "rate", "steps"), [(0.8, 0.05, 200), (1.6, 0.1, 112), (3.0, 0.3, 50)])
def test_it_agrees_with_opacus(sigma, rate, steps):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        accountants = pytest.importorskip("opacus.accountants", reason="opacus is not installed")
        other = accountants.PRVAccountant()
        other.history = [(sigma, rate, steps)]
        published = other.get_epsilon(DELTA)  # within 0.01, and its error is added
    assert published - 0.02 <= epsilon(sigma, rate, steps, DELTA) <= published + 0.01


@pytest.mark.parametrize("parts", [[4.0, 3.0], [1.0, 20.0, 5.0], [2.0] * 4])
def test_unequal_steps_without_sampling_are_one_of_less_noise(parts):
    """Gaussian mechanisms of sensitivity 1 compose to one whose 1/sigma^2 is the sum of theirs."""
    exact = closed_form(sum(sigma**-2 for sigma in parts) ** -0.5, DELTA)
    assert exact <= composed(tuple(Steps(sigma, 1.0, 1) for sigma in parts), DELTA) <= exact + 1e-2


@pytest.mark.parametrize(("sigma", "rate", "steps"), [(0.8, 0.05, 200), (2.0, RATE, 112)])
def test_steps_split_in_parts_cost_what_they_cost_together(sigma, rate, steps):
    parts = (Steps(sigma, rate, 3), Steps(sigma, rate, 20), Steps(sigma, rate, steps - 23))
    together = epsilon(sigma, rate, steps, DELTA)
    assert composed(parts, DELTA) == pytest.approx(together, abs=1e-6)
    assert composed(parts[::-1], DELTA) == pytest.approx(together, abs=1e-6)
    assert composed((*parts, Steps(900.0, 1e-6, 1)), DELTA) == pytest.approx(together, abs=1e-2)
    assert composed((*parts, Steps(3.0, 0.1, 10)), DELTA) > together


def test_unequal_steps_agree_with_opacus():
    parts = (Steps(0.9, 0.05, 50), Steps(1.6, 0.1, 112), Steps(3.0, 0.3, 20))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        accountants = pytest.importorskip("opacus.accountants", reason="opacus is not installed")
        other = accountants.PRVAccountant()
        other.history = [tuple(part) for part in parts]
        published = other.get_epsilon(DELTA)
    assert published - 0.02 <= composed(parts, DELTA) <= published + 0.01


def test_a_divergence_is_the_integral_of_the_two_densities():
    """One sampled step, by a sum over a fine grid of x, for a patient who is removed and one who is added."""
    sigma, rate, x = 0.9, 0.2, np.linspace(-12, 13, 2_000_001)
    plain, moved = (np.exp(-((x - at) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi)) for at in (0, 1))
    mixed = (1 - rate) * plain + rate * moved
    for bound in (0.05, 0.5, 1.5):
        integrals = [
            np.clip(one - math.exp(bound) * other, 0, None).sum() * (x[1] - x[0])
            for one, other in ((mixed, plain), (plain, mixed))
        ]
        for (masses, first, lost), exact in zip(_losses(sigma, rate, 1e-3), integrals, strict=True):
            losses = (first + np.arange(len(masses))) * 1e-3
            ours = lost + (masses * np.clip(-np.expm1(bound - losses), 0, None)).sum()
            assert exact - 1e-9 <= ours <= exact + 1e-5
            assert masses.min() >= 0
            assert masses.sum() + lost == pytest.approx(1, abs=1e-12)


def test_more_noise_fewer_steps_and_rarer_draws_cost_less():
    assert epsilon(2.0, 0.1, 100, DELTA) < epsilon(1.9, 0.1, 100, DELTA)
    assert epsilon(2.0, 0.1, 100, DELTA) < epsilon(2.0, 0.1, 101, DELTA)
    assert epsilon(2.0, 0.1, 100, DELTA) < epsilon(2.0, 0.11, 100, DELTA)
    assert epsilon(2.0, 0.1, 100, DELTA) < epsilon(2.0, 0.1, 100, DELTA / 10)
    assert epsilon(500.0, 0.01, 1, 0.01) == 0.0


@pytest.mark.parametrize("wanted", [0.5, 3.0, 30.0])
def test_the_noise_for_an_epsilon_is_the_least(wanted):
    sigma = sigma_for(wanted, RATE, 112, DELTA)
    assert epsilon(sigma, RATE, 112, DELTA) <= wanted < epsilon(sigma - 1e-4, RATE, 112, DELTA)


def test_what_has_no_epsilon_is_refused():
    for wrong in [(0.1, 0.1, 1, DELTA), (1.0, 0.0, 1, DELTA), (1.0, 1.1, 1, DELTA), (1.0, 0.1, 0, DELTA)]:
        with pytest.raises(ValueError, match="no epsilon"):
            epsilon(*wrong)
    with pytest.raises(ValueError, match="no epsilon"):
        epsilon(1.0, 0.1, 1, 1e-10)
    with pytest.raises(ValueError, match="no epsilon for 0 kinds"):
        composed((), DELTA)
    with pytest.raises(UserError, match=r"privacy\.epsilon: 0\.001 needs"):
        sigma_for(0.001, 1.0, 1000, DELTA)
