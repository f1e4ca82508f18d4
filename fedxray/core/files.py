"""Reading and writing files. Every file is written under a temporary name and then renamed, so none is half written."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd

from fedxray.core.errors import UserError, disk_error

LEAST = 1 << 20  # bytes on a disk below which it is full: nothing that is worth a run fits there

# Columns that are text, however much their cells look like numbers (patient 007 is not patient 7), and if they are all
# empty: each of text in docs/architecture.md. Other columns have numbers, or the values of a sweep's axis.
TEXT = (
    *("image", "file", "patient", "patient_from", "acquisition", "official_split", "view", "label_from", "why"),
    *("site", "hospital", "set", "test_set", "cohort", "mode", "method", "against", "path", "aetiology"),
    *("taken", "series", "split", "question", "against_method", "strategy", "metric", "what", "attack", "target"),
    *("statistic", "noninferior", "verdict", "holds", "sentence", "note", "fit", "trouble", "waves", "earlier"),
    *("fedxray", "sha256", "sha256_pixels", "source_sha256", "sha256_images", "sha256_table"),
    *("candidate_sha256", "predecessor_sha256", "rules_sha256"),
)


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path` in one step, on error it is removed.

    A link stays, and the file that it leads to is written. What is no file, such as a pipe, a terminal or another
    device, stays as well: what was written to the temporary path is copied into it at the end. Raises OSError with the
    name of `path` if the disk is full or `path` cannot be written.
    """
    path = Path(path)
    if (stream := _stream(path)) is not None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / "made"
            _copy(Path(folder) / "made", path, stream)
        return
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name[-100:]}.{os.getpid()}.tmp")  # shorter than the longest name
    try:
        with naming(path, temporary):
            yield temporary
            os.replace(temporary, target)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def naming(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Let an error of the disk that names no file, or `temporary`, name `path`: it becomes such an OSError."""
    try:
        yield
    except Exception as error:
        fault = disk_error(error)
        if fault and fault.errno and fault.filename in (None, temporary, str(temporary)):
            raise OSError(fault.errno, fault.strerror, str(path)) from error
        raise


def is_output(path: Path) -> bool:
    """Whether `path` is this process's standard output, such as /dev/stdout, a link to it, or the file it goes to."""
    return _stream(path) == 1


def _stream(path: Path) -> int | None:
    """The number of our standard output or error if `path` is that, -1 for another device or pipe, None for a file.

    Raises OSError for a link that leads back to itself.
    """
    try:
        there = path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # a file to make; or it is told when it is written
        return None
    for number in (1, 2):
        with suppress(OSError):  # closed
            if os.path.samestat(there, os.fstat(number)):
                return number
    return None if stat.S_ISREG(there.st_mode) or stat.S_ISDIR(there.st_mode) else -1


def _copy(made: Path, path: Path, stream: int) -> None:
    """Copy the file `made` into the stream of this number, or if that is -1 into `path`, a device or pipe."""
    for text in (sys.stdout, sys.stderr):
        text.flush()
    with made.open("rb") as source, open(path if stream < 0 else os.dup(stream), "wb") as output:
        shutil.copyfileobj(source, output)


def preallocated(path: Path, shape: tuple[int, ...]) -> None:
    """Write the .npy of a uint8 array of zeros, all of whose space on the disk is taken.

    A file with holes would be filled through a memory map, and a full disk then kills the process that writes there
    (SIGBUS). Raises OSError if there is no space.
    """
    np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    with path.open("r+b") as file:
        size = path.stat().st_size
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, max(1, size))
            return
        start = size - int(np.prod(shape))
        file.seek(start)
        for first in range(start, size, 1 << 20):
            file.write(bytes(min(1 << 20, size - first)))


def full(folder: Path) -> str:
    """The name of whichever of TMPDIR and `folder` has less than `LEAST` bytes left on its disk; empty if neither."""
    try:
        temporary = tempfile.gettempdir()
    except FileNotFoundError:  # it tries to write in several folders, and could in none
        return f"{os.environ.get('TMPDIR', '/tmp')} (TMPDIR)"
    places = {f"{temporary} (TMPDIR)": temporary, str(folder): folder}
    return next((name for name, place in places.items() if shutil.disk_usage(place).free < LEAST), "")


def printable(path: str | Path) -> str:
    r"""A path as text of one line that can be printed and stored: line breaks and what is not UTF-8 become \xe9."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return re.sub(
        r"[\x00-\x08\n-\x1f\x7f-\x9f\u2028\u2029]", lambda found: found[0].encode("unicode_escape").decode(), text
    )


@contextmanager
def private_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder that its owner alone can read (0700), and remove it on every way out."""
    path = Path(path)
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700, parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` (UTF-8) to `path`."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: object) -> None:
    """Write `value` as indented JSON, keys in the order given."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes, which hold it too, from the files of `folder`; wait for who has it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_json(path: str | Path) -> dict:
    """Read a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a CSV with a header, no index; floats are written so that reading gives the same bits."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def read_table(path: str | Path, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a CSV written by `write_table`.

    An empty cell becomes "" in a column of text, such as those of `TEXT`, and NaN in one of numbers. A column of empty
    cells alone that is not in `TEXT` is one of numbers. Raises UserError if one of `columns` is missing.
    """
    table = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(TEXT, str))
    for name in table:
        if not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = table[name].fillna("")
    missing = [name for name in columns if name not in table]
    if missing:
        raise UserError(f"{path}: no column {', '.join(missing)}; it has {', '.join(table)}")
    return table


def write_array(path: str | Path, array: np.ndarray) -> None:
    """Write one array as .npy."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
