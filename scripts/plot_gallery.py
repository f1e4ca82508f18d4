"""Show a few images of each class at each site."""

from pathlib import Path

from fedxray import cli, figures


def main(options):
    """Draw the figure."""
    figures.save(figures.gallery(options.sites), options.svg, options.png, options.note)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--sites", type=Path, nargs="+", required=True, help="directories of the sites")
    arguments.add_argument("--note", default="", help="shown on the figure, such as: Synthetic phantom data")
    arguments.add_argument("--svg", type=Path, required=True)
    arguments.add_argument("--png", type=Path, required=True)
    cli.run(main, arguments)
