"""What an engine does with a job when it has ended."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from fedxray.core.errors import UserError
from fedxray.flare.engine import FlareEngine


@pytest.mark.parametrize(
    ("error", "forgotten"),
    [
        (None, ["job 1"]),
        (UserError("a round lacks a site"), ["job 1"]),  # or the next run would take it up, and fail alike for ever
        (OSError("no space left"), []),  # its result is still wanted
    ],
)
def test_the_server_forgets_a_job_unless_something_of_ours_failed(tmp_path, error, forgotten):
    seen = []
    session = SimpleNamespace(
        wait_for=lambda sites, needed, timeout_s: sites,
        run=lambda job, rounds, result: ("job 1", result),
        forget=seen.append,
    )
    engine = SimpleNamespace(open=lambda scratch, threads: nullcontext(session), start_timeout_s=1.0)
    participants = SimpleNamespace(sites=["us"], needed=1)
    with (
        pytest.raises(type(error)) if error else nullcontext(),
        FlareEngine._ran(engine, tmp_path / "job", participants, 1, tmp_path),
    ):
        if error:
            raise error
    assert seen == forgotten
