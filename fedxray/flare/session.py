"""The admin's side of a federation: submit a job, or take up one that is there, follow it, and fetch what it leaves."""

import io
import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from nvflare.apis.fl_exception import FLCommunicationError
from nvflare.fuel.flare_api import api_spec as flare
from nvflare.fuel.flare_api.flare_api import Session, new_secure_session

from fedxray.core.cli import interrupted
from fedxray.core.errors import UserError, disk_error
from fedxray.core.files import full, read_json
from fedxray.federation.records import RoundRecord, round_line
from fedxray.flare.loopback import past_proxies, use_grpc_of
from fedxray.flare.tasks import FAILURE, RECORDS, ROUNDS

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")

GONE = (
    *(flare.NoConnection, flare.NoReply, flare.SessionClosed, flare.SessionExpired, flare.AuthenticationError),
    *(ConnectionError, TimeoutError),
)
REFUSED = "error:client_registration "  # begins the cause that NVFlare gives when the server refuses a certificate
START_S = 2.0  # before a job's process can answer
ANSWER_S = 2.0  # for the process of a job to answer; one that is ending does not, and the server does nothing meanwhile
COMPLETED, ABORTED, LOST = "FINISHED:COMPLETED", "FINISHED:ABORTED", "LOST"


class AdminSession:
    """The admin's session with a federation's server; it connects again when the server does not answer."""

    def __init__(
        self,
        kit: Path,
        patience_s: float,
        poll_s: float,
        alive: Callable[[], None] = lambda: None,
        errors: Callable[[list[str]], str] = lambda names: "the log of the server has more",
        lasting: bool = True,
    ):
        """The session waits up to `patience_s` for an answer, and asks every `poll_s`.

        `alive` raises if there can be no answer; `errors` looks for causes at the sites of these names. `lasting` is
        whether the server outlives this session; then an interrupted job must be aborted.
        """
        self.kit = Path(kit)
        self.patience_s = patience_s
        self.poll_s = poll_s
        self.alive = alive
        self.errors = errors
        self.lasting = lasting
        self.session = None
        self.told = 0  # how many rounds of the job that runs have been told

    def __enter__(self) -> "AdminSession":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        """End the session: its threads would keep the process from exiting."""
        if self.session:
            with suppress(Exception):  # a server that is gone is not told
                self.session.close()
        self.session = None

    def call(self, command: Callable[[Session], Answer]) -> Answer:
        """The result of `command` on a session; if the server does not answer, again on a new one.

        Raises UserError after `patience_s` without an answer, and OSError, with the folder, for a full disk of this
        machine: NVFlare receives files by way of TMPDIR.
        """
        deadline, was_connected = time.monotonic() + self.patience_s, self.session is not None
        while True:
            if interrupted():  # and NVFlare took the exception for one of its own
                raise KeyboardInterrupt
            self.alive()
            try:
                if self.session is None:
                    self.session = self._connect()
                    if was_connected:
                        log.info("the server answers again")
                return command(self.session)
            except GONE as error:
                if self.session:
                    deadline = time.monotonic() + self.patience_s
                    log.info(f"the server does not answer ({type(error).__name__}); trying for {self.patience_s:.0f} s")
                self.close()
                if time.monotonic() > deadline:
                    host, port = self._address()
                    raise UserError(
                        f"{host}:{port}: no answer from the server in {self.patience_s:.0f} s ({error}); is it up?"
                    ) from error
                time.sleep(self.poll_s)
            except OSError as error:
                fault = disk_error(error)
                if fault and fault.errno and not fault.filename:
                    raise OSError(fault.errno, fault.strerror, full(self.kit) or str(self.kit)) from error
                raise

    def wait_for(self, sites: list[str], needed: int, timeout_s: float) -> list[str]:
        """Wait for `sites`; returns those that are registered: as soon as all are, or after `timeout_s`.

        Raises UserError with the names of the missing ones if fewer than `needed` are there by then.
        """
        deadline, told = time.monotonic() + timeout_s, not self.lasting
        while True:
            info = self.call(lambda session: session.get_system_info())
            registered = {client.name for client in info.client_info}
            missing = sorted(set(sites) - registered)
            if not missing or (time.monotonic() > deadline and len(sites) - len(missing) >= needed):
                return [site for site in sites if site in registered]
            if time.monotonic() > deadline:
                names = ", ".join(missing)
                raise UserError(f"not registered in {timeout_s:.0f} s: {names}: {self.errors(missing)}")
            if not told:
                log.info(f"waiting for {', '.join(missing)}, {timeout_s:.0f} s at most")
                told = True
            time.sleep(self.poll_s)

    def run(self, job: Path, rounds: int, result: Path) -> tuple[str, Path]:
        """Run `job` to its end, with a line for each round; returns its id and the folder of what it left.

        A job of the same name that runs, or whose result was never fetched, is taken up instead. If the server loses
        the job by a restart, or if it was being aborted when it was taken up, it is submitted again. A
        KeyboardInterrupt aborts it. Raises UserError if the job fails.
        """
        name, job_id, self.told = read_json(job / "meta.json")["name"], None, 0
        try:
            while True:
                taken = self.call(lambda session: self._take_up(session, name))
                job_id = taken or self.call(lambda session: session.submit_job(str(job)))
                status = self._follow(job_id, rounds)
                if status == LOST:
                    log.info(
                        f"the server has restarted and lost job {job_id}; submitting it again, to go on from there"
                    )
                elif status == ABORTED and taken:
                    log.info(f"job {job_id} was being aborted; submitting it again, to go on from there")
                else:
                    break
        except KeyboardInterrupt:
            self._abort(job_id)
            raise
        if status != COMPLETED:
            with suppress(RuntimeError):
                result = self._fetch(job_id, result)
            raise UserError(f"federated job {job_id} ended as {status}: {self.reason(result, [])}")
        result = self._fetch(job_id, result)
        if rounds:
            self._tell(read_json(result / RECORDS)["rounds"][self.told :], rounds)
        return job_id, result

    def forget(self, job_id: str) -> None:
        """Delete a job, with its result, from the server's store."""
        self.call(lambda session: session.delete_job(job_id))

    def _connect(self) -> Session:
        """A new session; raises one of `GONE` if the server does not answer, UserError if it refuses."""
        try:
            with socket.create_connection(self._address(), timeout=2):
                pass  # or NVFlare logs each failed attempt
        except OSError as error:  # of the network: no such host, no way there
            raise flare.NoConnection(str(error)) from error
        os.environ.update(past_proxies())
        use_grpc_of(self.kit)
        admin = read_json(self.kit / "startup" / "fed_admin.json")["admin"]["username"]
        try:
            with redirect_stderr(io.StringIO()):  # its traceback
                return new_secure_session(admin, str(self.kit.resolve()), timeout=10.0, auto_login_max_tries=1)
        except FLCommunicationError as error:
            if (cause := str(error.__context__)).startswith(REFUSED):
                reason = cause.removeprefix(REFUSED)
                raise UserError(f"{self.kit}: the server refused: {reason}; copy the kit from there again") from error
            raise flare.NoConnection(str(error)) from error
        except TypeError as error:  # a busy server has not answered who it is, which NVFlare takes for a certificate
            raise flare.NoConnection("the server has not answered the login") from error

    def _address(self) -> tuple[str, int]:
        admin = read_json(self.kit / "startup" / "fed_admin.json")["admin"]
        return admin["host"], admin["port"]

    def _take_up(self, session: Session, name: str) -> str | None:
        """The id of the job of this name that runs, waits or has completed and was not fetched."""
        for meta in session.list_jobs(detailed=True, name_prefix=name, reverse=True):
            status = self._status(session, meta["job_id"])
            if status == COMPLETED or not status.startswith(("FINISHED", LOST)):
                log.info(f"taking up job {meta['job_id']}, which is there already ({status})")
                return meta["job_id"]
        return None

    def _status(self, session: Session, job_id: str) -> str:
        """NVFlare's status of a job, or LOST: NVFlare still shows RUNNING for a job that ran when the server ended."""
        meta = session.get_job_meta(job_id)
        started = session.get_system_info().server_info.start_time
        status, begun = str(meta["status"]), meta.get("start_time") or meta.get("submit_time_iso")
        if status in ("RUNNING", "DISPATCHED") and begun and datetime.fromisoformat(begun).timestamp() < started:
            return LOST
        return status

    def _follow(self, job_id: str, rounds: int) -> str:
        """Log one line per round until the job has ended, or is lost; returns its status."""
        ask = None  # when to ask for rounds: a job's process that is not up, or no more, costs the server a retry
        while True:
            status = self.call(lambda session: self._status(session, job_id))
            if status == "RUNNING" and ask is None:
                log.info(f"job {job_id} runs")
                ask = time.monotonic() + START_S
            if status == "RUNNING" and ask is not None and self.told < rounds and time.monotonic() > ask:
                records = self.call(lambda session: _records(session, job_id, self.told))
                ask = time.monotonic() + START_S if records is None else 0.0
                self._tell(records or [], rounds)
            if status.startswith(("FINISHED", LOST)):
                return status
            time.sleep(self.poll_s)

    def _tell(self, records: list[RoundRecord], rounds: int) -> None:
        for record in records:
            log.info(round_line(record, rounds))
        self.told += len(records)

    def _fetch(self, job_id: str, result: Path) -> Path:
        location = self.call(lambda session: session.download_job_result(job_id, str(result)))
        return Path(location) / "workspace"

    def reason(self, result: Path, names: list[str]) -> str:
        """Why a job failed: the reason in its `result`, or what `errors` knows of the sites `names`."""
        path = result / FAILURE
        return path.read_text(encoding="utf-8") if path.exists() else self.errors(names)

    def _abort(self, job_id: str | None) -> None:
        """Stop a job on the server and its sites."""
        if self.lasting and job_id and self.session:
            with suppress(Exception):
                self.session.abort_job(job_id)
                log.info(f"aborted job {job_id} on the server; what it had finished is kept for the next try")


def _records(session: Session, job_id: str, first: int) -> list[RoundRecord] | None:
    """The records of the rounds of a running job, from number `first` on; None while it starts or ends.

    A server that is gone looks the same; the next question to the server itself tells which it is.
    """
    session.set_timeout(ANSWER_S)
    try:
        return session.do_app_command(job_id, ROUNDS, {"first": first})["rounds"]
    except (flare.InternalError, flare.JobNotRunning, flare.NoReply, flare.NoConnection):
        return None
    finally:
        session.unset_timeout()
