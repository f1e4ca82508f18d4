"""TensorBoard event files, written and read without torch or TensorFlow: records of `event_pb2` in TFRecord framing."""

import struct
import time
from collections import Counter
from pathlib import Path

import pandas as pd
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2
from tensorboard.summary.writer.record_writer import RecordWriter

from fedxray.files import read_json, read_table

SCALARS = {
    "train_loss": "train/loss",
    "validation_loss": "validation/loss",
    "validation_accuracy": "validation/accuracy",
    "validation_auroc": "validation/auroc",
}
POINT = ("mode", "site", "lr", "epochs", "rounds", "local_epochs", "seed")


class EventFile:
    """One event file in `folder`; every record reaches the disk at once, so that TensorBoard shows it live."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.file = (folder / "events.out.tfevents.0000000000.fedxray").open("wb")
        self.writer = RecordWriter(self.file)
        self._write(Event(file_version="brain.Event:2", wall_time=time.time()))

    def add(self, scalars: dict[str, float], step: int) -> None:
        """Add scalars by tag at `step` (passes over the data seen)."""
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._write(Event(step=step, wall_time=time.time(), summary=Summary(value=values)))

    def add_summary(self, summary: Summary) -> None:
        """Add a ready summary, such as that of hyper-parameters."""
        self._write(Event(wall_time=time.time(), summary=summary))

    def _write(self, event: Event) -> None:
        self.writer.write(event.SerializeToString())
        self.file.flush()

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def export_runs(runs: list[Path], names: list[str], output: Path) -> None:
    """Write the events of each run below `output`, at its name: the global model's there, a site's in a folder below.

    Hyper-parameters come with the last validation AUROC and accuracy as metrics; the test set is not shown.
    """
    for run, name in zip(runs, names, strict=True):
        metrics, record = read_table(run / "metrics.csv"), read_json(run / "record.json")
        for series, rows in metrics.groupby("series", sort=False):
            file = EventFile(output / name if series == "global" else output / name / series)
            if series == "global":
                for part in _hparams(record):
                    file.add_summary(part)
            _add_rows(file, rows)
            file.close()


def _add_rows(file: EventFile, rows: pd.DataFrame) -> None:
    for row in rows.to_dict("records"):
        file.add({tag: row[column] for column, tag in SCALARS.items()}, row["epoch"])


def _hparams(record: dict) -> list[Summary]:
    """The hyper-parameters of a run, and which scalars are its metrics."""
    values = {key: record[key] if record[key] is not None else 0 for key in POINT}
    parameters = [summary_v2.HParam(key) for key in values]
    metrics = [summary_v2.Metric(SCALARS["validation_auroc"]), summary_v2.Metric(SCALARS["validation_accuracy"])]
    return [
        summary_v2.hparams_config_pb(parameters, metrics),
        summary_v2.hparams_pb(values, start_time_secs=0),
        Summary(value=[Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=_ended(record["seconds"]))]),
    ]


def _ended(seconds: float):
    """The record that a session ended well; TensorBoard's own function for it needs TensorFlow."""
    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=seconds)
    return metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=end))


def count_scalars(folder: Path) -> Counter:
    """How many scalars of each tag the event files directly in `folder` hold."""
    counts = Counter()
    for path in sorted(Path(folder).glob("events.out.tfevents.*")):
        data, position = path.read_bytes(), 0
        while position < len(data):  # length (8 bytes), its checksum (4), the event, its checksum (4)
            (length,) = struct.unpack_from("<Q", data, position)
            event = Event.FromString(data[position + 12 : position + 12 + length])
            counts.update(value.tag for value in event.summary.value if value.HasField("simple_value"))
            position += length + 16
    return counts
