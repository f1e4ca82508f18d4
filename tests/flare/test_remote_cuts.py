"""A federation of machines whose cable is cut and whose server is killed: what was trained is what would have been.

The method keeps control variates at the server, and these and moments at the sites.
"""

import time

import pytest
from helpers.federation import make_method
from helpers.remote import checkpoints, expected, restart_server, train, workers

from fedxray.core.files import read_json, sha256

METHOD = make_method(name="scaffold", moments="kept")
EPOCHS = 40  # of a round: seconds, even of a fast machine, so that there is time to break into a round
CUT_S = 35  # longer than a heartbeat waits for its answer; a minute passes as well

pytestmark = pytest.mark.slow


def test_a_cut_cable_and_a_killed_server_leave_the_same_bytes(machines, tmp_path):
    before = checkpoints(machines)
    run = train(machines, tmp_path / "run", 3, EPOCHS, method=METHOD)
    run.wait_for("round 1/3")
    machines.network.link("asia", "down")
    up = time.monotonic() + CUT_S
    wanted = expected(machines, 3, EPOCHS, tmp_path / "model", METHOD)
    time.sleep(max(0, up - time.monotonic()))
    assert "round 2/3" not in run.said()
    machines.network.link("asia", "up")
    run.wait_for("round 2/3")
    restart_server(machines, run)
    code, said = run.end()
    assert code == 0, said
    assert "has restarted and lost job" in said
    assert sha256(tmp_path / "run" / "model.safetensors") == wanted
    assert read_json(tmp_path / "run" / "record.json")["checks"]["resumed_after_round"] == 2
    assert checkpoints(machines) == before
    assert not workers(machines)
