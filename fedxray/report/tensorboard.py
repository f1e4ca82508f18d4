"""TensorBoard event files, written and read without torch or TensorFlow: protocol buffers in TFRecord framing.

TensorBoard is imported only where it is used: a hospital's process takes `SCALARS` from here and installs none.
"""

import csv
import struct
import time
from collections import Counter
from functools import cache
from pathlib import Path

from fedxray.core.files import read_json

SCALARS = {
    "train_loss": "train/loss",
    "validation_loss": "validation/loss",
    "validation_accuracy": "validation/accuracy",
    "validation_auroc": "validation/auroc",
}
POINT = ("mode", "site", "lr", "epochs", "rounds", "local_epochs", "seed")
METRICS = ("validation_auroc", "validation_accuracy", "validation_loss")  # columns of the HParams tab
FILE = "events.out.tfevents.0000000000.fedxray"
VERSION = "brain.Event:2"


class EventFile:
    """One event file in `folder`; every record reaches the disk at once, so that TensorBoard shows it live.

    If there are some from before, of a run that goes on, it comes after them.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        before = len(list(folder.glob(f"{FILE}*")))
        self.file = (folder / f"{FILE}{f'.{before}' * (before > 0)}").open("xb")
        self._write(_event(wall_time=time.time(), file_version=VERSION))

    def add(self, scalars: dict[str, float], step: int) -> None:
        """Add scalars by tag at `step` (passes over the data seen)."""
        self._write(_event(step=step, wall_time=time.time(), summary=_scalars(scalars)))

    def _write(self, event) -> None:
        self.file.write(_record(event))
        self.file.flush()

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def export_runs(runs: list[Path], names: list[str], output: Path, extra: list[dict] | None = None) -> None:
    """Write the events of each run below `output`, at its name: the global model's there, a site's in a folder below.

    In the HParams tab each run is one session group: its point and `extra[i]` (further settings of run i) are the
    columns, with the last validation AUROC, accuracy and loss; the test set is not shown. The same runs give the same
    bytes: an event's wall time is the seconds that the run had trained by then.
    """
    records = [read_json(run / "record.json") for run in runs]
    points = _points(records, extra or [{} for _ in runs])
    experiment = _experiment(points)
    for run, name, record, point in zip(runs, names, records, points, strict=True):
        for series, rows in _read_curves(run / "metrics.csv").items():
            events = _record(_event(file_version=VERSION))
            if series == "global":
                events += experiment + _session(name, point, record["seconds"])
            folder = output / name if series == "global" else output / name / series
            folder.mkdir(parents=True, exist_ok=True)
            (folder / FILE).write_bytes(events + _curves(rows))  # at once: TensorBoard reads a temporary file too


def _read_curves(path: Path) -> dict[str, list[dict]]:
    """The rows of `metrics.csv` by series; by csv, because pandas takes longer for a file of 100 rows than all else."""
    series = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            series.setdefault(row["series"], []).append(row)
    return series


def _curves(rows: list[dict]) -> bytes:
    """The records of one series' scalars, one per row."""
    event = _event(summary=_scalars(dict.fromkeys(SCALARS.values(), 0.0)))
    columns = list(zip(SCALARS, event.summary.value, strict=True))
    records = []
    for row in rows:
        event.step = int(row["epoch"])
        event.wall_time += float(row["seconds"])
        for column, value in columns:
            value.simple_value = float(row[column] or "nan")
        records.append(_record(event))
    return b"".join(records)


def _event(**fields):
    """An Event with the given fields of its protocol."""
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(**fields)


def _scalars(scalars: dict[str, float]):
    """A Summary of scalars by tag."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()])


def _record(event) -> bytes:
    """One Event as a record: length (uint64), its checksum (uint32), the event, its checksum; little-endian."""
    data, checksum = event.SerializeToString(), _checksum()
    length = struct.pack("<Q", len(data))
    return b"".join((length, struct.pack("<I", checksum(length)), data, struct.pack("<I", checksum(data))))


@cache
def _checksum():
    """The masked CRC-32C of bytes, as a function: google-crc32c's, or else TensorBoard's, which is slow Python."""
    try:
        from google_crc32c import value
    except ImportError:
        from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

        return masked_crc32c
    return lambda data: (((crc := value(data)) >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _points(records: list[dict], extra: list[dict]) -> list[dict]:
    """The hyper-parameters of each run; TensorBoard wants a column to be all numbers, all booleans or all text."""
    points = [
        {key: 0 if record[key] is None else record[key] for key in POINT} | more
        for record, more in zip(records, extra, strict=True)
    ]
    for key in dict.fromkeys(key for point in points for key in point):
        having = [point for point in points if key in point]
        kinds = {type(point[key]) for point in having}
        if not (kinds <= {int, float} or kinds == {bool}):
            for point in having:
                point[key] = str(point[key])
    return points


def _experiment(points: list[dict]) -> bytes:
    """The record that names the columns of the HParams tab. TensorBoard takes any one, so all runs carry the same."""
    from tensorboard.plugins.hparams import api_pb2, metadata

    columns = []
    for key in dict.fromkeys(key for point in points for key in point):
        values = sorted({point[key] for point in points if key in point})
        column = api_pb2.HParamInfo(name=key, differs=len(values) > 1)
        if isinstance(values[0], (str, bool)):
            column.type = api_pb2.DATA_TYPE_STRING if isinstance(values[0], str) else api_pb2.DATA_TYPE_BOOL
            column.domain_discrete.extend(values)
        else:
            column.type = api_pb2.DATA_TYPE_FLOAT64
            column.domain_interval.min_value, column.domain_interval.max_value = values[0], values[-1]
        columns.append(column)
    metrics = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=SCALARS[column])) for column in METRICS]
    return _hparams_record(
        metadata.EXPERIMENT_TAG, experiment=api_pb2.Experiment(hparam_infos=columns, metric_infos=metrics)
    )


def _session(name: str, point: dict, seconds: float) -> bytes:
    """The records of a run's hyper-parameters and of its good end; `name` makes it a group of its own."""
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    start = plugin_data_pb2.SessionStartInfo(group_name=name)
    for key, value in point.items():
        kind = {str: "string_value", bool: "bool_value"}.get(type(value), "number_value")
        setattr(start.hparams[key], kind, value)
    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=seconds)
    return _hparams_record(metadata.SESSION_START_INFO_TAG, session_start_info=start) + _hparams_record(
        metadata.SESSION_END_INFO_TAG, session_end_info=end
    )


def _hparams_record(tag: str, **data) -> bytes:
    """A record of the HParams plugin; its own function would leave the order of hyper-parameters to chance."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    content = plugin_data_pb2.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **data)
    plugin = SummaryMetadata.PluginData(
        plugin_name=metadata.PLUGIN_NAME, content=content.SerializeToString(deterministic=True)
    )
    value = Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin), tensor=metadata.NULL_TENSOR)
    return _record(_event(summary=Summary(value=[value])))


def count_scalars(folder: Path) -> Counter:
    """How many scalars of each tag the event files directly in `folder` hold."""
    from tensorboard.compat.proto.event_pb2 import Event

    counts = Counter()
    for path in sorted(Path(folder).glob("events.out.tfevents.*")):
        data, position = path.read_bytes(), 0
        while position < len(data):
            (length,) = struct.unpack_from("<Q", data, position)
            event = Event.FromString(data[position + 12 : position + 12 + length])
            counts.update(value.tag for value in event.summary.value if value.HasField("simple_value"))
            position += length + 16
    return counts
