"""What is said of each image of a source: its label, patient, hospital, split and view, by a table or by its folders.

A word that is not declared is never guessed: it stops, with the nearest one that is known, or the file has no label.
"""

import posixpath
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import NamedTuple

from fedxray.core.errors import UserError
from fedxray.core.files import printable
from fedxray.data import source
from fedxray.data.names import SHOWN, official_split
from fedxray.data.reading import DEFAULT, NUMBER, Reading, day_of
from fedxray.data.source import DROPPED, NO_LABEL, UNREADABLE, File, Reader
from fedxray.data.tables import Table, parse_table
from fedxray.data.words import nearest, normalised, word

LABELS = {"normal": "0", "pneumonia": "1"}  # words of every source; the user's are added
NUMBERS = {"0": "0", "1": "1"}  # in a table alone: a folder called so may be a patient's
SPLITS = {"train": "train", "val": "val", "test": "test"}
SYNTHETIC = {"yes": True, "no": False, "": False}
MISSING = f"{UNREADABLE}: listed, but not there"


class Said(NamedTuple):
    """What is said of one file: `label` is 0 or 1, or -1 with `why` it is not taken; the others may be empty."""

    file: str
    why: str = ""
    label: int = -1
    label_from: str = ""
    patient: str = ""
    site: str = ""
    split: str = ""
    view: str = ""
    synthetic: bool = False
    wave: int = 0  # from 1; 0 if nothing says it


def find_table(reader: Reader, files: Sequence[File], reading: Reading) -> Table | None:
    """The table of a source, or None if it has none and its folders say what the images are.

    It is the .csv that the user named, or the one that is called as `reading.table`, anywhere. Raises UserError if a
    known data set lacks its table, if there are several, if columns are declared and there is none, and as
    `parse_table`.
    """
    if reader.root != reader.path:
        found = [reader.path.name]
    else:
        names = [file.name for file in files if file.why not in (source.HIDDEN, source.COPY)]
        found = [name for name in names if fnmatch(PurePosixPath(name).name.lower(), reading.table.lower())]
    if not found and reading.table != DEFAULT.table:
        raise UserError(
            f"{reader.path}: no {reading.table} in it, which says what the images are; get the whole data set"
        )
    if len(found) > 1:
        raise UserError(f"{reader.path}: several tables ({', '.join(found[:8])}); keep one, or give the path of one")
    if not found and reading.columns:
        raise UserError(
            f"{reader.path}: columns are declared (dataset.columns), but no table is called {reading.table}; give the "
            "path of the table in place of the folder, or declare no columns for this source"
        )
    if not found:
        return None
    where = str(reader.path) if reader.root != reader.path else f"{reader.path}: {found[0]}"
    try:
        data = reader.read(found[0])
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror})") from error
    except source.DAMAGED as error:
        raise UserError(f"{where}: damaged in the archive; download it again") from error
    return replace(parse_table(data, where, reading.columns), folder=posixpath.dirname(found[0]))


def by_table(table: Table, files: Sequence[File], reader: Reader, reading: Reading) -> list[Said]:
    """What the table says of each file, in the order of `files`, and then of those that it lists but are not there.

    Without a column split, the folders say it. Raises UserError for a word that is not declared, and for an image that
    two rows describe differently.
    """
    labels = LABELS | NUMBERS | normalised(reading.labels, "dataset.labels")
    splits = SPLITS | normalised(reading.splits, "dataset.splits")
    sites = normalised(reading.sites, "dataset.sites")
    resolve, said = _Paths(files, table, reader, reading), {}
    for index in range(len(table.rows)):
        cells = {role: column[index] for role, column in table.columns.items()}
        if not cells["image"]:
            raise UserError(f"{table.at(index)}: no image; name its file")
        name = resolve(cells["image"])
        why, label = _label(cells["label"], labels, reading.multiple, table, index)
        site = sites.get(word(cells.get("site", "")), cells.get("site", ""))
        split = splits.get(word(cells["split"]), "") if cells.get("split") else ""
        if cells.get("split") and not split:
            raise UserError(
                f"{table.at(index)}: {table.headers['split']} {cells['split']!r} is not known; "
                f"{nearest(cells['split'], splits)}; say what it is: dataset.splits: {{{cells['split']!r}: test}}"
            )
        synthetic = SYNTHETIC.get(word(cells.get("synthetic", "")))
        if synthetic is None:
            raise UserError(f"{table.at(index)}: synthetic {cells['synthetic']!r}; it is yes or no")
        if "split" not in cells:
            split = official_split(name, splits, word)
        if "drop" in (site, split):
            why, label = why or DROPPED, -1
        more = cells.get("patient", ""), "" if site == "drop" else site, "" if split == "drop" else split
        wave = _wave(cells["wave"], reading, table, index) if "wave" in cells and not why else 0
        how = f"column {table.headers['label']}"
        one = Said(name, why, label, how, *more, cells.get("view", "").upper(), synthetic, wave)
        if name in said and said[name] != one:
            raise UserError(
                f"{table.at(index)}: image {cells['image']} is listed twice, with other values; keep one row"
            )
        said[name] = one
    present = {file.name for file in files}
    missing = [one for name, one in said.items() if name not in present]
    near = [resolve.near(one.file) for one in missing[:SHOWN]] + [""] * len(missing[SHOWN:])
    return [_of_file(file, said.get(file.name)) for file in files] + [
        one._replace(file=printable(one.file), why=f"{MISSING}{hint}", label=-1)
        for one, hint in zip(missing, near, strict=True)
    ]


def _of_file(file: File, said: Said | None) -> Said:
    """What is said of a file that is there; one that no row lists has no label."""
    if said is None:
        return Said(file.name, file.why or f"{NO_LABEL}: not in the table")
    if file.why == source.KNOWN:
        return said
    if file.why in (source.HIDDEN, source.COPY, source.DOCUMENT):  # this one is wanted
        return said._replace(why=f"{UNREADABLE}: listed, but {file.why}", label=-1)
    return said._replace(why=file.why, label=-1) if file.why else said


class _Paths:
    """The files that the cells of a table name, however they write a path."""

    def __init__(self, files: Sequence[File], table: Table, reader: Reader, reading: Reading):
        self.suffix, self.anywhere, self.folder = reading.suffix, reading.anywhere, table.folder
        self.roots = tuple(dict.fromkeys((str(reader.root.absolute()), str(reader.root.resolve()))))
        self.files: dict[str, list[str]] = {}
        for file in files:
            self.files.setdefault(self._key(file.name), []).append(file.name)

    def _key(self, name: str) -> str:
        name = unicodedata.normalize("NFC", name)
        return posixpath.basename(name) if self.anywhere else name

    def __call__(self, cell: str) -> str:
        """The name of the file, also of one that is not there; raises UserError for a name that several files have."""
        texts = dict.fromkeys((cell + self.suffix, cell.replace("\\", "/") + self.suffix))
        names = [name for text in texts for name in self._below(text)]
        for name in names:
            found = self.files.get(self._key(name), [])
            if len(found) > 1:
                raise UserError(
                    f"image {cell}: several files are called so ({', '.join(found[:3])}); remove all but one"
                )
            if found:
                return found[0]
        return names[-1]

    def _below(self, path: str) -> list[str]:
        """What a path may be called below the source: one that is not absolute begins at the table."""
        paths = [posixpath.relpath(path, root) for root in self.roots if path.startswith("/")]
        return [posixpath.normpath(name) for name in paths or [posixpath.join(self.folder, path)]]

    def near(self, name: str) -> str:
        """What to say about a name that is not there."""
        if name.startswith("../"):
            return "; it is outside the folder of the table: put the table into a folder above all images"
        stem = _stem(name)
        same = [file for names in self.files.values() for file in names if _stem(file) == stem]
        if same:  # the one whose folders are most alike
            return (
                f"; did you mean {max(same, key=lambda file: len(posixpath.commonprefix((file[::-1], name[::-1]))))}?"
            )
        near = get_close_matches(name, [names[0] for names in list(self.files.values())[:20_000]], 1)
        return f"; did you mean {near[0]}?" if near else "; paths are relative to the table"


def _stem(name: str) -> str:
    """The name of a file without its folder, case and suffix."""
    return posixpath.splitext(posixpath.basename(name).casefold())[0]


def _label(cell: str, labels: Mapping[str, str], multiple: str, table: Table, index: int) -> tuple[str, int]:
    """(why it is not taken, label): 0, 1, or -1 if there is a reason.

    Raises UserError for a word that is not declared.
    """
    if not cell:
        return f"{NO_LABEL}: an empty cell", -1
    if word(cell) in labels:
        value = labels[word(cell)]
    else:
        mark = next((mark for mark in "|;," if mark in cell), "")
        parts = [part for part in (cell.split(mark) if mark else [cell]) if part.strip()] or [cell]
        unknown = next((part.strip() for part in parts if word(part) not in labels), None)
        if unknown is not None:
            uncertain = " (CheXpert's word for uncertain)" if word(unknown) == "-1" else ""
            raise UserError(
                f"{table.at(index)}: label {unknown!r}{uncertain} is not known; {nearest(unknown, labels)}; say what "
                f"it is: dataset.labels: {{{unknown!r}: 0, 1 or drop}} (--labels={unknown!r}=drop)"
            )
        if multiple == "stop" and len(parts) > 1:
            raise UserError(
                f"{table.at(index)}: label {cell!r} has several findings; say what then holds: dataset.multiple: any "
                "or only"
            )
        values = {labels[word(part)] for part in parts}
        value = "1" if multiple == "any" and "1" in values else values.pop() if len(values) == 1 else "drop"
    return (DROPPED, -1) if value == "drop" else ("", int(value))


def _wave(cell: str, reading: Reading, table: Table, index: int) -> int:
    """The wave of an image: the number in its cell, or where `reading.waves` has days, by its day.

    Raises UserError for a cell that is neither.
    """
    where = f"{table.at(index)}: {table.headers['wave']} {cell!r}"
    if reading.waves:
        day = day_of(cell)
        if day is None:
            raise UserError(f"{where} is no day, by which dataset.waves tells the wave; write it as 2024-03-31")
        return 1 + sum(first <= day for text in reading.waves if (first := day_of(text)))
    if not NUMBER.fullmatch(word(cell)):
        raise UserError(
            f"{where} is no wave; it is a whole number from 1, or a day if dataset.waves has the first day of each "
            "further wave"
        )
    return int(word(cell))


def by_folders(files: Sequence[File], reading: Reading) -> list[Said]:
    """What its folders say of each file: the class folder its label, a folder train, val or test its split.

    What lies anywhere in a folder of a word that is to be dropped is left out. Of the others, a class folder is one of
    a declared name, and so are the folders beside it, of whatever names: their files have no label, nor have those of a
    folder above it. Files in folders inside a class folder have its label if `reading.subfolders` is `take`. Of class
    folders inside one another the innermost counts, if the outer one may be the name of the whole data set, as there is
    none of another class beside it; else their files have no label.
    """
    labels = LABELS | normalised(reading.labels, "dataset.labels")
    splits = SPLITS | normalised(reading.splits, "dataset.splits")
    folders = {file.name.rpartition("/")[0] for file in files if not file.why}
    beside: dict[tuple, set[str]] = {}  # the labels of the class folders in each folder that has some
    for folder in folders:
        parts = folder.split("/") if folder else []
        for depth, part in enumerate(parts):
            if labels.get(word(part), "drop") != "drop":
                beside.setdefault(tuple(parts[:depth]), set()).add(labels[word(part)])
    of_folder = {folder: _of_folder(folder, labels, beside, reading.subfolders) for folder in folders}
    said = []
    for file in files:
        if file.why:
            said.append(Said(file.name, file.why))
            continue
        why, label, name = of_folder[file.name.rpartition("/")[0]]
        split = official_split(file.name, splits, word)
        if split == "drop":
            why, label, split = DROPPED, -1, ""
        said.append(Said(file.name, why, label, f"folder {name}", split=split, site=reading.site))
    return said


def _of_folder(
    folder: str, labels: Mapping[str, str], beside: Mapping[tuple, set[str]], subfolders: str
) -> tuple[str, int, str]:
    """(why its files are not taken, their label, the name of the class folder)."""
    parts = folder.split("/") if folder else []
    depths = [depth for depth in range(len(parts) + 1) if tuple(parts[:depth]) in beside]
    if dropped := [part for part in parts if labels.get(word(part)) == "drop"]:
        return DROPPED, -1, dropped[0]
    if len(parts) in depths and any(len(beside[tuple(parts[:depth])]) > 1 for depth in depths[:-1]):
        depths.pop()  # directly in a class folder, which has another one inside
    if not depths or depths[-1] == len(parts):
        return f"{NO_LABEL}: in no class folder", -1, ""
    depth = depths[-1]
    name = parts[depth]
    value = labels.get(word(name))
    if value is None:
        return f"{NO_LABEL}: folder {name} ({nearest(name, labels)})", -1, ""
    for outer in depths[:-1]:
        if labels.get(word(parts[outer]), value) != value and len(beside[tuple(parts[:outer])]) > 1:
            return f"{NO_LABEL}: folder {name} inside {parts[outer]}, and each may be the class; rename one", -1, ""
    if depth + 1 < len(parts) and subfolders == "stop":
        return f"{NO_LABEL}: folder {'/'.join(parts[depth + 1 :])} inside class folder {name}", -1, ""
    return "", int(value), name
