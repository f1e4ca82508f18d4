"""The row `events`: TensorBoard's files, written and read by fedxray.report.tensorboard and by the usual tools."""

import shutil
import time
from pathlib import Path

import pandas as pd
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from benchmarks.environment import flower
from benchmarks.inputs import scratch
from benchmarks.measure import NotTheSameWork, at_least, clock, interleave, python, ratio, run
from fedxray.core.files import write_json, write_table
from fedxray.report.tensorboard import METRICS, POINT, SCALARS, count_scalars, export_runs

EPOCHS = 20
# In its own process, because tbparse is in the other environment; it says the seconds that reading took.
TBPARSE = """
import sys, time
from tbparse import SummaryReader
start = time.perf_counter()
table = SummaryReader(sys.argv[1]).scalars
print(len(table), time.perf_counter() - start)
"""


def events(quick: bool) -> dict:
    """As many runs as of a sweep: their metrics.csv to event files with HParams, and these read back."""
    count, turns = (20, 3) if quick else (200, 5)
    with scratch() as folder:
        runs = [make_up_run(folder / "runs" / f"run-{number}", number) for number in range(count)]
        names = [run.name for run in runs]
        writing = {
            "fedxray": lambda: clock(lambda: export_runs(runs, names, _empty(folder / "ours"))),
            "SummaryWriter": lambda: clock(lambda: summary_writer(runs, _empty(folder / "theirs"))),
        }
        written = interleave(writing, turns)
        logs = [folder / "ours" / name for name in names]
        scalars = count * EPOCHS * len(SCALARS)
        reading = {
            "fedxray": lambda: clock(lambda: fedxray_reading(logs, scalars)),
            "EventAccumulator": lambda: clock(lambda: event_accumulator(logs, scalars)),
            "tbparse": lambda: tbparse(folder / "ours", scalars),
        }
        read = interleave(reading, turns)
    checks = [
        at_least(f"{work} speed, of {side}'s", ratio(values[side], values["fedxray"], "s"), 4.0)
        for work, values in (("writing", written), ("reading", read))
        for side in values
        if side != "fedxray"
    ]
    return {
        "samples": {f"writing, {side}, s": values for side, values in written.items()}
        | {f"reading, {side}, s": values for side, values in read.items()},
        "checks": checks,
        "notes": {"runs": count, "scalars": scalars},
    }


def make_up_run(folder: Path, number: int, **record) -> Path:
    """The record and the metrics of a run that never was, for what only reads them; returns its folder."""
    point = dict.fromkeys(POINT) | {"mode": "central", "site": "pooled", "lr": 0.001 * (number + 1), "epochs": EPOCHS}
    point |= {"seed": 1, "parameters": 76977, "bytes_sent": 0, "seconds": 9.0} | record
    rows = {column: [number / 1e6 + epoch / 100 for epoch in range(EPOCHS)] for column in SCALARS}
    write_json(folder / "record.json", point)
    write_table(
        folder / "metrics.csv",
        pd.DataFrame({"epoch": range(1, EPOCHS + 1), "series": "global", **rows, "seconds": 1.0}),
    )
    return folder


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def summary_writer(runs: list[Path], output: Path) -> None:
    """The same curves and HParams by torch's SummaryWriter."""
    for run_ in runs:
        table = pd.read_csv(run_ / "metrics.csv")
        with SummaryWriter(str(output / run_.name)) as writer:
            for row in table.to_dict("records"):
                for column, tag in SCALARS.items():
                    writer.add_scalar(tag, row[column], row["epoch"], walltime=time.time())
            metrics = {SCALARS[column]: table[column].iloc[-1] for column in METRICS}
            for summary in hparams({"lr": 0.001, "epochs": EPOCHS, "seed": 1, "mode": "central"}, metrics):
                writer.file_writer.add_summary(summary)


def fedxray_reading(logs: list[Path], scalars: int) -> None:
    """Count the scalars as fedxray checks that all have arrived."""
    _same(sum(sum(count_scalars(log).values()) for log in logs), scalars)


def event_accumulator(logs: list[Path], scalars: int) -> None:
    """Count the scalars by TensorBoard's own reader."""
    total = 0
    for log in logs:
        accumulator = EventAccumulator(str(log), size_guidance={"scalars": 0}).Reload()
        total += sum(len(accumulator.Scalars(tag)) for tag in accumulator.Tags()["scalars"])
    _same(total, scalars)


def tbparse(folder: Path, scalars: int) -> float:
    """Seconds to read the scalars by tbparse, its import not counted."""
    count, seconds = run(python("-c", TBPARSE, folder, interpreter=flower())).output.splitlines()[-1].split()
    _same(int(count), scalars)
    return float(seconds)


def _same(found: int, scalars: int) -> None:
    if found != scalars:
        raise NotTheSameWork(f"read {found} scalars of {scalars}")
