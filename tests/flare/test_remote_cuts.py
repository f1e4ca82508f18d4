"""A federation of machines whose cable is cut and whose server is killed: what was trained is what would have been.

A second wave of patients has come, and training goes on from a model that is given. The method keeps control variates
at the server, and these and moments at the sites.
"""

import time

import pytest
from helpers.federation import make_method
from helpers.remote import checkpoints, expected, model_before, registry, restart_server, train, workers

from fedxray.core.files import read_json, sha256
from fedxray.data.registry import read_checksums

METHOD = make_method(name="scaffold", moments="kept")
EPOCHS = 40  # of a round: seconds, even of a fast machine, so that there is time to break into a round
WAVES = 2
CUT_S = 35  # longer than a heartbeat waits for its answer; a minute passes as well

pytestmark = pytest.mark.slow


def test_a_cut_cable_and_a_killed_server_leave_the_same_bytes(machines, tmp_path):
    before, initial = checkpoints(machines), model_before(machines)
    run = train(machines, tmp_path / "run", 3, EPOCHS, method=METHOD, initial=initial)
    run.wait_for("round 1/3")
    machines.network.link("asia", "down")
    up = time.monotonic() + CUT_S
    wanted = expected(machines, 3, EPOCHS, tmp_path / "model", METHOD, initial)
    time.sleep(max(0, up - time.monotonic()))
    assert "round 2/3" not in run.said()
    machines.network.link("asia", "up")
    run.wait_for("round 2/3")
    restart_server(machines, run)
    code, said = run.end()
    assert code == 0, said
    assert "has restarted and lost job" in said
    assert sha256(tmp_path / "run" / "model.safetensors") == wanted
    record = read_json(tmp_path / "run" / "record.json")
    assert record["checks"]["resumed_after_round"] == 2
    assert record["settings"]["initial"] == sha256(initial)
    assert read_checksums(registry(machines))["us"]["waves"] == WAVES
    assert checkpoints(machines) == before
    assert not workers(machines)
