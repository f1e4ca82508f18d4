"""Schedules: which steps are in which round, which epochs end there, and budgets; and who must answer."""

import math
from argparse import ArgumentParser
from fractions import Fraction

import pytest
from helpers.data import make_settings
from helpers.federation import make_method

from fedxray.core.errors import UserError
from fedxray.federation.policy import Policy, Schedule, add_options, alone, from_options, schedule_of

IMAGES = {"us": 24, "europe": 40, "asia": 10}
SCHEDULES = [
    Schedule(4, 1.0, 0, 0),
    Schedule(2, 2.0, 0, 1),
    Schedule(16, 0.25, 0, 0),
    Schedule(30, 0.1, 0, 2),
    Schedule(7, 0.6, 4, 1),  # of steps: a round of 4
    Schedule(5, 1.5, 12, 0),
    Schedule(40, 0.25, 0.4, 0),
    Schedule(12, 0.25, 38.541667, 1),
    Schedule(1, 5.0, 0, 0),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("batches", [1, 2, 3, 7, 20])
def test_the_steps_of_a_run_follow_one_another_and_are_as_many_as_the_budget_has(schedule, batches):
    rounds = [schedule.round_segments(number, batches) for number in range(schedule.rounds)]
    segments = [segment for of_round in rounds for segment in of_round] + schedule.tail_segments(batches)
    steps = [step for first, last, _ in segments for step in range(first, last)]
    assert steps == list(range(schedule.total(batches)))
    assert [len(of_round) for of_round in rounds if schedule.round >= 1 and not schedule.steps] == [
        int(schedule.round) for _ in rounds if schedule.round >= 1 and not schedule.steps
    ]
    if schedule.steps:
        lengths = {sum(last - first for first, last, _ in of_round) for of_round in rounds}
        assert lengths <= {math.floor(schedule.steps), math.ceil(schedule.steps)}
        assert len(steps) == round(schedule.rounds * schedule.steps) + schedule.tail * batches
    else:
        passes = Fraction(str(schedule.round)) * schedule.rounds + schedule.tail
        assert len(steps) == math.ceil(passes * batches)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_each_epoch_is_measured_once_in_the_round_in_which_it_ends(schedule):
    epochs, known = [], []
    for number in range(schedule.rounds):
        measured = [segment.epoch for segment in schedule.round_segments(number, 5) if segment.epoch is not None]
        assert len(measured) == schedule.measured(number)
        assert measured[-1:] == [schedule.epoch(number)] * (schedule.epoch(number) is not None)
        if schedule.epoch(number):
            known.append(schedule.epoch(number))
            done = (number + 1) * Fraction(str(schedule.round))
            assert known[-1] <= done or number + 1 == schedule.rounds
        epochs += measured
    assert epochs == sorted(set(epochs))
    assert epochs[-1] == known[-1] == schedule.epochs - schedule.tail
    assert [segment.epoch for segment in schedule.tail_segments(5)] == [
        schedule.epochs - schedule.tail + 1 + number for number in range(schedule.tail)
    ]


def test_rounds_of_equal_passes_share_the_budget_out():
    assert schedule_of(10, 1.0, 0, "passes", 0, IMAGES, 16) == Schedule(10, 1.0, 0, 0)
    assert schedule_of(10, 5.0, 0, "passes", 0, IMAGES, 16) == Schedule(2, 5.0, 0, 0)
    assert schedule_of(10, 0.1, 0, "passes", 0, IMAGES, 16) == Schedule(100, 0.1, 0, 0)
    assert schedule_of(10, 0.25, 0, "passes", 2, IMAGES, 16) == Schedule(32, 0.25, 0, 2)


@pytest.mark.parametrize("scale", [1, 7, 100])
@pytest.mark.parametrize("passes", [0.1, 0.25, 1.0, 2.0])
def test_with_equal_steps_each_site_takes_those_of_central_training(scale, passes):
    images = {site: scale * count for site, count in IMAGES.items()}
    central = alone(10, "passes", {}, 16).total(math.ceil(sum(images.values()) / 16))
    schedule = schedule_of(10, passes, 0, "steps", 0, images, 16)
    assert (schedule.rounds, schedule.epochs) == (30 / passes, 30)
    for site in (schedule, alone(10, "steps", images, 16)):
        assert site.total(1) == site.total(99) == central
    shorter = schedule_of(10, passes, 0, "steps", 2, images, 16)
    assert shorter.total(5) == round(0.8 * central) + 2 * 5


@pytest.mark.parametrize("budget", ["passes", "steps"])
@pytest.mark.parametrize("steps", [1, 7, 16, 99, 150, 163])
def test_rounds_by_local_steps_share_the_budget_out(budget, steps):
    batches = 5  # of all images
    schedule = schedule_of(100, 0.5, steps, budget, 2, IMAGES, 16)
    whole = 98 * batches if budget == "steps" else round(98 * batches / 3)
    assert schedule.total(1) == whole + 2  # the last two passes are of each site's own images
    assert schedule.rounds == max(1, round(whole / steps))
    assert 2 / 3 * steps <= schedule.steps <= 1.5 * steps
    assert schedule.epochs == (98 * 3 if budget == "steps" else 98) + 2


def test_a_round_is_no_longer_than_the_budget():
    said = r"federation\.steps: 999 local steps are more than the whole budget of 17; take fewer"
    with pytest.raises(UserError, match=said):
        schedule_of(10, 0.5, 999, "passes", 0, IMAGES, 16)
    assert schedule_of(10, 0.5, 17, "passes", 0, IMAGES, 16).total(1) == 17


def test_who_must_answer():
    sites = ["a", "b", "c"]
    assert Policy(60, "fail", 0).needed(sites) == Policy(60, "drop", 0).needed(sites) == 3
    assert Policy(60, "drop", 2).needed(sites) == 2
    assert Policy(60, "fail", 2).needed(sites) == 3


def test_a_script_takes_a_schedule():
    parser = ArgumentParser()
    add_options(parser)
    options = parser.parse_args(["--round", "0.25", "--steps", "0", "--budget", "passes"])
    settings = make_settings(epochs=6, batch_size=16)
    assert from_options(options, settings, make_method(finetune=1), IMAGES) == Schedule(20, 0.25, 0, 1)
    for left_out in ("--round", "--steps", "--budget"):
        words = {"--round": "1", "--steps": "0", "--budget": "passes"}
        del words[left_out]
        with pytest.raises(SystemExit):
            parser.parse_args([word for item in words.items() for word in item])
