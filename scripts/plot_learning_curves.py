"""Plot validation AUROC and loss over epochs of data seen, for every mode."""

from pathlib import Path

from fedxray import cli, figures


def main(options):
    """Draw the figure."""
    figures.save(figures.learning_curves(options.runs), options.svg, options.png, options.note)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--runs", type=Path, nargs="+", required=True, help="directories of runs")
    arguments.add_argument("--note", default="", help="shown on the figure, such as: Synthetic phantom data")
    arguments.add_argument("--svg", type=Path, required=True)
    arguments.add_argument("--png", type=Path, required=True)
    cli.run(main, arguments)
