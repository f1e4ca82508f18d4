"""Train one model on the training images of one site alone."""

from pathlib import Path

from fedxray import cli
from fedxray.runs import parse_settings, train_here


def main(options):
    """Train, and write the run into `options.output`."""
    train_here("local", [options.site], parse_settings(options.settings), options.output)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--site", type=Path, required=True, help="the directory of the site")
    arguments.add_argument("--settings", required=True, help="fields of fedxray.training.Settings, as JSON")
    arguments.add_argument("--output", type=Path, required=True, help="directory of the run")
    cli.run(main, arguments)
