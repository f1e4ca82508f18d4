"""Write the report's pages: environment, configuration and data."""

import json
from pathlib import Path

from fedxray import cli, pages
from fedxray.files import read_json, write_text


def main(options):
    """Write the three pages."""
    tables = {
        "environment": pages.environment(),
        "configuration": pages.configuration(json.loads(options.config)),
        "data": pages.data(read_json(options.summary), [read_json(card) for card in options.cards]),
    }
    for name, content in tables.items():
        write_text(getattr(options, name), pages.page(name.capitalize(), content, options.note))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--config", required=True, help="the configuration as JSON")
    arguments.add_argument("--summary", type=Path, required=True, help="catalogue.json")
    arguments.add_argument("--cards", type=Path, nargs="+", required=True, help="card.json of each site")
    arguments.add_argument("--note", default="", help="shown on each page, such as: Synthetic phantom data")
    for name in ("environment", "configuration", "data"):
        arguments.add_argument(f"--{name}", type=Path, required=True, help="HTML to write")
    cli.run(main, arguments)
