"""Secure aggregation by a federation of machines of which one is killed: new keys, and the same bytes."""

import os
import signal
from dataclasses import replace

import pytest
from helpers.federation import make_method
from helpers.remote import NONE, SITES, checkpoints, expected, in_words, restart_server, settings_of, train, workers

from fedxray.core.files import read_json, sha256
from fedxray.federation.inprocess import InProcess
from fedxray.flare.budget import Budget
from fedxray.runs import confirm
from fedxray.training.mechanism import mechanism_at

METHOD = make_method(name="scaffold", moments="kept", secure_aggregation=True)
EPOCHS = 20  # of a round, so that there is time to break into one

pytestmark = pytest.mark.slow


def test_a_killed_server_and_a_killed_site_leave_the_same_bytes(machines, tmp_path):
    """A job outlives its server. It ends with a site's process, which had its keys alone, and the next one goes on."""
    before = checkpoints(machines)
    run = train(machines, tmp_path / "run", 4, EPOCHS, method=METHOD)
    run.wait_for("round 1/4")
    restart_server(machines, run)
    run.wait_for("has restarted and lost job")
    run.wait_for("round 2/4")
    (process,) = [pid for site, pid in workers(machines) if site == "asia"]
    os.kill(process, signal.SIGKILL)
    code, said = run.end()
    assert code == 1
    assert "a site's process has ended; `Failing job` in out.txt of the server's kit names the site" in said
    assert "reported failure from asia" in machines.log("server")
    run = train(machines, tmp_path / "run", 4, EPOCHS, method=METHOD)
    run.wait_for("round 3/4")
    machines.kill("asia")
    machines.start("asia")
    code, said = run.end(200)  # of which a minute is NVFlare's grace
    assert code == 1
    assert "no result from asia: its process has ended, and a new one cannot take up this job" in said.splitlines()[-1]
    assert not (tmp_path / "run" / "model.safetensors").exists()
    code, said = train(machines, tmp_path / "run", 4, EPOCHS, method=METHOD).end(300)
    assert code == 0, said
    plain = make_method(name="scaffold", moments="kept")
    assert sha256(tmp_path / "run" / "model.safetensors") == expected(machines, 4, EPOCHS, tmp_path / "model", plain)
    record = read_json(tmp_path / "run" / "record.json")
    assert record["checks"]["resumed_after_round"] == 3
    assert set(record["partners"]) == set(SITES)
    for site in SITES:
        answered = machines.kit(site) / "answered.json"
        assert len(read_json(answered)) == 1
        assert answered.stat().st_mode & 0o77 == 0
    assert checkpoints(machines) == before
    assert not workers(machines)


def test_private_steps_of_all_are_the_same_bytes_after_the_server_was_killed(machines, tmp_path):
    privacy, method = replace(NONE, dp="sum", steps=30), make_method(secure_aggregation=True)
    settings, output = replace(settings_of(1), optimizer="sgd", lr=0.5, weight_decay=0.0), tmp_path / "run"
    run = train(machines, output, 1, 1, in_words(settings), method, privacy)
    run.wait_for("round 5/30")
    restart_server(machines, run)
    code, said = run.end()
    assert code == 0, said
    record, data = read_json(output / "record.json"), {site: machines.data[site] for site in SITES}
    noise = mechanism_at(privacy, data.values())
    assert 5 <= record["checks"]["resumed_after_round"] < 30
    assert record["privacy"] == noise.about
    for site in SITES:  # a step that a site has answered twice counts twice
        assert Budget(machines.kit(site)).spent[-1].answered in (30, 31)
    assert confirm(InProcess(data, machines.data["server"], noise), output, tmp_path / "again")
