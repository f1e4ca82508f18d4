"""Worker processes for what is computed image by image, and whether processes may be forks."""

import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

# Outside Linux a fork is not safe. FEDXRAY_FORKS=0 turns forks off on Linux too: then every process starts anew, those
# of a federation and its jobs by NVFlare's own means, which is how a new version of NVFlare should run first.
FORKS = sys.platform == "linux" and os.environ.get("FEDXRAY_FORKS") != "0"


def workers(processes: int) -> ProcessPoolExecutor:
    """A pool of `processes`; where they can be forks, they have our imports at once."""
    return ProcessPoolExecutor(processes, get_context("fork" if FORKS else "spawn"), _be_quiet)


def _be_quiet() -> None:
    """Leave Ctrl-C, which reaches every process of a terminal, to the parent; end at SIGTERM without a word."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
