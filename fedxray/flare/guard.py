"""Starts the processes of a federation and ends all of them, whatever happens to who asked for it.

Run as `python -m fedxray.flare.guard`, it reads one JSON line, a list of {name, argv, env, log}, from standard input,
starts these processes, and prints one JSON line {name, code} when one of them ends. At the end of standard input, which
comes even if the parent is killed, the guard ends every descendant and itself.

Each process is a fork of the guard, and so are the processes of jobs, for which the others ask it (`launcher`): what
the guard has imported, PyTorch above all, is imported and held in memory once. Where forks are off
(`fedxray.core.workers`) each process imports for itself, and NVFlare's own launcher starts those of jobs.
"""

import contextlib
import ctypes
import gc
import importlib
import io
import json
import multiprocessing
import os
import pkgutil
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import SimpleNamespace

import psutil
from nvflare.fuel.f3 import drivers
from nvflare.fuel.f3.mpm import MainProcessMonitor
from nvflare.fuel.f3.sfm import conn_manager
from setproctitle import setproctitle

from fedxray.core.errors import UserError
from fedxray.core.names import NamesOnly
from fedxray.core.workers import FORKS
from fedxray.flare.components import ADMISSION, IN_PLACE_OF
from fedxray.flare.launcher import Forking, Guard
from fedxray.flare.loopback import past_proxies

MAIN = {
    "server": ("nvflare.private.fed.app.server.server_train", "fed_server.json"),
    "client": ("nvflare.private.fed.app.client.client_train", "fed_client.json"),
}
PARENTS = tuple(module for module, _ in MAIN.values())
JOBS: NamesOnly = ("fedxray.flare.site", "fedxray.flare.server", "torch._dynamo")  # the last for PyTorch's optimizers
# A kit names these. Most are imported by now; as a part of the guard they count as code that a federation runs.
OURS = tuple(path.rpartition(".")[0] for path in (*IN_PLACE_OF.values(), ADMISSION))

# Seconds that the server waits at a job's end for a site that is gone; NVFlare's 900 would withhold a whole result.
OUTCOME = {"NVFLARE_CLIENT_OUTCOME_WAIT_TIMEOUT": "60"}

# For glibc: what a process has freed stays its own. A model's arrays are made anew in each round, and the system would
# clear each of their pages each time, which took a third of a site's time for a large model.
KEPT_MEMORY = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}

# Where NVFlare waits between two looks at whether something is there, most of the time of a short job's start and end.
LOOKING = (
    "nvflare.fuel.f3.cellnet.connector_manager",
    "nvflare.private.fed.client.client_app_runner",
    "nvflare.private.fed.server.job_runner",
)
LOOK_S = 0.2  # in place of 0.5 and 1 s; and before a connection is tried for the second time, in place of 1 s

LINUX = sys.platform == "linux"
SUBREAPER, DEATH_SIGNAL = 36, 1  # of prctl(2): orphans of our children become ours; what comes when our parent dies
GRACE_S = 2.0


def process(kit: Path, kind: str, name: str, org: str, log: Path, env: dict[str, str]) -> dict:
    """What `guarded` takes to start NVFlare's process of a startup kit, a `server`'s or a `client`'s."""
    module, config = MAIN[kind]
    argv = [sys.executable, "-u", "-m", module, "-m", str(kit), "-s", config, "--set", "secure_train=true"]
    argv += [f"org={org}", "config_folder=config", *([f"uid={name}"] if kind == "client" else [])]
    return {"name": name, "argv": argv, "env": OUTCOME | env if kind == "server" else env, "log": str(log)}


@contextlib.contextmanager
def guarded(processes: list[dict], env: dict[str, str] | None = None) -> Iterator[Callable[[], list[tuple[str, int]]]]:
    """Run processes under a guard, which ends them when the context ends.

    Yields a function that returns [(name, exit code)] of those that have ended since it was last called, and raises
    UserError if the guard itself has ended. `env` is for all processes from their start: it has what libraries read
    when they are loaded, such as OMP_NUM_THREADS.
    """
    child = subprocess.Popen(
        [sys.executable, "-m", __name__],
        env=os.environ | KEPT_MEMORY | past_proxies() | (env or {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    requests, answers = child.stdin, child.stdout
    assert requests is not None
    assert answers is not None

    def ended() -> list[tuple[str, int]]:
        lines = []
        while select.select([answers], [], [], 0)[0]:
            if not (line := answers.readline()):
                raise UserError(f"the guard of the federation's processes has ended ({child.wait()}), and so have they")
            lines.append(json.loads(line))
        return [(line["name"], line["code"]) for line in lines]

    try:
        requests.write(json.dumps(processes) + "\n")
        requests.flush()
        yield ended
    finally:
        requests.close()
        child.wait()


class Family:
    """The guard's processes, and whom to tell when one ends."""

    def __init__(self):
        self.context = multiprocessing.get_context("fork") if FORKS else multiprocessing.get_context("spawn")
        self.requests, self.asking = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.tell = {}  # {process: what is called with its exit code}

    def start(self, argv: list[str], env: dict[str, str], log: str, tell: Callable[[int], None]) -> int:
        """Start a process; returns its id."""
        gc.freeze()  # or the child's first collection writes to, and so copies, each page that it shares
        child = self.context.Process(target=become, args=(argv, env, log, self.asking))
        child.start()
        assert child.pid is not None
        self.tell[child] = tell
        return child.pid

    def step(self, until: int) -> bool:
        """Wait for a request, for the end of a process, or for the file `until`; returns False if it was the file."""
        ready = wait([until, self.requests, *(child.sentinel for child in self.tell)])
        if self.requests in ready:
            text, (answer,), *_ = socket.recv_fds(self.requests, 1 << 16, 1)
            answers = Connection(answer, readable=False)
            answers.send_bytes(b"%d" % self.start(**json.loads(text), tell=partial(answer_code, answers)))
        for child in [child for child in self.tell if child.sentinel in ready]:
            child.join()
            self.tell.pop(child)(child.exitcode)
        return until not in ready


def answer_code(answers: Connection, code: int) -> None:
    """Tell a process that had asked for another one how that ended."""
    with contextlib.suppress(BrokenPipeError):  # the one that asked has ended
        answers.send_bytes(b"%d" % code)
    answers.close()


def print_code(name: str, code: int) -> None:
    """Tell whoever started the guard that a process has ended."""
    print(json.dumps({"name": name, "code": code}), flush=True)


def become(argv: list[str], env: dict[str, str], log: str, asking: socket.socket) -> None:
    """Be `python -m module ...` of `argv`, with all output in `log`: the life of a new process."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if LINUX:
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)  # if the guard is killed
    os.environ.update(env)
    setproctitle(shlex.join(argv))
    with open(log, "ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(write_through=True)
    if FORKS:
        Forking.guard = Guard(asking, log, env)
    # At a process's end NVFlare sleeps for 3 s "to let pending activities finish"; its mains have waited for these.
    MainProcessMonitor.run = partial(MainProcessMonitor.run, shutdown_grace_time=0)
    look_often()
    module, *words = argv[argv.index("-m") + 1 :]
    sys.modules.pop(module, None)  # what the module imports stays imported
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def look_often() -> None:
    """Let NVFlare in this process look for what it waits for every `LOOK_S`."""
    often = SimpleNamespace(**vars(time) | {"sleep": lambda seconds: time.sleep(min(seconds, LOOK_S))})
    for name in LOOKING:
        vars(importlib.import_module(name))["time"] = often
    conn_manager.INIT_WAIT = LOOK_S


def guard() -> None:
    """The whole life of the guard."""
    os.setsid()  # a Ctrl-C in the terminal reaches the parent alone, which then closes our standard input
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if LINUX:
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    family = Family()
    try:
        preload((*PARENTS, *(f"{drivers.__name__}.{module.name}" for module in pkgutil.iter_modules(drivers.__path__))))
        for spec in json.loads(sys.stdin.readline()):
            family.start(spec["argv"], spec["env"], spec["log"], partial(print_code, spec["name"]))
        preload((*JOBS, *OURS))  # while they connect
        while family.step(sys.stdin.fileno()):
            pass
    finally:
        end_descendants()
    os._exit(0)  # at once, where unloading all that was imported takes a second


def preload(modules: Iterable[str]) -> None:
    """Import what the forks will need."""
    for module in modules if FORKS else ():
        importlib.import_module(module)


def end_descendants() -> None:
    """SIGTERM to every descendant, SIGKILL after `GRACE_S`, again until none is left."""
    grace = GRACE_S
    while processes := psutil.Process().children(recursive=True):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate() if grace else process.kill()
        psutil.wait_procs(processes, timeout=grace or 1.0)
        grace = 0


if __name__ == "__main__":
    guard()
