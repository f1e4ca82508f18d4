"""Compare the chosen runs: one row per model and test set, every metric with its interval by patient."""

from pathlib import Path

from fedxray.analysis.comparison import compare
from fedxray.core import cli
from fedxray.core.files import read_table, write_table


def main(options):
    """Write the comparison."""
    chosen = read_table(options.chosen, ("path", "threshold"))
    predictions = read_table(options.predictions, ("path", "set", "patient", "label", "probability"))
    write_table(options.output, compare(chosen, predictions, options.replicates, options.confidence, options.seed))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--chosen", type=Path, required=True, help="chosen.csv")
    arguments.add_argument("--predictions", type=Path, required=True, help="predictions.csv")
    arguments.add_argument("--replicates", type=int, required=True, help="of the bootstrap over patients")
    arguments.add_argument("--confidence", type=float, required=True, help="level of the intervals, such as 0.95")
    arguments.add_argument("--seed", type=int, required=True, help="of the bootstrap")
    arguments.add_argument("--output", type=Path, required=True, help="comparison.csv")
    cli.run(main, arguments)
