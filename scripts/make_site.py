"""Make the directory of one site: its own images and the shared validation set, their table and a data card."""

from pathlib import Path

from fedxray import cli
from fedxray.data.site import make_site


def main(options):
    """Write the three files."""
    make_site(options.split, options.pixels, options.site, options.images, options.table, options.card)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--split", type=Path, required=True, help="split.csv")
    arguments.add_argument("--pixels", type=Path, required=True, help="pixels.npy")
    arguments.add_argument("--site", required=True, help="name of the site, or `shared`")
    arguments.add_argument("--images", type=Path, required=True, help="images.npy")
    arguments.add_argument("--table", type=Path, required=True, help="images.csv")
    arguments.add_argument("--card", type=Path, required=True, help="card.json")
    cli.run(main, arguments)
