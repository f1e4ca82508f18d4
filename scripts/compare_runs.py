"""Compare the chosen runs: one row per model and test set, every metric with its interval by patient."""

from pathlib import Path

from fedxray.analysis.comparison import compare
from fedxray.core import cli
from fedxray.core.files import read_table, write_table


def main(options):
    """Write the comparison."""
    points = read_table(options.points)
    predictions = read_table(options.predictions, ("path", "set", "patient", "label", "probability"))
    draw = options.replicates, options.confidence, options.seed
    write_table(options.output, compare(points[points["chosen"]], predictions, *draw))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--points", type=Path, required=True, help="points.csv")
    arguments.add_argument("--predictions", type=Path, required=True, help="predictions.csv")
    arguments.add_argument("--replicates", type=int, default=1000, help="of the bootstrap over patients")
    arguments.add_argument("--confidence", type=float, default=0.95, help="level of the intervals")
    arguments.add_argument("--seed", type=int, default=1, help="of the bootstrap")
    arguments.add_argument("--output", type=Path, required=True, help="comparison.csv")
    cli.run(main, arguments)
