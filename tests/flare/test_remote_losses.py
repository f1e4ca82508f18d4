"""A federation of machines that loses who takes part for a while: a site, or the workflow."""

import signal

import pytest
from helpers.federation import make_method, plain_loop, rounds_of
from helpers.network import wait_until
from helpers.remote import SITES, checkpoints, expected, model_before, settings_of, train, workers

from fedxray.core.files import read_json, read_table, sha256
from fedxray.core.parameters import save_model

WAVES = 2
LATE_S = 25  # what a round may take here, on busy cores

pytestmark = pytest.mark.slow


def test_an_interrupted_or_killed_workflow_goes_on_where_it_was(machines, tmp_path):
    """Also in a second wave of patients, where it begins with the model of the first."""
    before, method = checkpoints(machines), make_method(name="ditto", moments="kept", finetune=1)
    about = {"method": method, "initial": model_before(machines)}
    first = train(machines, tmp_path / "run", 12, 10, **about)
    first.wait_for("round 1/12")
    machines.network.kill(first.process)
    second = train(machines, tmp_path / "run", 12, 10, **about)
    second.wait_for("taking up job")
    second.wait_for("round 2/12")
    second.process.send_signal(signal.SIGINT)
    code, said = second.end(60)
    assert code == 130
    assert "aborted job" in said
    wait_until(lambda: not workers(machines), 40, "jobs end at the sites")
    assert len(checkpoints(machines) - before) == 1
    code, said = train(machines, tmp_path / "run", 12, 10, **about).end()
    assert code == 0, said
    assert read_json(tmp_path / "run" / "record.json")["checks"]["resumed_after_round"] >= 2
    assert checkpoints(machines) == before
    assert sha256(tmp_path / "run" / "model.safetensors") == expected(machines, 12, 10, tmp_path / "model", **about)
    for site in SITES:  # whose own model is in its kit, and nowhere else
        folder = tmp_path / "run" / "personal" / site
        assert sorted(path.name for path in folder.iterdir()) == ["metrics.csv", "record.json"]
        kept = machines.kit(site) / "personal" / read_json(folder / "record.json")["checks"]["job"]
        assert sha256(kept / "model.safetensors") == sha256(tmp_path / f"model-{site}")


def test_a_site_that_misses_a_round_is_dropped_and_comes_back(machines, tmp_path):
    method = make_method(name="scaffold", moments="kept")
    late = {"--round-timeout-s": str(LATE_S), "--absent": "drop", "--min-sites": "2"}
    run = train(machines, tmp_path / "dropped", 5, 10, late, method)
    run.wait_for("round 1/5")
    machines.network.link("asia", "down")
    run.wait_for(f"without asia: no answer in {LATE_S} s")
    machines.network.link("asia", "up")
    code, said = run.end()
    assert code == 0, said
    absent = read_json(tmp_path / "dropped" / "record.json")["checks"]["absent"]
    assert absent
    assert set(absent) < {"2", "3", "4", "5"}
    model, _ = plain_loop(
        {site: machines.data[site] for site in SITES},
        machines.data["server"],
        settings_of(50),
        method,
        rounds_of(5, 10.0),
        absent=lambda number, site: site in absent.get(str(number + 1), {}),
    )
    save_model(tmp_path / "model", model)
    assert sha256(tmp_path / "dropped" / "model.safetensors") == sha256(tmp_path / "model")
    table = read_table(tmp_path / "dropped" / "metrics.csv")
    assert (table["series"] == "asia").sum() == 10 * (5 - len(absent))


def test_a_site_that_misses_a_round_is_named(machines, tmp_path):
    # The last one here: for a while after its link was down a site may not be connected.
    run = train(machines, tmp_path / "run", 6, 10, {"--round-timeout-s": str(LATE_S)})
    run.wait_for("round 1/6")
    machines.network.link("asia", "down")
    code, said = run.end()
    assert code == 1
    assert f"no result from asia: no answer in {LATE_S} s" in said.splitlines()[-1]
    assert not (tmp_path / "run" / "model.safetensors").exists()
