"""Secure aggregation by a federation of machines of which one is killed: new keys, and the same bytes."""

import os
import signal

import pytest
from helpers.federation import make_method
from helpers.remote import SITES, checkpoints, expected, restart_server, train, workers

from fedxray.core.files import read_json, sha256

METHOD = make_method(name="scaffold", moments="kept", secure_aggregation=True)
EPOCHS = 40  # of a round: seconds, even of a fast machine, so that there is time to break into one

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
    code, said = train(machines, tmp_path / "run", 4, EPOCHS, method=METHOD).end()
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
