"""Whether the numbers of a text are in the cells that it names: read as text, apart from the code that cites them."""

import csv
import json
import re
from decimal import Decimal
from pathlib import Path

NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def cells(folder, file, rows, columns):
    """The numbers in a file below `folder`: at `rows` (lines) in `columns`, the mean over rows; or at keys of JSON."""
    path = Path(folder) / file
    if path.suffix == ".json":
        found = []
        for key in rows:
            value = json.loads(path.read_text())
            for name in str(key).split("."):
                value = value[int(name)] if isinstance(value, list) else value[name]
            found.append(float(value))
        return found
    with path.open(newline="") as lines:
        table = list(csv.reader(lines))
    places = [table[0].index(name) for name in columns]
    return [sum(float(table[row - 1][place]) for row in rows) / len(rows) for place in places]


def check(folder, text, file, rows, columns, scale=1.0):
    """Assert that `text` has the numbers of these cells over `scale`, in their order, rounded as it says."""
    said = NUMBER.findall(text.replace("\u00a0", " "))
    values = cells(folder, file, rows, columns)
    assert len(said) == len(values), (text, values)
    for word, value in zip(said, values, strict=True):
        half = 0.5 * 10 ** Decimal(word).as_tuple().exponent  # of the last digit
        assert abs(float(word) - value / scale) <= half * (1 + 1e-9), (text, file, rows, columns, value)
