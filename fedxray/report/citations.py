"""The numbers of the page: each links to the row of the file that it is from, which stands at the page's end."""

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from fedxray.analysis.answer import Cited, Sentence
from fedxray.core.files import read_json, sha256

WIDE = 500.0  # points


class Source(NamedTuple):
    """A file, and those of its rows that the page cites."""

    file: str  # as seen from the experiment's folder
    sha256: str
    columns: list[str]  # line and the columns of a table, or key and value
    rows: list[tuple[str, list[str]]]  # (id in the page, cells as they stand in the file), in the file's order


class Citations:
    """Makes links of numbers, and remembers the rows that they lead to."""

    def __init__(self, root: Path):
        self.root = root
        self.ids: dict[str, dict[int | str, str]] = {}  # {file: {row: id}}
        self.count = 0

    def number(self, cited: Cited) -> Markup:
        """The number as a link; of several rows it leads to the first and names all."""
        ids = self.ids.setdefault(cited.file, {})
        for row in cited.rows:
            if row not in ids:
                self.count += 1
                ids[row] = f"row-{self.count}"
        kind = "line" if cited.columns else "key"
        place = f"{cited.file}, {kind} {', '.join(map(str, cited.rows))}"
        title = ": ".join(filter(None, [place, ", ".join(cited.columns)]))
        title += f", in units of {cited.scale:g}" if cited.scale != 1 else ""
        text = cited.text.replace(" ", "\u00a0")  # so that an interval is not broken between lines
        return Markup('<a class="n" href="#{}" title="{}">{}</a>').format(ids[cited.rows[0]], title, text)

    def sentence(self, sentence: Sentence) -> Markup:
        """A sentence whose numbers are links."""
        return Markup("").join(part if isinstance(part, str) else self.number(part) for part in sentence)

    def sources(self) -> list[Source]:
        """The files and rows that were cited so far."""
        return [self._source(file, ids) for file, ids in self.ids.items()]

    def _source(self, file: str, ids: Mapping[int | str, str]) -> Source:
        path = self.root / file
        if path.suffix == ".json":
            value = {key: _at(read_json(path), str(key)) for key in ids}
            return Source(
                file, sha256(path), ["key", "value"], [(ids[key], [str(key), str(value[key])]) for key in ids]
            )
        with path.open(newline="") as lines:
            table = list(csv.reader(lines))
        rows = [(ids[line], [str(line), *table[int(line) - 1]]) for line in sorted(ids, key=int)]
        return Source(file, sha256(path), ["line", *table[0]], rows)


def _at(value: Any, key: str) -> object:
    """The value at a dotted key; of a list a part of the key is a place in it."""
    for name in key.split("."):
        value = value[int(name)] if isinstance(value, list) else value[name]
    return value


def inlined(svg: Path) -> Markup:
    """A figure as a part of the page: scaled to its place, with ids of its own, and without metadata."""
    text = svg.read_text()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{svg.stem}-", text)
    width = float(text.split('width="')[1].split("pt")[0])
    least = (
        0.8 * width if width > WIDE else 0
    )  # pixels below which its letters are too small: then it scrolls in its place
    style = f"max-width:{1.5 * width:.0f}px;min-width:{least:.0f}px"
    wide = ' class="wide"' if least else ""
    head = f'<svg{wide} role="img" aria-label="{escape(svg.stem.replace("_", " "))}" style="{style}"'
    text = re.sub(r'^<svg (.*?)width="[^"]*" height="[^"]*"', rf"{head} \1", text, count=1)
    return Markup(text)
