"""The row `events`: TensorBoard's files, written by fedxray.report.tensorboard and by PyTorch, and read back.

The fast reader belongs to this benchmark. It counts scalars and decodes no more. fedxray itself reads no event files.
"""

import shutil
import struct
import time
from collections import Counter
from pathlib import Path

import pandas as pd
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from benchmarks.environment import flower
from benchmarks.inputs import scratch
from benchmarks.measure import NotTheSameWork, at_least, clock, interleave, python, ratio, run, told
from fedxray.core.events import SCALARS
from fedxray.core.files import write_json, write_table
from fedxray.experiment.folder import RunFolder
from fedxray.report.tensorboard import HPARAM_METRICS, POINT, export_runs

EPOCHS = 20
# In its own process, because tbparse is in the other environment. It prints the seconds that reading took.
TBPARSE = """
import sys, time
from tbparse import SummaryReader
start = time.perf_counter()
table = SummaryReader(sys.argv[1]).scalars
print(len(table), time.perf_counter() - start)
"""


def events(quick: bool) -> dict:
    """The metrics.csv of as many runs as a sweep has, written as event files with HParams, and these read back."""
    count, turns = (20, 3) if quick else (200, 5)
    with scratch() as folder:
        runs = [make_up_run(folder / "runs" / f"run-{number}", number) for number in range(count)]
        names = [run.path.name for run in runs]
        writing = {
            "fedxray": lambda: clock(lambda: export_runs(runs, names, _empty(folder / "ours"))),
            "SummaryWriter": lambda: clock(lambda: summary_writer(runs, _empty(folder / "theirs"))),
        }
        written = interleave(writing, turns)
        logs = [folder / "ours" / name for name in names]
        scalars = count * EPOCHS * len(SCALARS)
        reading = {
            "the benchmark's own": lambda: clock(lambda: own_reading(logs, scalars)),
            "EventAccumulator": lambda: clock(lambda: event_accumulator(logs, scalars)),
            "tbparse": lambda: tbparse(folder / "ours", scalars),
        }
        read = interleave(reading, turns)
    ours = read["the benchmark's own"]
    checks = [
        at_least("writing speed, of SummaryWriter's", ratio(written["SummaryWriter"], written["fedxray"], "s"), 4.0),
        *(
            told(f"reading speed of the benchmark's own reader, of {side}'s", ratio(read[side], ours, "s"))
            for side in ("EventAccumulator", "tbparse")
        ),
    ]
    return {
        "samples": {f"writing, {side}, s": values for side, values in written.items()}
        | {f"reading, {side}, s": values for side, values in read.items()},
        "checks": checks,
        "notes": {"runs": count, "scalars": scalars},
    }


def make_up_run(folder: Path, number: int, **record) -> RunFolder:
    """Write the record and the metrics of an invented run, for code that only reads them; returns its folder."""
    run_ = RunFolder(folder)
    point = dict.fromkeys(POINT) | {"mode": "central", "site": "pooled", "lr": 0.001 * (number + 1), "epochs": EPOCHS}
    point |= {"schedule": {"rounds": 1, "round": EPOCHS}, "method": None}
    point |= {"seed": 1, "parameters": 76977, "bytes_sent": 0, "seconds": 9.0} | record
    rows = {column: [number / 1e6 + epoch / 100 for epoch in range(EPOCHS)] for column in SCALARS}
    write_json(run_.record, point)
    curves = pd.DataFrame({"epoch": range(1, EPOCHS + 1), "series": "global", **rows, "seconds": 1.0})
    write_table(run_.curves, curves)
    return run_


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def summary_writer(runs: list[RunFolder], output: Path) -> None:
    """The same curves and HParams by torch's SummaryWriter."""
    for run_ in runs:
        table = pd.read_csv(run_.curves)
        with SummaryWriter(str(output / run_.path.name)) as writer:
            for row in table.to_dict("records"):
                for column, tag in SCALARS.items():
                    writer.add_scalar(tag, row[column], row["epoch"], walltime=time.time())
            metrics = {SCALARS[column]: table[column].iloc[-1] for column in HPARAM_METRICS}
            for summary in hparams({"lr": 0.001, "epochs": EPOCHS, "seed": 1, "mode": "central"}, metrics):
                writer.file_writer.add_summary(summary)


def own_reading(logs: list[Path], scalars: int) -> None:
    """Count the scalars by this benchmark's reader."""
    _same(sum(sum(count_scalars(log).values()) for log in logs), scalars)


def count_scalars(folder: Path) -> Counter:
    """How many scalars of each tag the event files directly in `folder` have; checksums are not checked."""
    counts: Counter = Counter()
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data, position = path.read_bytes(), 0
        while position < len(data):
            (length,) = struct.unpack_from("<Q", data, position)  # then its checksum, the event, and its checksum
            event = Event.FromString(data[position + 12 : position + 12 + length])
            counts.update(value.tag for value in event.summary.value if value.HasField("simple_value"))
            position += length + 16
    return counts


def event_accumulator(logs: list[Path], scalars: int) -> None:
    """Count the scalars by TensorBoard's own reader."""
    total = 0
    for log in logs:
        accumulator = EventAccumulator(str(log), size_guidance={"scalars": 0}).Reload()
        total += sum(len(accumulator.Scalars(tag)) for tag in accumulator.Tags()["scalars"])
    _same(total, scalars)


def tbparse(folder: Path, scalars: int) -> float:
    """Seconds to read the scalars by tbparse, without its import."""
    count, seconds = run(python("-c", TBPARSE, folder, interpreter=flower())).output.splitlines()[-1].split()
    _same(int(count), scalars)
    return float(seconds)


def _same(count: int, scalars: int) -> None:
    if count != scalars:
        raise NotTheSameWork(f"read {count} scalars of {scalars}")
