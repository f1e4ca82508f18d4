"""Measure what the README claims: the whole graph, a run with nothing to do, and resampling (time and memory).

python benchmarks/measure.py graph                 # seconds of the phantom experiment, from nothing
python benchmarks/measure.py nothing               # seconds of a run with nothing to do, after that
python benchmarks/measure.py resample images.zip   # draft against full decoding, and peak memory of all processes
"""

import argparse
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import psutil

from fedxray.data.catalogue import build_catalogue
from fedxray.data.pixels import resample
from fedxray.files import write_table

EXPERIMENT = ["snakemake", "--cores", "2", "--config", "experiment=benchmark"]


def seconds(command: list[str]) -> float:
    """Wall-clock seconds of a command that must succeed."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def peak_memory(work) -> tuple[float, float]:
    """(seconds of `work()`, most MB that this process and its children held; shared pages count once)."""
    peak, done = [0.0], threading.Event()

    def sample():
        while not done.wait(0.05):
            total = 0
            for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            peak[0] = max(peak[0], total / 1e6)

    thread = threading.Thread(target=sample)
    thread.start()
    start = time.perf_counter()
    work()
    elapsed = time.perf_counter() - start
    done.set()
    thread.join()
    return elapsed, peak[0]


def measure_resample(path: Path) -> None:
    """Resample every image of `path` to 64 pixels on two processes, with and without reduced decoding."""
    with tempfile.TemporaryDirectory() as folder:
        catalogue, output = Path(folder) / "catalogue.csv", Path(folder) / "pixels.npy"
        table, _ = build_catalogue(path, "drop", 2)
        write_table(catalogue, table)
        took = {}
        for draft in (True, False):
            took[draft], memory = peak_memory(lambda draft=draft: resample(path, catalogue, 64, 2, output, draft))
            name = "reduced" if draft else "full"
            print(f"{name:<8} decoding of {len(table)} images: {took[draft]:.1f} s, at most {memory:.0f} MB")
        print(f"full / reduced: {took[False] / took[True]:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["graph", "nothing", "resample"])
    parser.add_argument("archive", type=Path, nargs="?")
    options = parser.parse_args()
    if options.what == "resample":
        measure_resample(options.archive)
    else:
        runs = 1 if options.what == "graph" else 3
        extra = ["--forceall"] if options.what == "graph" else []
        print(f"{options.what}: {sorted(seconds([*EXPERIMENT, *extra]) for _ in range(runs))[runs // 2]:.1f} s")
