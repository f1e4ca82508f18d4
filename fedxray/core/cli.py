"""What every script shares: its parser, errors of one line, and an end when the workflow is killed."""

import argparse
import io
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence

import psutil

from fedxray.core.errors import UserError, disk_line

_INTERRUPTED = threading.Event()


def parser(doc: str | None) -> argparse.ArgumentParser:
    """An argument parser whose help is the script's module docstring; every option shows its default."""
    summary, _, rest = (doc or "").partition("\n")
    return argparse.ArgumentParser(
        description=summary, epilog=rest.strip(), formatter_class=argparse.RawDescriptionHelpFormatter
    )


def run(main: Callable[[argparse.Namespace], None], arguments: argparse.ArgumentParser) -> None:
    """Parse the command line and call `main`.

    A UserError becomes one line on stderr and exit code 1, and so does an error of the disk: a full one, or one on
    which this user may not write.
    """
    options = arguments.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # So each line reaches a pipe or a file at once, and one that the terminal's encoding lacks letters for too.
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    show_progress()
    _end_with_snakemake()
    try:
        main(options)
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at its exit
        sys.exit(1)
    except Exception as error:
        if line := disk_line(error):
            sys.exit(f"error: {line}")
        raise


def show_progress() -> None:
    """Print what the library logs: progress unchanged on stdout, warnings as `warning: ...` on stderr."""
    progress, warnings = logging.StreamHandler(sys.stdout), logging.StreamHandler(sys.stderr)
    progress.addFilter(lambda record: record.levelno < logging.WARNING)
    warnings.setLevel(logging.WARNING)
    warnings.setFormatter(logging.Formatter("warning: %(message)s"))
    library = logging.getLogger("fedxray")
    handlers: list[logging.Handler] = [progress, warnings]
    library.handlers, library.propagate = handlers, False
    library.setLevel(logging.INFO)


def _end_with_snakemake() -> None:
    """Raise KeyboardInterrupt on SIGTERM, and send it to ourselves when the Snakemake that started us is killed."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as a background job does
        signal.signal(signal.SIGINT, _interrupt)
    parents = [p for p in psutil.Process().parents() if _is_snakemake(p)]
    if parents:
        threading.Thread(target=_watch, args=(parents,), daemon=True).start()


def interrupted() -> bool:
    """Whether a signal has asked this process to end. Code of other packages may swallow the exception that says so."""
    return _INTERRUPTED.is_set()


def _interrupt(signum: int, frame: object) -> None:
    _INTERRUPTED.set()
    raise KeyboardInterrupt


def _is_snakemake(process: psutil.Process) -> bool:
    try:
        return any("snakemake" in os.path.basename(word) for word in process.cmdline()[:3])
    except psutil.Error:
        return False


def _watch(parents: Sequence[psutil.Process]) -> None:
    while all(parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE for parent in parents):
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
