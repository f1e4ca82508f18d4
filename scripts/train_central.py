"""Train one model on the union of the sites' training images."""

from pathlib import Path

from fedxray.core import cli
from fedxray.experiment.settings import parse_settings
from fedxray.runs import train_here


def main(options):
    """Train, and write the run."""
    train_here(
        "central", [card.parent for card in options.sites], parse_settings(options.settings), options.output.parent
    )


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--sites", type=Path, nargs="+", required=True, help="card.json of each site's directory")
    arguments.add_argument("--settings", required=True, help="fields of fedxray.experiment.settings.Settings, as JSON")
    arguments.add_argument("--output", type=Path, required=True, help="model.safetensors; the rest lies beside it")
    cli.run(main, arguments)
