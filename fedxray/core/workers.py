"""Worker processes for what is computed image by image."""

import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

FORKS = sys.platform == "linux"  # elsewhere a fork is not safe


def workers(processes: int) -> ProcessPoolExecutor:
    """A pool of `processes`; where they can be forks, they have our imports at once."""
    return ProcessPoolExecutor(processes, get_context("fork" if FORKS else "spawn"), _be_quiet)


def _be_quiet() -> None:
    """Leave Ctrl-C, which reaches every process of a terminal, to the parent; end at SIGTERM without a word."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
