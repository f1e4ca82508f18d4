"""Plot what each hospital gains over training alone, on its own test set."""

from pathlib import Path

from fedxray import cli, figures
from fedxray.files import read_table


def main(options):
    """Draw the figure."""
    figures.save(figures.gain(read_table(options.comparison)), options.svg, options.png, options.note)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--comparison", type=Path, required=True, help="comparison.csv")
    arguments.add_argument("--note", default="", help="shown on the figure, such as: Synthetic phantom data")
    arguments.add_argument("--svg", type=Path, required=True)
    arguments.add_argument("--png", type=Path, required=True)
    cli.run(main, arguments)
