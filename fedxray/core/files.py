"""Reading and writing files. Every file is written under a temporary name and then renamed, so none is half written."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd

from fedxray.core.errors import UserError

# Columns that are text, however much their cells look like numbers: patient 007 is not patient 7.
TEXT = (
    *("image", "file", "patient", "patient_from", "acquisition", "official_split", "view", "label_from", "why"),
    *("site", "set", "test_set", "cohort", "mode", "against", "path", "aetiology", "sha256", "sha256_pixels"),
)


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path` in one step, on error it is removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


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


def read_json(path: str | Path) -> dict:
    """Read a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a CSV with a header, no index; floats are written so that reading gives the same bits."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def read_table(path: str | Path, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a CSV written by `write_table`.

    An empty cell becomes NaN in a column of numbers, and "" in a column of text or of empty cells alone. The columns of
    `TEXT` are text. Raises UserError if one of `columns` is missing.
    """
    table = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(TEXT, str))
    for name in table:
        if table[name].isna().all():
            table[name] = ""
        elif not pd.api.types.is_numeric_dtype(table[name]):
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
