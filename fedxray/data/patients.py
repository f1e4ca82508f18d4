"""Whose images a source's are: by a column, by names, or by the PatientID of DICOMs, which is hashed.

What is not known stops, unless the user has said that each image is of another patient.
"""

import hmac
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd

from fedxray.core.errors import UserError
from fedxray.data.labelling import Said
from fedxray.data.labels import CLASSES
from fedxray.data.names import BY_IMAGE, HASHED, Person, hint, known_pattern, people, shown
from fedxray.data.reading import Reading, way
from fedxray.data.tables import SUSPECTS, WRITTEN_BY_EXCEL, Table, plain_name
from fedxray.data.words import word

# Words that stand in a patient's place where none is known.
NO_PATIENT = (
    *("", "-", "?", "nan", "none", "null", "na", "n/a", "#n/a", "unknown"),
    *("anonymous", "anonymized", "anonymised", "anon"),
)


def persons_of(
    path: Path, said: Sequence[Said], facts: Sequence[dict], table: Table | None, reading: Reading, salt: Path
) -> tuple[list[Person], list[str]]:
    """(the person of each image that is taken, where that comes from).

    `facts` are those of these images, or empty if no header can say it. Raises UserError for images of which it is not
    known.
    """
    taken = [one for one in said if not one.why]
    names, cells, key = [one.file for one in taken], [one.patient for one in taken], "dataset.patient"
    column = table.headers.get("patient") if table else None
    pattern = reading.patient if reading.patient != "image" else ""
    if column and ("patient" in reading.columns or not pattern):
        known = [Person(cell, "") if word(cell) not in NO_PATIENT else None for cell in cells]
        origin = f"column {column}"
        _stop_for_twins(f"{path}: {origin}", cells)
    elif pattern:
        persons = people(names, pattern, key)
        _stop_for_twins(f"{path}: {key}", [person.patient for person in persons])
        return persons, [f"names as of {pattern}"] * len(names)
    elif any(row["patient"] for row in facts):
        _stop_for_twin_headers(path, [(row["patient"] or "", name) for row, name in zip(facts, names, strict=True)])
        secret = secret_of(salt)
        known = [
            Person(_hashed(row["patient"], secret), "") if word(row["patient"] or "") not in NO_PATIENT else None
            for row in facts
        ]
        origin = HASHED
    else:
        suspects = (
            [name for name in table.unused if any(part in plain_name(name) for part in SUSPECTS)] if table else []
        )
        if table and suspects and reading.patient != "image":
            raise UserError(
                f"{table.name}: no column patient, but {', '.join(suspects)}: if that is it, say so: dataset.columns: "
                f"{{patient: {suspects[0]}}} (--columns patient={suspects[0]!r})"
            )
        pattern = "" if reading.patient == "image" else known_pattern(names)
        if pattern:
            return people(names, pattern, key), [f"names as of {pattern}"] * len(names)
        known, origin = [None] * len(names), ""
    unknown = [name for name, person in zip(names, known, strict=True) if person is None]
    if unknown and reading.patient != "image":
        of = "" if len(unknown) == len(names) else f" of {len(unknown)} images"
        raise UserError(
            f"{path}: the patient{of} is not known, such as of {shown(unknown)}{hint(names) if not of else ''}; give a "
            f"table with a column patient, or a regular expression whose group is the patient, by {key}; if each image "
            f"is another patient: {way('patient', 'image')}"
        )
    return (
        [person or Person(name, "") for name, person in zip(names, known, strict=True)],
        [origin if person else BY_IMAGE for person in known],
    )


def _stop_for_twins(where: str, cells: Sequence[str]) -> None:
    """Raise UserError for patients whose digits a program has lost, or who may be written in two ways."""
    keys = sorted(set(cells))
    if spoilt := [key for key in keys if WRITTEN_BY_EXCEL.fullmatch(key)]:
        raise UserError(
            f"{where}: {spoilt[0]} is a number that Excel has shortened, and may be several patients; format the "
            "column as text, and export it again"
        )
    seen: dict[str, str] = {}
    for key in keys:
        if seen.setdefault(word(key), key) != key:
            raise UserError(f"{where}: {seen[word(key)]} and {key} may be one patient; write it in one way")


def stop_for_unlike(where: str, before: pd.DataFrame, new: pd.DataFrame) -> None:
    """Raise UserError if who comes again in `new` would not be known, of two catalogues of the same people.

    That is so if patients are told in another way there, or if one may be written in two ways.
    """
    ways = [
        {word.split()[0] if word.startswith("column") else word for word in table["patient_from"]} - {BY_IMAGE}
        for table in (before, new)
    ]
    if others := sorted(ways[1] - ways[0]):
        was = ", ".join(sorted(ways[0])) or BY_IMAGE
        raise UserError(
            f"{where}: patients are told by {others[0]}, and before by {was}; tell them in the same way, or none who "
            "comes again would be known"
        )
    _stop_for_twins(
        where, [key for table in (before, new) for key in table["patient"][table["patient_from"] != BY_IMAGE]]
    )


def _stop_for_twin_headers(path: Path, patients: Sequence[tuple[str, str]]) -> None:
    """The same of DICOMs, each (PatientID, file), whose headers go into no message."""
    seen: dict[str, tuple[str, str]] = {}
    for patient, name in patients:
        first = seen.setdefault(word(patient), (patient, name))
        if first[0] != patient:
            raise UserError(
                f"{path}: {first[1]} and {name}: their PatientIDs differ in case or spaces alone, and may be of one "
                "patient; write them in one way, or give a table with a column patient"
            )


def secret_of(salt: Path) -> bytes:
    """The secret in the file `salt`, which its owner alone can read; it is drawn if the file is not there.

    The catalogues of several sources may be made at once: the first that has drawn it counts. Raises UserError if the
    file is cut short.
    """
    if not salt.exists():
        salt.parent.mkdir(parents=True, exist_ok=True)
        drawn = salt.with_name(f".{salt.name}.{secrets.token_hex(4)}.tmp")
        with open(os.open(drawn, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32) + "\n")
        with suppress(FileExistsError):
            os.link(drawn, salt)
        drawn.unlink()
    secret = salt.read_bytes()
    if len(secret.strip()) < 32:
        raise UserError(f"{salt}: not a secret of fedxray, or cut short; delete it, and another is drawn")
    return secret


def _hashed(patient: str, secret: bytes) -> str:
    """A patient's key that tells nobody without the secret who it is: HMAC-SHA-256 (RFC 2104), 64 bits as hex."""
    return hmac.new(secret, patient.encode(), "sha256").hexdigest()[:16]


def aetiologies_of(path: Path, images: pd.DataFrame, persons: Sequence[Person]) -> list[str]:
    """The aetiology of each image. Raises UserError if a name says another class than the label."""
    aetiologies = []
    for name, label, person in zip(images["file"], images["label"], persons, strict=True):
        if person.aetiology and (person.aetiology == "none") == bool(label):
            said = "normal" if person.aetiology == "none" else f"pneumonia ({person.aetiology})"
            raise UserError(
                f"{path}: {name}: its name says {said}, but its label is {CLASSES[label]}; correct one of them, or say "
                "whose images these are by dataset.patient, if they are not of that data set"
            )
        aetiologies.append((person.aetiology or "unknown") if label else "none")
    return aetiologies
