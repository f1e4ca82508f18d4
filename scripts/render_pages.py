"""Write the report's pages: conclusions, datasheet, methods, model card, configuration and environment."""

from pathlib import Path

from fedxray.core import cli
from fedxray.core.files import read_json, write_text
from fedxray.data.registry import note_of
from fedxray.experiment.folder import Folder
from fedxray.report.pages import render


def main(options):
    """Write every page."""
    folder = Folder(options.results)
    for name, text in render(read_json(options.config), folder, note_of(folder.registry)).items():
        write_text(folder.page(name), text)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--config", type=Path, required=True, help="config.json: the whole configuration")
    arguments.add_argument(
        "--results",
        type=Path,
        required=True,
        help="folder of the experiment: has its tables, data, runs and model, gets report/",
    )
    cli.run(main, arguments)
