"""Write the report's pages: conclusions, datasheet, methods, model card, configuration and environment."""

import json
from pathlib import Path

from fedxray.core import cli
from fedxray.core.files import write_text
from fedxray.data.registry import note_of
from fedxray.report.pages import render


def main(options):
    """Write every page."""
    pages = render(options.templates, json.loads(options.config), options.results, note_of(options.registry))
    for name, text in pages.items():
        write_text(options.output / f"{name}.html", text)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--templates", type=Path, default=Path("report/pages"), help="folder of the pages' texts")
    arguments.add_argument("--config", required=True, help="the configuration as JSON")
    arguments.add_argument("--results", type=Path, required=True, help="results/<experiment>")
    arguments.add_argument("--registry", type=Path, required=True, help="registry.csv of the data")
    arguments.add_argument("--output", type=Path, required=True, help="folder of the pages")
    cli.run(main, arguments)
