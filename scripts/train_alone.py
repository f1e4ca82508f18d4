"""Train one model on the training images of each site alone, one site after the other."""

from pathlib import Path

from fedxray.core import cli
from fedxray.experiment.settings import parse_settings
from fedxray.runs import train_here


def main(options):
    """Train, and write each site's run."""
    for card in options.sites:
        print(f"{card.parent.name} alone")
        output = options.output / card.parent.name
        train_here("alone", [card.parent], parse_settings(options.settings), output)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--sites", type=Path, nargs="+", required=True, help="card.json of each site's directory")
    arguments.add_argument("--settings", required=True, help="fields of fedxray.experiment.settings.Settings, as JSON")
    arguments.add_argument("--output", type=Path, required=True, help="folder that gets a run's folder for each site")
    cli.run(main, arguments)
