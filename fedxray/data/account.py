"""The account of a source's files, as a page and as five lines: what was taken, what was left out and why."""

import html

import pandas as pd

from fedxray import __version__

SHOWN = 20  # files of each reason on the page; the table has all
STYLE = (
    "h1{overflow-wrap:anywhere}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}"
    "table{border-collapse:collapse;margin:.5rem 0 1.5rem;display:block;overflow-x:auto}"
    "th,td{padding:.25rem .75rem;text-align:left;border-bottom:1px solid #ddd}th{background:#f4f4f4}"
)
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


def lines(summary: dict) -> list[str]:
    """Five lines of counts for the console, from the catalogue's summary, and one for each wave, if there are any."""
    left_out, waves = summary["left_out"], summary.get("waves", {})
    grouped = (
        f"{summary['duplicates']} images that are there more than once" if summary["duplicates"] else "no image twice"
    )
    joined = f" ({summary['patients_joined']} patients fewer by them)" if summary["patients_joined"] else ""
    return [
        f"files: {summary['files']} seen, {summary['images']} images taken, {sum(left_out.values())} left out",
        f"left out: {_counts(left_out)}",
        f"labels: {_counts(summary['labels'])}, from {_origins(summary['labels_from'])}",
        f"patients: {summary['patients']}, from {_origins(summary['patients_from'])}",
        f"duplicates: {grouped}{joined}; hospitals: {_counts(summary['sites'])}; splits: "
        f"{_counts(summary['official_splits'])}",
        *(f"wave {wave}: {of['images']} images of {of['patients']} patients" for wave, of in waves.items()),
    ]


def _counts(counts: dict) -> str:
    named = {key or "not stated": value for key, value in counts.items()}
    return ", ".join(f"{value} {key}" for key, value in named.items()) or "none"


def _origins(counts: dict) -> str:
    return ", ".join(f"{key} ({value} images)" for key, value in counts.items())


def page(title: str, account: pd.DataFrame, summary: dict, note: str = "") -> str:
    """The account as HTML that needs no network. `title` says which images they are, `note` what to be warned of."""
    greys = summary["greys"]
    facts = {
        "Files": {"seen": summary["files"], "taken": summary["images"], **summary["left_out"]},
        "Labels": summary["labels"],
        "Where labels come from": summary["labels_from"],
        "Patients": {"patients": summary["patients"], "fewer because they share an image": summary["patients_joined"]},
        "Where patients come from (images)": summary["patients_from"],
        "Duplicates": {"images": summary["duplicates"], "groups of the same pixels": summary["duplicate_groups"]},
        "Hospitals that the source names": summary["sites"],
        "Official splits": summary["official_splits"],
        "Views": summary["views"],
    }
    parts = [f"<h1>{html.escape(title)}</h1>"]
    parts += [f"<p><strong>{html.escape(note)}</strong></p>"] * bool(note)
    parts += [f"<p>{html.escape(line)}</p>" for line in lines(summary)]
    parts.append(
        f"<p>Greys: {greys[0]:g} to {greys[1]:g} become 0 to 255, of all images of more than 8 bits.</p>"
        if greys
        else "<p>Greys: of 8 bits, or as each DICOM says.</p>"
    )
    if unused := summary["columns_not_used"]:
        parts.append(f"<p>Columns of the table that are not used: {html.escape(', '.join(unused))}.</p>")
    rows = [
        ("" if number else name, key or "not stated", count)
        for name, counts in facts.items()
        for number, (key, count) in enumerate(counts.items())
    ]
    parts.append(pd.DataFrame(rows, columns=["", "what", "count"]).to_html(index=False, border=0))
    kinds = account["why"].str.split(":").str[0]
    for why, rows in account[account["taken"] == "no"].groupby(kinds, sort=True):
        shown = rows[["file", "why"]].head(SHOWN)
        more = f"<p>and {len(rows) - SHOWN} more: account.csv has all</p>" if len(rows) > SHOWN else ""
        parts += [f"<h2>Left out: {html.escape(why)} ({len(rows)})</h2>", shown.to_html(index=False, border=0), more]
    groups = account[account["duplicate_group"] > 0].sort_values(["duplicate_group", "file"]).head(SHOWN)
    if len(groups):
        parts += [
            "<h2>The same pixels</h2>",
            groups[["duplicate_group", "file", "patient"]].to_html(index=False, border=0),
        ]
    parts.append(f"<p>fedxray {__version__}</p>")
    return PAGE.format(title=html.escape(title), style=STYLE, body="\n".join(parts))
