import pytest
from helpers.data import make_settings

from fedxray.federation.policy import Policy, Schedule


def test_a_schedule_of_another_budget_than_its_settings_is_refused():
    Schedule(3, 4).check(make_settings(epochs=12))
    with pytest.raises(ValueError, match="settings of 12 epochs, but 3 rounds of 5 local epochs"):
        Schedule(3, 5).check(make_settings(epochs=12))


def test_who_must_answer():
    sites = ["a", "b", "c"]
    assert Policy(60, "fail", 0).needed(sites) == Policy(60, "drop", 0).needed(sites) == 3
    assert Policy(60, "drop", 2).needed(sites) == 2
