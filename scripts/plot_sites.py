"""Plot the data of each site: images by split and aetiology, and prevalence."""

from pathlib import Path

from fedxray import cli, figures
from fedxray.files import read_json


def main(options):
    """Draw the figure."""
    figures.save(figures.site_data([read_json(card) for card in options.cards]), options.svg, options.png, options.note)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--cards", type=Path, nargs="+", required=True, help="card.json of each site")
    arguments.add_argument("--note", default="", help="shown on the figure, such as: Synthetic phantom data")
    arguments.add_argument("--svg", type=Path, required=True)
    arguments.add_argument("--png", type=Path, required=True)
    cli.run(main, arguments)
