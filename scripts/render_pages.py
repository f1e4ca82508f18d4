"""Write the report's page, report/index.html: the answer first, and behind it all that it rests on."""

from pathlib import Path

from fedxray.core import cli
from fedxray.core.files import read_json, write_text
from fedxray.data.registry import note_of
from fedxray.experiment.folder import Folder
from fedxray.report.index import page


def main(options):
    """Write the page."""
    folder = Folder(options.results)
    write_text(folder.page("index"), page(read_json(options.config), folder, note_of(folder.registry)))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--config", type=Path, required=True, help="config.json: the whole configuration")
    arguments.add_argument(
        "--results",
        type=Path,
        required=True,
        help="folder of the experiment: has its tables, figures, data, runs and model, gets report/",
    )
    cli.run(main, arguments)
