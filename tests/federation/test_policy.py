import subprocess
import sys
from argparse import ArgumentParser

import pytest
from helpers.data import make_settings

from fedxray.core.errors import UserError
from fedxray.federation.policy import Policy, Schedule, add_options, from_options


def test_a_schedule_of_another_budget_than_its_settings_is_refused():
    Schedule(3, 4).check(make_settings(epochs=12))
    with pytest.raises(ValueError, match="settings of 12 epochs, but 3 rounds of 5 local epochs"):
        Schedule(3, 5).check(make_settings(epochs=12))


def test_who_must_answer():
    sites = ["a", "b", "c"]
    assert Policy(60, "fail", 0).needed(sites) == Policy(60, "drop", 0).needed(sites) == 3
    assert Policy(60, "drop", 2).needed(sites) == 2


def test_a_script_takes_a_schedule_that_has_the_epochs_of_its_settings():
    parser = ArgumentParser()
    add_options(parser)
    options = parser.parse_args(["--rounds", "3", "--local-epochs", "2"])
    assert from_options(options, make_settings(epochs=6)) == Schedule(3, 2)
    with pytest.raises(UserError, match="--epochs: settings of 5 epochs, but 3 rounds of 2 local epochs; it must be"):
        from_options(options, make_settings(epochs=5))


def test_a_script_says_in_one_line_that_its_schedule_has_other_epochs(tmp_path):
    words = ["--sites", "us/card.json", "--shared", "shared/card.json", "--rounds", "3", "--local-epochs", "2"]
    words += ["--output", str(tmp_path / "model.safetensors"), *make_settings(epochs=5).options()]
    done = subprocess.run([sys.executable, "scripts/train_inprocess.py", *words], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: --epochs: settings of 5 epochs")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
