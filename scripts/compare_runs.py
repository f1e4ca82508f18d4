"""Compare runs: one row per model and test set; the pooled rows are printed."""

from pathlib import Path

from fedxray import cli
from fedxray.evaluation import compare, summary
from fedxray.files import write_table


def main(options):
    """Write and print the comparison."""
    table = compare(options.runs)
    write_table(options.output, table)
    print(summary(table))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--runs", type=Path, nargs="+", required=True, help="directories of runs")
    arguments.add_argument("--output", type=Path, required=True, help="comparison.csv")
    cli.run(main, arguments)
