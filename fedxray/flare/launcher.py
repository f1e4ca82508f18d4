"""How a site or a server starts the process of a job: it asks the guard for a fork, which has imported PyTorch already.

Each process of a federation that imported PyTorch by itself would take seconds of CPU and hundreds of megabytes for it.
"""

import json
import os
import shlex
import signal
import socket
import sys
import threading
from multiprocessing import Pipe
from typing import ClassVar, NamedTuple

from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_launcher_spec import JobHandleSpec, JobProcessArgs
from nvflare.app_common.job_launcher.client_process_launcher import ClientProcessJobLauncher
from nvflare.app_common.job_launcher.process_launcher import ProcessHandle, ProcessJobLauncher
from nvflare.app_common.job_launcher.server_process_launcher import ServerProcessJobLauncher
from nvflare.utils.job_launcher_utils import get_client_job_args, get_credential_env, get_server_job_args
from nvflare.utils.process_utils import ProcessAdapter


class Guard(NamedTuple):
    """What a process that a guard started knows of the guard."""

    requests: socket.socket
    log: str  # where this process writes
    env: dict[str, str]  # what this process got beside the guard's own environment, such as its GPU


class Fork(ProcessAdapter):
    """A process that the guard forks for this one, with methods of its own for all that NVFlare calls."""

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
        except EOFError:  # the guard is gone, and all that it started ends with it
            self.code = -signal.SIGKILL

    def poll(self) -> int | None:
        """The exit code, or None while the process runs."""
        return self.code

    def wait(self) -> None:
        """Wait until the process has ended."""
        self.waiter.join()

    def terminate(self) -> None:
        """End the process at once."""
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)


class Forking(ProcessJobLauncher):
    """A launcher of NVFlare's that asks the guard for the process of a job.

    Without a guard that forks it does what NVFlare's own launcher does. That is so if a kit's own script has started
    NVFlare, and with FEDXRAY_FORKS=0 (`fedxray.core.workers`).
    """

    guard: ClassVar[Guard | None] = None  # the guard sets it in each process that it forks

    def launch_job(self, job_meta: dict, fl_ctx: FLContext) -> JobHandleSpec:
        """Start the process of a job."""
        if self.guard is None:
            return super().launch_job(job_meta, fl_ctx)
        credentials = get_credential_env(fl_ctx.get_prop(FLContextKey.JOB_PROCESS_ARGS))
        argv = shlex.split(self.get_command(job_meta, fl_ctx))
        return ProcessHandle(process_adapter=Fork(self.guard, argv, credentials))


class ClientLauncher(Forking, ClientProcessJobLauncher):
    """A site's launcher."""

    def get_command(self, job_meta: dict, fl_ctx: FLContext) -> str:
        """The command line of a job's process at a site."""
        return command_of(fl_ctx, get_client_job_args())


class ServerLauncher(Forking, ServerProcessJobLauncher):
    """The server's launcher."""

    def get_command(self, job_meta: dict, fl_ctx: FLContext) -> str:
        """The command line of a job's process at the server."""
        return command_of(fl_ctx, get_server_job_args())


def command_of(fl_ctx: FLContext, names: list[str]) -> str:
    """The command line of a job's process, of its arguments `names`; NVFlare's breaks at a space in a path."""
    arguments, words = fl_ctx.get_prop(FLContextKey.JOB_PROCESS_ARGS), [sys.executable]
    for name in [name for name in names if name in arguments]:
        option, value = arguments[name]
        words += [option, *(value.split() if name == JobProcessArgs.OPTIONS else [str(value)])]
    return shlex.join(words)
