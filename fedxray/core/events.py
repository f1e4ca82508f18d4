"""TensorBoard event files, written without torch or TensorFlow: protocol buffers in TFRecord framing.

TensorBoard is imported only where it is used: a hospital's process takes `SCALARS` from here and installs none.
"""

import struct
import time
from functools import cache
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
