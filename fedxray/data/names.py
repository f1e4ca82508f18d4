"""What the name of a file says: the patient, where a known data set's naming tells it, and the official split.

A pattern is applied only where all names of a source fit it. The patterns were read from the data sets' own pages and
tables; PadChest's names are known too, but tell no patient.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fedxray.core.errors import UserError

END = r"\.[^/.]+$"  # the suffix
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# {name: pattern}; its groups, joined by "-", are the patient.
PATTERNS = {
    # person23_virus_14.jpeg, IM-0115-0001.jpeg, NORMAL2-IM-0115-0001-0002.jpeg; person 23 with bacteria and person 23
    # with a virus are two patients. At Mendeley the same images are called BACTERIA-1135262-0001.jpeg.
    "kermany": rf"(?:^|/)(?:(?P<person>person\d+)_(?P<aetiology>bacteria|virus)_\d|(?P<normal>(?:NORMAL2-)?IM-\d+)-\d"
    rf"|(?P<number>(?:BACTERIA|VIRUS|NORMAL)-\d+)-\d)[\d_-]*{END}",
    # 00000013_005.png. The last patient is 00030805: 20230115_001.png is a date.
    "nih": rf"(?:^|/)(?P<patient>000[0-3]\d{{4}})_\d{{3}}{END}",
    "chexpert": rf"(?:^|/)(?P<patient>patient\d+)/study\d+/view\d+(?:_[a-z]+)?{END}",
    "mimic": r"(?:^|/)(?P<patient>p\d{8})/s\d{8}/[^/]+$",
    "rsna": rf"(?:^|/)(?P<image>{UUID}){END}",
    "vindr": rf"(?:^|/)(?P<image>[0-9a-f]{{32}}){END}",
}
OF_IMAGES = ("rsna", "vindr")  # their names tell images apart, and nothing tells patients apart
PADCHEST = rf"(?:^|/)\d{{20,}}_[0-9a-z_-]+{END}"
OF_MIMIC = r"(?:^|/)(p\d{8})/"  # without the folders of studies
AETIOLOGIES = {"bacteria": "bacteria", "virus": "virus", "BACTERIA": "bacteria", "VIRUS": "virus"}
HASHED = "DICOM PatientID, hashed"  # where patients come from, as is BY_IMAGE
BY_IMAGE = "nothing known: each image counts as one"
SHOWN = 3  # names in an error


class Person(NamedTuple):
    """What a name says: the patient's key, and the aetiology, `none` of a normal image, or empty if it does not say."""

    patient: str
    aetiology: str


def people(names: Sequence[str], pattern: str, key: str) -> list[Person]:
    """The person of each name by `pattern`, a name of `PATTERNS` or a regular expression with a group.

    Raises UserError, which names the option `key`, if a name does not fit or the expression is none.
    """
    found = _match(names, _compiled(pattern, key))
    unfit = [name for name, person in zip(names, found, strict=True) if person is None]
    if unfit:
        raise UserError(
            f"{key}: {len(unfit)} of {len(names)} names do not fit {pattern!r}, such as {shown(unfit)}; give a regular "
            "expression that fits all, or a table with a column patient"
        )
    return [person for person in found if person is not None]


def known_pattern(names: Sequence[str]) -> str:
    """The data set whose pattern all names fit and which tells patients apart; "" if there is none."""
    for pattern, text in PATTERNS.items():
        if pattern not in OF_IMAGES and None not in _match(names, re.compile(text), 1):
            return pattern
    return ""


def hint(names: Sequence[str]) -> str:
    """What to say about names of which no patient is known: a known naming that does not tell it, or nearly fits."""
    if all(re.search(PADCHEST, name) for name in names):
        return "; these are PadChest's names, which do not tell it: give its table, with the column PatientID"
    if all(re.search(OF_MIMIC, name) for name in names):
        return f"; they lie in folders of patients as of mimic, which {OF_MIMIC!r} takes"
    for pattern in OF_IMAGES:
        if None not in _match(names, re.compile(PATTERNS[pattern]), 1):
            return f"; these are names as of {pattern}, which tell images: patient: {pattern} takes each as a patient"
    for pattern, text in PATTERNS.items():
        found = _match(names, re.compile(text))
        if 2 * found.count(None) < len(names):
            unfit = [name for name, person in zip(names, found, strict=True) if person is None]
            return f"; {len(names) - len(unfit)} names are as of {pattern}, but not {shown(unfit)}"
    return ""


def shown(names: Sequence[str]) -> str:
    """The first of these names, for an error."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def official_split(name: str, splits: dict[str, str], normalise) -> str:
    """The split of the outermost folder that `splits`, {normalised word: split}, has; "" if none is there."""
    folders = [normalise(part) for part in name.split("/")[:-1]]
    return next((splits[folder] for folder in folders if folder in splits), "")


def _compiled(pattern: str, key: str) -> re.Pattern:
    try:
        compiled = re.compile(PATTERNS.get(pattern, pattern))
    except re.error as error:
        raise UserError(f"{key}: {pattern!r} is no regular expression ({error})") from error
    if not compiled.groups:
        raise UserError(
            f"{key}: {pattern!r} is neither image nor a known naming ({', '.join(PATTERNS)}), and as a regular "
            "expression "
            r"it has no group; put the patient's part in parentheses, such as ^ward/(\d+)-"
        )
    return compiled


def _match(names: Iterable[str], pattern: re.Pattern, limit: int = 0) -> list[Person | None]:
    """The person of each name, None where the pattern does not fit; stops after `limit` such names, if it is not 0."""
    found: list[Person | None] = []
    for name in names:
        match = pattern.search(name)
        key = "-".join(filter(None, match.groups())).strip() if match else ""
        if not match or not key:
            found.append(None)
            if limit and found.count(None) >= limit:
                break
            continue
        groups = match.groupdict()
        word = groups.get("aetiology") or (groups.get("number") or "").partition("-")[0]
        healthy = groups.get("normal") or word == "NORMAL"
        found.append(Person(key, "none" if healthy else AETIOLOGIES.get(word, "")))
    return found
