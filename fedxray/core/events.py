"""TensorBoard event files: the tags of a run's scalars, its settings, and a file that is written while it is trained.

Only the functions that make events import TensorBoard, because the processes of hospitals use `SCALARS`, and hospitals
do not install TensorBoard.
"""

import time
from collections.abc import Mapping
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

    def __init__(self, folder: Path, point: Mapping | None = None):
        """With a `point`, {setting: value}, the run is in the HParams tab from now on, whatever becomes of it."""
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        before = len(list(folder.glob(f"{FILE}*")))
        self.records = RecordWriter((folder / f"{FILE}{f'.{before}' * (before > 0)}").open("xb"))
        self._write(event(wall_time=time.time(), file_version=VERSION))
        if point is not None:
            self._write(session_start(str(folder), point, time.time()))

    def add(self, scalars: dict[str, float], step: int) -> None:
        """Add scalars by tag at `step` (passes over the data seen)."""
        self._write(event(step=step, wall_time=time.time(), summary=summary(scalars)))

    def end(self) -> None:
        """Say that the run of the HParams tab has ended well."""
        self._write(session_end(time.time()))

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


def session_start(name: str, point: Mapping, seconds: float = 0.0):
    """The event that makes a run a group of its own in the HParams tab; values are texts, booleans and numbers."""
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    start = plugin_data_pb2.SessionStartInfo(group_name=name, start_time_secs=seconds)
    for key, value in point.items():
        kind = {str: "string_value", bool: "bool_value"}.get(type(value), "number_value")
        setattr(start.hparams[key], kind, value)
    return hparams_event(metadata.SESSION_START_INFO_TAG, session_start_info=start)


def session_end(seconds: float):
    """The event that says that a run has ended well, so many seconds after 1970 or after its start."""
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=seconds)
    return hparams_event(metadata.SESSION_END_INFO_TAG, session_end_info=end)


def hparams_event(tag: str, **data):
    """An event of the HParams plugin, whose own function would leave the order of hyper-parameters to chance."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    content = plugin_data_pb2.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **data)
    plugin = SummaryMetadata.PluginData(
        plugin_name=metadata.PLUGIN_NAME, content=content.SerializeToString(deterministic=True)
    )
    value = Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin), tensor=metadata.NULL_TENSOR)
    return event(summary=Summary(value=[value]))
