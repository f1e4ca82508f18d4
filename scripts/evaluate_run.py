"""Evaluate one run's predictions: every metric with its interval, on each test set."""

from pathlib import Path

from fedxray import cli
from fedxray.evaluation import evaluate_predictions
from fedxray.files import read_table, write_table


def main(options):
    """Write one row per test set."""
    predictions = read_table(options.predictions, ("set", "patient", "label", "probability"))
    write_table(options.output, evaluate_predictions(predictions, options.replicates, options.confidence, options.seed))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--predictions", type=Path, required=True, help="predictions.csv")
    arguments.add_argument("--replicates", type=int, default=1000, help="of the bootstrap over patients")
    arguments.add_argument("--confidence", type=float, default=0.95, help="level of the intervals")
    arguments.add_argument("--seed", type=int, default=1, help="of the bootstrap")
    arguments.add_argument("--output", type=Path, required=True, help="evaluation.csv")
    cli.run(main, arguments)
