"""How the files of a source are read: which is which patient, label and hospital, and what may be left out.

The configuration's section `dataset` gives these values, above those of the data set's own file, and scripts take them
as options. It imports no library, because the workflow loads it each time that it plans.
"""

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from types import MappingProxyType
from typing import Any

from fedxray.core.errors import UserError
from fedxray.data.words import clean, joined

FITS = ("stretch", "pad")  # how an image becomes a square
STOP_OR_DROP = ("stop", "drop")
NUMBER = re.compile(r"[1-9]\d{0,3}")  # of a wave
DAY = re.compile(r"\d{4}-\d{2}-\d{2}|\d{8}")
ROLES = ("image", "label", "patient", "site", "split", "view", "synthetic", "wave")  # what a column of a table may be

HELP = {  # of the options
    "patient": "whose image it is: image, a known naming such as nih, or a regular expression with a group",
    "columns": "names of the table's columns, such as image=File patient=MRN",
    "labels": "words of labels or class folders: each 0, 1 or drop",
    "multiple": "a label of several findings",
    "sites": "words of the column site: each a hospital or drop",
    "splits": "words of the column split: each train, val, test or drop",
    "site": "the hospital of all images",
    "unlabelled": "files without a label",
    "bad_images": "images that cannot be read",
    "subfolders": "folders inside a class folder",
    "waves": "first days of wave 2, 3, ..., if the column wave has days",
    "wave": "the wave of all images",
    "views": "views to take; an empty word is for one that is not stated",
    "burned_in": "DICOM with annotations in its pixels",
    "greys": "lowest and highest grey of images of more than 8 bits",
    "table": "pattern of the name of the table",
    "suffix": "what the table's image names lack, such as .dcm",
    "anywhere": "the table names files without their folders",
    "known": "patterns of further files that are no labelled images",
}


def _mapping() -> Any:
    return field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Reading:
    """How one source is read. config.yaml says what each value is; the last four are of a known data set's layout."""

    patient: str = ""  # empty, image, a name of fedxray.data.names.PATTERNS, or a regular expression with a group
    columns: Mapping[str, str] = _mapping()  # {role: name of the table's column}
    labels: Mapping[str, str] = _mapping()  # {word: 0, 1 or drop}, above labelling.LABELS
    multiple: str = "stop"  # a cell of several findings: stop | any | only
    sites: Mapping[str, str] = _mapping()  # {word of the column site: hospital or drop}
    splits: Mapping[str, str] = _mapping()  # {word of the column or folder: train, val, test or drop}
    site: str = ""  # the hospital of all images
    waves: tuple[str, ...] = ()  # the first day of wave 2, 3, ...; the column wave then has days, else whole numbers
    wave: str = ""  # the wave of all images
    unlabelled: str = "stop"
    bad_images: str = "stop"
    subfolders: str = "stop"  # below a class folder: stop | take
    views: tuple[str, ...] = ("PA", "AP")
    burned_in: str = "stop"  # stop | drop | take
    greys: tuple[float, ...] = ()  # lowest and highest value of images of more than 8 bits; empty: as found
    table: str = "manifest.csv"  # pattern of the name of the table
    suffix: str = ""  # that the table's image names lack
    anywhere: bool = False  # the table names files without their folders
    known: tuple[str, ...] = ()  # patterns of further files of the data set that are no labelled images

    def options(self) -> list[str]:
        """These values as options and values on a command line, for `add_options`, without those at their default."""
        words = []
        for item in fields(self):
            value = vars(self)[item.name]
            if value != vars(DEFAULT)[item.name]:
                option = f"--{item.name.replace('_', '-')}"
                if isinstance(value, Mapping):
                    words += [f"{option}={key}={target}" for key, target in value.items()]
                elif item.name == "greys":
                    words += [option, *map(str, value)]
                elif isinstance(value, tuple):
                    words += [f"{option}={part}" for part in value]
                else:
                    words.append(option if value is True else f"{option}={value}")
        return words


DEFAULT = Reading()


def reading_of(values: Mapping[str, Any], where: str) -> Reading:
    """The reading from values as YAML gives them; raises UserError, which names the key below `where`.

    Keys that `Reading` does not have are ignored, and empty values are its defaults.
    """
    kept: dict[str, Any] = {}
    for item in fields(Reading):
        value: Any = values.get(item.name)
        default = vars(DEFAULT)[item.name]
        if value in (None, "", [], {}, ()):
            continue
        if isinstance(default, Mapping):
            key = f"{where}.{item.name}"
            given = {_text(text, key): _text(to, f"{key}.{text}") for text, to in value.items()}
            value = joined(default, {clean(text): clean(to) for text, to in given.items()})
        elif item.name == "views":
            value = tuple(clean(view).upper() for view in value)
        elif item.name == "waves":
            value = tuple(clean(_text(day, f"{where}.waves")) for day in value)
        elif isinstance(default, tuple):
            value = tuple(value)
        elif item.name == "wave":
            value = str(value)
        kept[item.name] = value
    return checked(Reading(**kept), where)


def _text(value: object, key: str) -> str:
    if isinstance(value, bool) or value is None:
        raise UserError(
            f"{key}: YAML reads an unquoted yes, no, on, off, true, false and null as no word; put it in quotes"
        )
    return str(value)


def checked(reading: Reading, where: str) -> Reading:
    """The same reading; raises UserError, which names the key below `where`, for a value that no reading can have."""
    for key, allowed in (("columns", ROLES),):
        for word in getattr(reading, key):
            if word not in allowed:
                raise UserError(f"{where}.{key}: {word} is not known; a column is one of {', '.join(allowed)}")
    for word, label in reading.labels.items():
        if label not in ("0", "1", "drop"):
            raise UserError(f"{where}.labels: {word}: {label}; it is 0 (normal), 1 (pneumonia) or drop")
    for word, split in reading.splits.items():
        if split not in ("train", "val", "test", "drop"):
            raise UserError(f"{where}.splits: {word}: {split}; it is train, val, test or drop")
    if reading.greys and not (len(reading.greys) == 2 and reading.greys[0] < reading.greys[1]):
        raise UserError(f"{where}.greys: give two numbers, the lowest grey and the highest, such as [0, 4095]")
    if reading.wave and not NUMBER.fullmatch(reading.wave):
        raise UserError(f"{where}.wave: {reading.wave} is no wave; give a whole number from 1")
    days = [day for text in reading.waves if (day := day_of(text))]
    if len(days) < len(reading.waves):
        wrong = next(text for text in reading.waves if not day_of(text))
        raise UserError(f"{where}.waves: {wrong!r} is no day; write it as 2024-03-31")
    if days != sorted(set(days)):
        raise UserError(f"{where}.waves: give the first day of each further wave, an earlier one before a later one")
    return reading


def day_of(text: str) -> date | None:
    """The day that a text is, as 2024-03-31 or as DICOM writes it, 20240331; None if it is none."""
    if not DAY.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def way(key: str, value: str) -> str:
    """How to say a word of the section `dataset`: in the configuration, and on a command line."""
    return f"dataset.{key}: {value} (--{key.replace('_', '-')} {value})"


def add_options(parser: ArgumentParser) -> None:
    """Let a script or command take a reading on its command line, as `Reading.options` writes it."""
    group = parser.add_argument_group("how the images are read", "as in the section dataset of config.yaml")
    choices = {
        "multiple": ("stop", "any", "only"),
        "subfolders": ("stop", "take"),
        "burned_in": ("stop", "drop", "take"),
    }
    choices |= {"unlabelled": STOP_OR_DROP, "bad_images": STOP_OR_DROP}
    for item in fields(Reading):
        option, default = f"--{item.name.replace('_', '-')}", vars(DEFAULT)[item.name]
        words = {"help": HELP[item.name]}
        if isinstance(default, bool):
            group.add_argument(option, action="store_true", **words)
        elif isinstance(default, Mapping):
            group.add_argument(option, nargs="+", action="extend", metavar="WORD=VALUE", default=None, **words)
        elif item.name == "greys":
            group.add_argument(option, nargs=2, type=float, metavar=("LOW", "HIGH"), default=None, **words)
        elif isinstance(default, tuple):
            group.add_argument(option, nargs="+", action="extend", default=None, **words)
        else:
            group.add_argument(option, choices=choices.get(item.name), default=None, **words)


def from_options(options: Namespace, default: Mapping[str, Any] | None = None) -> Reading:
    """The reading from the options of `add_options`; what is not given is as in `default`, the values of a data set.

    Raises UserError for an option that no reading can have.
    """
    given = {item.name: vars(options)[item.name] for item in fields(Reading)}
    for name, value in given.items():
        if isinstance(vars(DEFAULT)[name], Mapping) and value is not None:
            if wrong := [word for word in value if "=" not in word]:
                raise UserError(f"--{name}: {wrong[0]}: write it as WORD=VALUE")
            # A column may have "=" in its name, and so may a word of the others.
            cut = str.partition if name == "columns" else str.rpartition
            given[name] = {key: target for key, _, target in (cut(word, "=") for word in value)}
    return reading_of(over(default or {}, given), "--reading")


def over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `below`, replaced by those of `above` that are not empty; mappings are joined."""
    values = dict(below)
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(values.get(key), Mapping):
            values[key] = joined(values[key], value)
        elif value not in (None, "", [], {}, (), False):
            values[key] = value
    return values
