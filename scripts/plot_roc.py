"""Plot ROC curves on the pooled test set, with bands by bootstrap over patients."""

from pathlib import Path

from fedxray import cli, figures


def main(options):
    """Draw the figure."""
    figures.save(
        figures.roc_curves(options.runs, options.replicates, options.confidence, options.seed),
        options.svg,
        options.png,
        options.note,
    )


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--runs", type=Path, nargs="+", required=True, help="directories of runs")
    arguments.add_argument("--replicates", type=int, default=1000)
    arguments.add_argument("--confidence", type=float, default=0.95)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--note", default="", help="shown on the figure, such as: Synthetic phantom data")
    arguments.add_argument("--svg", type=Path, required=True)
    arguments.add_argument("--png", type=Path, required=True)
    cli.run(main, arguments)
