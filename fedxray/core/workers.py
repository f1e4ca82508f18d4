"""Worker processes for work that is done image by image, in chunks whose progress is logged."""

import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from fedxray.core.errors import UserError

# Outside Linux a fork is not safe. FEDXRAY_FORKS=0 turns forks off on Linux too: then every process starts a Python of
# its own, and NVFlare itself starts those of jobs. A new version of NVFlare should first run without forks.
FORKS = sys.platform == "linux" and os.environ.get("FEDXRAY_FORKS") != "0"

HANGS_S = 300  # seconds, after which a piece of work that is done apart counts as hanging

T = TypeVar("T")
log = logging.getLogger(__name__)


def workers(processes: int) -> ProcessPoolExecutor:
    """A pool of `processes` workers. Where they can be forks, they start with the parent's imports."""
    return ProcessPoolExecutor(processes, get_context("fork" if FORKS else "spawn"), _be_quiet)


def in_chunks(work: Callable, images: Sequence, processes: int, label: str, *constants: object) -> Iterator:
    """Yield `work(chunk, *constants)` for each chunk of `images`, in order, computed by `processes` workers.

    A line is logged at each fifth of the images. Raises UserError if the system ends a worker.
    """
    size = max(1, min(128, len(images) // (4 * processes) + 1))
    chunks = [images[start : start + size] for start in range(0, len(images), size)]
    repeated = [[constant] * len(chunks) for constant in constants]
    with workers(processes) as pool:
        results = pool.map(work, chunks, *repeated)
        for number in range(1, len(chunks) + 1):
            try:
                result = next(results)
            except BrokenProcessPool as error:
                raise UserError(
                    f"{label}: the system ended a process that worked on the images; give it more memory, or fewer "
                    "processes, and see that the disk is not full"
                ) from error
            if number == len(chunks) or number * 5 // len(chunks) > (number - 1) * 5 // len(chunks):
                log.info("%s: %d/%d images", label, min(number * size, len(images)), len(images))
            yield result


def apart(work: Callable[..., T], *arguments: object) -> T:
    """`work(*arguments)`, done in a process of its own: for native code that on bad input ends its process, or hangs.

    What it and `work` say is dropped. Raises ChildProcessError if there is no result, whatever the reason is.
    """
    context: Any = get_context("fork" if FORKS else "spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, work, arguments))
    process.start()
    sender.close()
    try:
        if receiver.poll(HANGS_S):
            return receiver.recv()
        process.kill()
    except EOFError:
        pass
    finally:
        receiver.close()
        process.join()
    raise ChildProcessError("no result")


def _send(sender: Connection, work: Callable, arguments: tuple) -> None:
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with suppress(Exception):
        sender.send(work(*arguments))


def _be_quiet() -> None:
    """Leave Ctrl-C, which reaches every process of a terminal, to the parent, and end at SIGTERM without a message."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
