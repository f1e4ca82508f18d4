"""How a site or a server starts the process of a job: by asking the guard for a fork of one that has imported PyTorch.

Each process of a federation that imported PyTorch by itself would take seconds of CPU and hundreds of megabytes for it.
"""

import json
import os
import shlex
import signal
import socket
import threading
from multiprocessing import Pipe
from typing import NamedTuple

from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_launcher_spec import JobHandleSpec
from nvflare.app_common.job_launcher.client_process_launcher import ClientProcessJobLauncher
from nvflare.app_common.job_launcher.process_launcher import ProcessHandle
from nvflare.app_common.job_launcher.server_process_launcher import ServerProcessJobLauncher
from nvflare.utils.job_launcher_utils import get_credential_env


class Guard(NamedTuple):
    """What a process that a guard started knows of it."""

    requests: socket.socket
    log: str  # where this process writes
    env: dict[str, str]  # what this process was given beside the guard's own, such as its GPU


class Fork:
    """A process that the guard forks for this one, as NVFlare's `ProcessAdapter` has it."""

    def __init__(self, guard: Guard, argv: list[str], env: dict[str, str]):
        self.answers, answer = Pipe(duplex=False)
        request = {"argv": argv, "env": guard.env | env, "log": guard.log}
        socket.send_fds(guard.requests, [json.dumps(request).encode()], [answer.fileno()])
        answer.close()
        self.pid = int(self.answers.recv_bytes())
        self.code = None
        self.waiter = threading.Thread(target=self._wait, daemon=True)
        self.waiter.start()

    def _wait(self) -> None:
        try:
            self.code = int(self.answers.recv_bytes())
        except EOFError:  # the guard is gone, and ends all
            self.code = -signal.SIGKILL

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self.code

    def wait(self) -> None:
        """Until it has ended."""
        self.waiter.join()

    def terminate(self) -> None:
        """End it at once."""
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)


class Forking:
    """A launcher of NVFlare's that asks the guard, if there is one: a kit's own script starts NVFlare without."""

    guard: Guard | None = None  # the guard sets it

    def launch_job(self, job_meta: dict, fl_ctx: FLContext) -> JobHandleSpec:
        """Start the process of a job."""
        if self.guard is None:
            return super().launch_job(job_meta, fl_ctx)
        credentials = get_credential_env(fl_ctx.get_prop(FLContextKey.JOB_PROCESS_ARGS))
        argv = shlex.split(self.get_command(job_meta, fl_ctx))
        return ProcessHandle(process_adapter=Fork(self.guard, argv, credentials))


class ClientLauncher(Forking, ClientProcessJobLauncher):
    """A site's."""


class ServerLauncher(Forking, ServerProcessJobLauncher):
    """The server's."""
