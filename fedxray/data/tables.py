"""A table of images as people save it: found, decoded and checked to the last row; cells stay text."""

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass

from fedxray.core.errors import UserError
from fedxray.data.reading import ROLES
from fedxray.data.words import clean

# Names of columns that are taken for a role without a word in the configuration, normalised by `plain_name`.
NAMES = {role: role for role in ROLES} | {"patientid": "patient"}
SUSPECTS = ("patient", "subject", "person", "mrn", "medicalrecord")  # a column of such a name may be the patient
SEPARATORS = ",;\t"
WRITTEN_BY_EXCEL = re.compile(r"\d(?:[.,]\d+)?E\+\d+", re.IGNORECASE)  # 1.23E+15: the digits are lost


@dataclass(frozen=True)
class Table:
    """A table's columns by role, each a list of cells in the order of its rows, with spaces at their ends removed."""

    name: str  # for errors
    columns: dict[str, list[str]]
    rows: list[int]  # the number of each row in the file, from 1
    headers: dict[str, str]  # {role: name of its column in the file}
    unused: list[str]  # names of the other columns
    folder: str = ""  # that the table lies in, below the source

    def at(self, index: int) -> str:
        """Where a row is, for an error."""
        return f"{self.name}: row {self.rows[index]}"


def plain_name(column: str) -> str:
    """The name of a column without case, spaces, "_" and "-"."""
    return re.sub(r"[\s_-]", "", clean(column)).casefold()


def parse_table(data: bytes, name: str, declared: Mapping[str, str]) -> Table:
    """The table in the bytes of a .csv; `declared` is {role: name of its column}, above the names of `NAMES`.

    It is UTF-8, or UTF-16 with its mark, with commas, semicolons or tabs. Raises UserError, which names the row, for
    another encoding, a stray quote, a row of another length, a cell of several lines in a column that is used, a column
    that is missing or is there twice, and no rows.
    """
    text = _decode(data, name)
    table = _rows(text, name, max(SEPARATORS, key=lambda separator: _width(text, separator)))
    if not table:
        raise UserError(f"{name}: empty; it needs a row of names of columns, and a row for each image")
    (first, names), *rows = table
    names = [" ".join(clean(column).split()) for column in names]
    for number, row in rows:
        if len(row) != len(names):
            raise UserError(
                f"{name}: row {number} has {len(row)} cells and row {first} {len(names)}; correct it (a comma inside a "
                "cell needs quotes around the cell)"
            )
    if not rows:
        raise UserError(f"{name}: no rows below the names of columns; it needs one for each image")
    headers = _headers(names, name, declared)
    for index, column in enumerate(names):
        if not column and any(clean(row[index]) for _, row in rows):
            raise UserError(f"{name}: column {index + 1} has cells and no name; name or remove it")
    places = {role: names.index(column) for role, column in headers.items()}
    for role, place in places.items():
        if broken := [number for number, row in rows if len(row[place].strip().splitlines()) > 1]:
            raise UserError(
                f"{name}: row {broken[0]}: column {headers[role]} has a line's end inside a cell; look for a stray "
                "quote"
            )
    columns = {role: [clean(row[place]) for _, row in rows] for role, place in places.items()}
    unused = [column for column in names if column and column not in headers.values()]
    return Table(name, columns, [number for number, _ in rows], headers, unused)


def _decode(data: bytes, name: str) -> str:
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        row = len(data[: error.start + 1].splitlines())
        raise UserError(f"{name}: row {row} is not UTF-8; save it as UTF-8 (in Excel: CSV UTF-8)") from error
    if "\0" in text:
        raise UserError(f"{name}: no text (it has zero bytes); save it as UTF-8 (in Excel: CSV UTF-8)")
    return text


def _width(text: str, separator: str) -> int:
    """The number of names of columns, if that is the separator; 0 if it stands inside the quotes of another."""
    try:
        names = next(filter(any, csv.reader(io.StringIO(text, newline=""), delimiter=separator)), [])
    except csv.Error:
        return 0
    return 0 if any('"' in name for name in names) else len(names)


def _rows(text: str, name: str, separator: str) -> list[tuple[int, list[str]]]:
    """(number, cells) of each row that is not empty."""
    reader, rows, number = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True), [], 0
    while True:
        number = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return rows
        except csv.Error as error:
            raise UserError(f"{name}: row {number}: {clean(str(error))}; look for a stray quote there") from error
        if any(clean(cell) for cell in row):
            rows.append((number, row))


def _headers(names: list[str], name: str, declared: Mapping[str, str]) -> dict[str, str]:
    """{role: name of its column} of those that are there."""
    for column in names:
        if column and names.count(column) > 1:
            raise UserError(f"{name}: two columns are called {column}; rename or remove one")
    plain = {clean(column): plain_name(column) for column in names if column}
    headers = {}
    for role, wanted in declared.items():
        found = [column for column, text in plain.items() if text == plain_name(wanted)]
        exact = [column for column in found if column == clean(wanted)] or found
        if len(exact) != 1:
            raise UserError(f"{name}: {'no' if not exact else 'more than one'} column {wanted}; {_listed(names)}")
        headers[role] = exact[0]
    taken = set(headers.values())
    for column, text in plain.items():
        role = NAMES.get(text)
        if role and role not in declared and column not in taken:
            if role in headers:
                raise UserError(
                    f"{name}: columns {headers[role]} and {column}: say which is the {role}, by dataset.columns"
                )
            headers[role] = column
    for role in ("image", "label"):
        if role not in headers:
            raise UserError(
                f"{name}: no column {role}; {_listed(names)}. If one of them is it, say so: dataset.columns: "
                f"{{{role}: NAME}}"
            )
    return headers


def _listed(names: list[str]) -> str:
    return f"its columns are {', '.join(filter(None, names)) or '(none)'}"
