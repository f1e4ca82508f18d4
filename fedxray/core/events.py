"""TensorBoard event files: the tags of a run's scalars, and a file that is written while a run is trained.

Only the functions that make events import TensorBoard, because the processes of hospitals use `SCALARS`, and hospitals
do not install TensorBoard.
"""

import time
from pathlib import Path

SCALARS = {
    "train_loss": "train/loss",
    "validation_loss": "validation/loss",
    "validation_accuracy": "validation/accuracy",
    "validation_auroc": "validation/auroc",
}
FILE = "events.out.tfevents.0000000000.fedxray"
VERSION = "brain.Event:2"


class EventFile:
    """One event file in `folder`; every event reaches the disk at once, so that TensorBoard shows it live.

    If the folder already has event files, because a run continues, the new file's name comes after theirs.
    """

    def __init__(self, folder: Path):
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        before = len(list(folder.glob(f"{FILE}*")))
        self.records = RecordWriter((folder / f"{FILE}{f'.{before}' * (before > 0)}").open("xb"))
        self._write(event(wall_time=time.time(), file_version=VERSION))

    def add(self, scalars: dict[str, float], step: int) -> None:
        """Add scalars by tag at `step` (passes over the data seen)."""
        self._write(event(step=step, wall_time=time.time(), summary=summary(scalars)))

    def _write(self, record) -> None:
        self.records.write(record.SerializeToString())
        self.records.flush()

    def close(self) -> None:
        """Close the file."""
        self.records.close()


def event(**fields):
    """An Event with the given fields of its protocol."""
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(**fields)


def summary(scalars: dict[str, float]):
    """A Summary of scalars by tag."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()])
