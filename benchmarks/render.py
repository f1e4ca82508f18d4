"""The tables of docs/performance.md, from the JSON of each machine."""

from pathlib import Path

from benchmarks.measure import ROOT
from benchmarks.results import measured, target, verdict
from benchmarks.why import WHY
from fedxray.core.errors import UserError
from fedxray.core.files import write_text

PAGE = ROOT / "docs" / "performance.md"
TABLE = "<!-- benchmark: made by make bench -->", "<!-- end of benchmark -->"
GROWTH = "<!-- scale: made by make bench-scale -->", "<!-- end of scale -->"
FIGURE = "![Seconds and memory over images, sites, rounds, parameters and points](figures/scale.png)\n\n"


def render(books: list[dict], scale: bool, page: Path = PAGE) -> None:
    """Replace the text between the markers of `page` by a table for each book. Raises UserError if it has none.

    `scale`: by those of growth, and one figure, of the last book.
    """
    begin, end = GROWTH if scale else TABLE
    text = page.read_text(encoding="utf-8")
    if begin not in text or end not in text:
        raise UserError(f"{page}: no markers; put the lines {begin} and {end} where the table should stand")
    figure = FIGURE if scale else ""
    if scale:
        from benchmarks.scale import plot

        plot(books[-1], page.parent / "figures")
    tables = "\n".join(body(book) for book in books)
    before, after = text.split(begin)[0], text.split(end)[1]
    write_text(page, f"{before}{begin}\n\n{figure}{tables}\n{end}{after}")


def body(book: dict) -> str:
    """The machine, the table, and why targets were missed."""
    machine, versions = book["machine"], book["versions"]
    commits = sorted({row["commit"] for row in book["rows"].values()})
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, GPU {machine['GPU']}; Python {machine['Python']}; "
        + ", ".join(f"{name} {number}" for name, number in versions.items())
        + f". Commit {', '.join(commits)}."
        + (" Toy sizes (`--quick`): these numbers say that it runs, and nothing else." if book["quick"] else ""),
        "",
        "| row | measured | is [range] | of | target | |",
        "|---|---|---|---|---|---|",
    ]
    missed = []
    for name, row in book["rows"].items():
        if row["status"] != "done":
            lines.append(f"| `{name}` | {row['status']}: {_short(row['reason'])} | | | | |")
            continue
        for check in row["checks"]:
            words = check["what"], measured(check), check["sides"], target(check), verdict(check)
            lines.append(f"| `{name}` | {' | '.join(words)} |")
            missed += [name] if check["met"] is False else []
    if missed:
        lines += ["", "Missed, and why:", ""]
        lines += [f"- `{name}`: {WHY.get(name, 'not known yet')}" for name in dict.fromkeys(missed)]
    return "\n".join(lines) + "\n"


def _short(reason: str) -> str:
    return reason.strip().splitlines()[-1].replace("|", "/")[:160]
