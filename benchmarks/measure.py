"""Measuring: the time and memory of commands, sides that do the same work in turns, and ratios with their spread."""

import ctypes
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import psutil

ROOT = Path(__file__).parents[1]
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2): daemons that a command leaves become our children, and count
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    "OMP_NUM_THREADS": "1",  # as every trainer here sets it
    "FLWR_TELEMETRY_ENABLED": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
cpu = time.process_time
T = TypeVar("T")


class Spread(NamedTuple):
    """The middle value, the least and the most of what was measured; for a ratio also its two sides, as text."""

    value: float
    low: float
    high: float
    sides: str = ""


class Failed(Exception):
    """A command failed; the text is the end of its output."""


class NotTheSameWork(Exception):
    """Sides that should have computed the same did not."""


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds of wall time, and the most MB that all its processes had (shared pages: once).

    `cpu_s` are seconds of computing, of all its processes that have ended.
    """

    seconds: float
    peak_mb: float
    output: str
    cpu_s: float


def run(command: Sequence[str | Path], timeout_s: float = 1200) -> Cost:
    """Run `command` in the repository, and end what it leaves running. Raises Failed if it does not succeed in time."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    before, words = set(_descendants()), [str(word) for word in command]
    options = {"cwd": ROOT, "env": os.environ | ENVIRONMENT, "stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    with tempfile.TemporaryFile() as file:  # a pipe would stay open as long as a daemon has it
        start, computed = time.perf_counter(), _computed()
        process, memory = subprocess.Popen(words, stdout=file, **options), _Memory(before)
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{' '.join(words)[:200]}: not done in {timeout_s} s") from error
        finally:
            seconds, peak = time.perf_counter() - start, memory.end()
            _end(set(_descendants()) - before)
        file.seek(0)
        output = file.read().decode(errors="replace")
    if code:
        raise Failed(output[-3000:])
    return Cost(seconds, peak, output, _computed() - computed)


def _computed() -> float:
    """CPU seconds of all our descendants that have ended, and were waited for."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def python(*words: str | Path, interpreter: str | Path = sys.executable) -> list:
    """A command that runs Python."""
    return [interpreter, *words]


class _Memory:
    """Follows the memory of our descendants that were not there `before`, by proportional set size."""

    def __init__(self, before: set):
        self.before, self.peak, self.done = before, 0.0, threading.Event()
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()

    def _follow(self) -> None:
        wait = 0.1
        while not self.done.wait(wait):
            start = time.perf_counter()
            self._look()
            wait = min(3.0, max(0.1, 30 * (time.perf_counter() - start)))  # a thirtieth of one core, or each 3 s

    def _look(self) -> None:
        total = 0
        for process in set(_descendants()) - self.before:
            try:
                total += process.memory_full_info().pss
            except psutil.Error:
                continue
        self.peak = max(self.peak, total / 1e6)

    def end(self) -> float:
        """The peak in MB, with what still runs now."""
        self.done.set()
        self.thread.join()
        self._look()
        return self.peak


def _descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _end(processes: set) -> None:
    for process in processes:
        try:
            process.terminate()
        except psutil.Error:
            continue
    _, alive = psutil.wait_procs(processes, timeout=5)
    for process in alive:
        process.kill()


def interleave(sides: dict[str, Callable[[], T]], turns: int) -> dict[str, list[T]]:
    """What each side returns in each turn. Every other turn runs the sides in reverse, because machines drift."""
    results = {name: [] for name in sides}
    for turn in range(turns):
        for name in list(sides)[:: -1 if turn % 2 else 1]:
            results[name].append(sides[name]())
    return results


def clock(work: Callable[[], object], timer: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of wall time of `work()`.

    With `cpu` they are seconds of this process's computing, which other work on the machine changes less. That is for
    work that runs on one thread and waits for nothing.
    """
    start = timer()
    work()
    return timer() - start


def middle(values: Sequence[float]) -> Spread:
    """The median of `values`, the least and the most."""
    return Spread(statistics.median(values), min(values), max(values))


def ratio(over: Sequence[float], under: Sequence[float], unit: str) -> Spread:
    """The ratio of two medians, and the least and most of the turns (a side with fewer turns repeats its last)."""
    turns = max(len(over), len(under))
    pairs = [over[min(i, len(over) - 1)] / under[min(i, len(under) - 1)] for i in range(turns)]
    medians = statistics.median(over), statistics.median(under)
    value = medians[0] / medians[1]
    return Spread(value, min(*pairs, value), max(*pairs, value), " / ".join(shown(side, unit) for side in medians))


def shown(value: float, unit: str = "") -> str:
    """A number as tables have it: three digits, or all before the point."""
    return (f"{value:.3g}" if value < 1000 else f"{value:.0f}") + (f" {unit}" if unit else "")


def at_least(what: str, spread: Spread, bound: float, unit: str = "") -> dict:
    """A target: the middle of `spread` should be `bound` or more."""
    return _check(what, spread, bound, unit, "at least", spread.value >= bound)


def at_most(what: str, spread: Spread, bound: float, unit: str = "") -> dict:
    """A target: the middle of `spread` should be `bound` or less."""
    return _check(what, spread, bound, unit, "at most", spread.value <= bound)


def told(what: str, spread: Spread, unit: str = "") -> dict:
    """A number without a target."""
    return _check(what, spread, None, unit, "", None)


def _check(what: str, spread: Spread, bound: float | None, unit: str, sense: str, met: bool | None) -> dict:
    return {"what": what, **spread._asdict(), "unit": unit, "sense": sense, "bound": bound, "met": met}
