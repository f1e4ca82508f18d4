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

import psutil

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2): orphans of our children become our children
GRACE_S = 2.0


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
