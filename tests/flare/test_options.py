"""What scripts take on their command line for a federation, and the engines that they make of it."""

import subprocess
import sys
from argparse import ArgumentParser

import pytest

from fedxray.core.errors import UserError
from fedxray.data.registry import write_registry
from fedxray.experiment.cohorts import Cohort
from fedxray.flare import options
from fedxray.flare.own import card_of

WAITS = ["--start-timeout-s", "7", "--round-timeout-s", "9"]
ADMIN = ["--admin-kit", "kits/admin", "--sites", "us", "europe", *WAITS, "--patience-s", "11"]


def parse(words, *adders):
    parser = ArgumentParser()
    for add in adders:
        add(parser)
    return parser.parse_args([str(word) for word in words])


def test_a_federation_on_this_machine_is_made_of_the_cards_of_its_data(tmp_path):
    words = ["--kits", "fed/kits.json", "--sites", "data/us/card.json", "data/asia/card.json", "--live", "live/run"]
    words += ["--shared", "data/shared/card.json", *WAITS, "--absent", "drop", "--min-sites", "1"]
    engine = options.one_host_of(parse(words, options.add_one_host))
    assert {site: str(folder) for site, folder in engine.folders.items()} == {"us": "data/us", "asia": "data/asia"}
    assert (str(engine.kits), str(engine.shared), str(engine.live)) == ("fed", "data/shared", "live/run")
    assert engine.participants.policy == engine.policy
    assert (engine.start_timeout_s, engine.policy.round_timeout_s, engine.participants.needed) == (7, 9, 1)


def test_the_federation_of_a_cohort_has_the_data_of_that_cohort():
    words = ["--experiment", "e.json", "--results", "results/x", "--kits", "results/x/federation/kits.json", *WAITS]
    cohort = Cohort("partition=iid", ("us", "asia"), {})
    engine = options.one_host_of_cohort(cohort, parse(words, options.add_one_host_of_cohorts))
    folders = [str(folder) for folder in (*engine.folders.values(), engine.shared)]
    assert folders == [f"results/x/sites/partition=iid/{name}" for name in ("us", "asia", "shared")]
    assert engine.live is None
    assert engine.participants.needed == 2


def test_a_federation_of_other_machines_insists_on_the_checksums_of_the_registry(site_folders, tmp_path):
    cards = {site: card_of(site_folders["us"].parent / site) for site in ("us", "europe", "shared")}
    write_registry(tmp_path / "registry.csv", cards, 16, "stretch")
    words = [*ADMIN, "--registry", tmp_path / "registry.csv"]
    engine = options.remote_of(parse(words, options.add_registered), "x/run")
    assert engine.checksums["us"] == cards["us"]["sha256"]
    assert set(engine.participants.checksums) == {"us", "europe", "shared"}
    assert (engine.live_below, engine.patience_s, engine.participants.needed) == ("x/run", 11, 2)
    assert options.remote_of(parse(ADMIN, options.add_remote)).checksums == {}
    with pytest.raises(UserError, match="mars is not in the registry"):
        options.remote_of(parse([*words, "--sites", "us", "mars"], options.add_registered))


@pytest.mark.parametrize(
    "left_out", ["--start-timeout-s", "--round-timeout-s", "--patience-s", "--registry", "--absent", "--min-sites"]
)
def test_what_config_yaml_sets_has_no_second_default(left_out, capsys):
    words = [*ADMIN, "--registry", "registry.csv", "--absent", "fail", "--min-sites", "0"]
    parse(words, options.add_registered, options.add_absence)
    at = words.index(left_out)
    with pytest.raises(SystemExit):
        parse(words[:at] + words[at + 2 :], options.add_registered, options.add_absence)
    assert left_out in capsys.readouterr().err


def test_the_workflows_side_of_a_federation_loads_no_pytorch():
    """It only passes settings on and files: PyTorch would cost each job seconds, and half a gigabyte of memory."""
    names = ("train_federated", "confirm_federated", "evaluate_federated", "provision_federation", "register_sites")
    names += ("train_remote", "train_alone_remote", "evaluate_remote")
    look = "import runpy, sys\nfor path in sys.argv[1:]:\n    runpy.run_path(path, run_name='looked at')\n"
    look += "import fedxray.operators.server, fedxray.operators.site\nprint('torch' in sys.modules)"
    words = [sys.executable, "-c", look, *(f"scripts/{name}.py" for name in names)]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "False\n"
