"""The report's pages of facts: environment, configuration and data, as HTML tables that need no network."""

import html
import os
import platform
from importlib.metadata import distributions

import pandas as pd

STYLE = """<style>body{font:15px/1.5 system-ui,sans-serif;margin:1.5rem;max-width:60rem}table{border-collapse:collapse}
th,td{padding:.2rem .8rem .2rem 0;text-align:left;border-bottom:1px solid #ddd;vertical-align:top}
.note{color:#b00000;font-weight:bold}</style>"""


def page(title: str, tables: dict[str, pd.DataFrame], note: str = "") -> str:
    """A page with a heading over each table; `note` is a warning at the top."""
    parts = [f"<h2>{html.escape(name)}</h2>{table.to_html(index=False, border=0)}" for name, table in tables.items()]
    warning = f'<p class="note">{html.escape(note)}</p>' if note else ""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>{STYLE}'
    body = f"<h1>{title}</h1>{warning}{''.join(parts)}"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def environment() -> dict[str, pd.DataFrame]:
    """This machine and every installed package with its version."""
    machine = {"system": platform.platform(), "processor": _processor(), "cores": os.cpu_count()}
    machine["Python"] = platform.python_version()
    packages = sorted({(item.metadata["Name"], item.version) for item in distributions()}, key=lambda p: p[0].lower())
    return {
        "Machine": pd.DataFrame(machine.items(), columns=["what", "value"]),
        "Packages": pd.DataFrame(packages, columns=["package", "version"]),
    }


def configuration(config: dict) -> dict[str, pd.DataFrame]:
    """Every value of the configuration by its dotted key."""
    return {"Values": pd.DataFrame(_flat(config), columns=["key", "value"])}


def data(summary: dict, cards: list[dict]) -> dict[str, pd.DataFrame]:
    """The catalogue's summary and each site's data card."""
    rows = [
        {"site": card["site"], "split": split, **{key: value for key, value in counts.items() if key != "aetiologies"}}
        | counts["aetiologies"]
        for card in cards
        for split, counts in card["splits"].items()
        if split != "validation" or card["site"] == "shared"  # each site has a copy of the same set
    ]
    sites = pd.DataFrame(rows).fillna({name: 0 for name in ("none", "bacteria", "virus", "unknown")})
    return {"Catalogue": pd.DataFrame(_flat(summary), columns=["what", "value"]), "Sites": sites}


def _flat(value: dict, prefix: str = "") -> list[tuple[str, object]]:
    rows = []
    for key, item in value.items():
        rows += _flat(item, f"{prefix}{key}.") if isinstance(item, dict) and item else [(f"{prefix}{key}", str(item))]
    return rows


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
