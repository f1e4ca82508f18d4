"""What an admin's session takes for a server that does not answer, and what it does not."""

import errno
import os
import threading
import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from fedxray.core import cli
from fedxray.core.errors import UserError
from fedxray.core.files import write_json
from fedxray.flare.session import AdminSession


@pytest.fixture
def session(tmp_path):
    """A session that is there, with a server that is not: at this port of this machine nobody listens."""
    (tmp_path / "startup").mkdir()
    admin = {"host": "127.0.0.1", "port": 9, "username": "admin"}
    write_json(tmp_path / "startup" / "fed_admin.json", {"admin": admin})
    session = AdminSession(tmp_path, patience_s=0.5, poll_s=0.1)
    session.session = SimpleNamespace(close=lambda: None)
    return session


def raising(error, calls):
    def command(session):
        calls.append(session)
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device: '{kit}'"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/gone"), "No such file: '/gone'"),
    ],
)
def test_an_error_of_this_machines_disk_is_none_of_the_server_and_ends_at_once(session, error, said):
    calls = []
    with pytest.raises(OSError, match=r".") as raised:
        session.call(raising(error, calls))
    assert str(raised.value).endswith(said.format(kit=session.kit))
    assert len(calls) == 1


def test_a_connection_that_breaks_is_tried_again_until_the_patience_ends(session):
    calls, begun = [], time.monotonic()
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9: no answer from the server in 0 s .*is it up\?"):
        session.call(raising(ConnectionResetError("reset"), calls))
    assert len(calls) == 1  # each further try ends at the port where nobody listens
    assert time.monotonic() - begun >= 0.5


def test_an_interruption_that_was_swallowed_ends_the_next_call(session, monkeypatch):
    monkeypatch.setattr(cli, "_INTERRUPTED", threading.Event())
    assert session.call(lambda session: 1) == 1
    cli._INTERRUPTED.set()
    with pytest.raises(KeyboardInterrupt):
        session.call(lambda session: 1)


def test_a_server_that_is_too_busy_to_say_who_it_is_is_asked_again(session, monkeypatch):
    def too_busy(*of, **more):
        raise TypeError("'None' is not an instance of 'bytes'")  # as NVFlare 2.9 reads an answer without a certificate

    session.session = None
    monkeypatch.setattr("socket.create_connection", lambda *of, **more: nullcontext())
    monkeypatch.setattr("fedxray.flare.session.use_grpc_of", lambda kit: None)
    monkeypatch.setattr("fedxray.flare.session.new_secure_session", too_busy)
    with pytest.raises(UserError, match=r"no answer from the server in 0 s \(.*not answered the login\); is it up"):
        session.call(lambda connected: None)
