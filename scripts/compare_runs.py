"""Compare the chosen runs: one row per model and test set, every metric with its interval by patient."""

from pathlib import Path

from fedxray.analysis import bootstrap, external
from fedxray.analysis.comparison import compare
from fedxray.core import cli
from fedxray.core.files import read_table, write_table


def main(options):
    """Write the comparison."""
    chosen = read_table(options.chosen, ("path", "threshold"))
    predictions = read_table(options.predictions, ("path", "set", "patient", "label", "probability"))
    draw = options.replicates, options.confidence, options.seed
    write_table(options.output, compare(chosen, predictions, *draw, options.external))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--chosen", type=Path, required=True, help="chosen.csv")
    arguments.add_argument("--predictions", type=Path, required=True, help="predictions.csv")
    bootstrap.add_options(arguments)
    external.add_option(arguments)
    arguments.add_argument("--output", type=Path, required=True, help="comparison.csv")
    cli.run(main, arguments)
