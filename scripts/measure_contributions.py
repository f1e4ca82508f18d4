"""Measure what each hospital brings to the federation: Shapley and leave-one-out values over the coalitions."""

from pathlib import Path

from fedxray.analysis import external
from fedxray.analysis.contributions import contribute
from fedxray.core import cli
from fedxray.core.files import read_table, write_table


def main(options):
    """Write one row per hospital, test set and kind of value, and print the Shapley values of the pooled one."""
    chosen = read_table(options.chosen, ("path", "threshold"))
    predictions = read_table(options.predictions, ("path", "set", "patient", "label", "probability"))
    table = contribute(chosen, predictions, options.confidence, options.external)
    write_table(options.output, table)
    for row in table[(table["test_set"] == "pooled") & (table["what"] == "shapley")].itertuples():
        print(f"{row.cohort} {row.hospital} brings {row.estimate:.4f} [{row.low:.4f}, {row.high:.4f}]".strip())


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--chosen", type=Path, required=True, help="chosen.csv")
    arguments.add_argument("--predictions", type=Path, required=True, help="predictions.csv")
    arguments.add_argument("--confidence", type=float, required=True, help="level of the intervals, such as 0.95")
    external.add_option(arguments)
    arguments.add_argument("--output", type=Path, required=True, help="contributions.csv, to write")
    cli.run(main, arguments)
