"""Starts the processes of a federation and ends all of them, whatever happens to who asked for it.

Run as `python -m fedxray.federation.guard`: reads one JSON line, a list of {name, argv, env, log}, from standard input,
starts these, and prints one JSON line {name, code} when one of them ends. At the end of standard input, which comes
even if the parent is killed, it ends every descendant and itself.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

MAIN = {
    "server": ("nvflare.private.fed.app.server.server_train", "fed_server.json"),
    "client": ("nvflare.private.fed.app.client.client_train", "fed_client.json"),
}

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2): orphans of our children become our children
GRACE_S = 2.0


def process(kit: Path, kind: str, name: str, org: str, log: Path, env: dict[str, str]) -> dict:
    """NVFlare's process of the startup kit of a `server` or `client`, as `guarded` takes it."""
    module, config = MAIN[kind]
    argv = [sys.executable, "-u", "-m", module, "-m", str(kit), "-s", config, "--set", "secure_train=true"]
    argv += [f"org={org}", "config_folder=config", *([f"uid={name}"] if kind == "client" else [])]
    return {"name": name, "argv": argv, "env": {"MALLOC_ARENA_MAX": "4"} | env, "log": str(log)}


@contextlib.contextmanager
def guarded(processes: list[dict]) -> Iterator[Callable[[], list[tuple[str, int]]]]:
    """Run processes under a guard, which ends them at the end; yields what says which have ended, [(name, code)]."""
    child = subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ended() -> list[tuple[str, int]]:
        lines = []
        while select.select([child.stdout], [], [], 0)[0] and (line := child.stdout.readline()):
            lines.append(json.loads(line))
        return [(line["name"], line["code"]) for line in lines]

    try:
        child.stdin.write(json.dumps(processes) + "\n")
        child.stdin.flush()
        yield ended
    finally:
        child.stdin.close()
        child.wait()


def guard() -> None:
    """The whole life of the guard."""
    os.setsid()  # a Ctrl-C in the terminal reaches the parent alone, which then closes our standard input
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    children = {}
    try:
        for spec in json.loads(sys.stdin.readline()):
            with open(spec["log"], "ab") as log:
                children[spec["name"]] = subprocess.Popen(
                    spec["argv"], env=os.environ | spec["env"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
        while not select.select([sys.stdin], [], [], 0.2)[0]:
            for name in [name for name, child in children.items() if child.poll() is not None]:
                print(json.dumps({"name": name, "code": children.pop(name).returncode}), flush=True)
    finally:
        end_descendants()


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
