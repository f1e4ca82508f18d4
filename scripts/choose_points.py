"""Choose the point of each model by its validation AUROC over seeds; the test sets are not read here."""

import json
from pathlib import Path

from fedxray.analysis.choice import choose, table_of_runs
from fedxray.core import cli
from fedxray.core.files import write_table
from fedxray.experiment.sweep import runs


def main(options):
    """Write every run's validation, with a column that says which are chosen, and print these."""
    table = choose(table_of_runs(runs(json.loads(options.experiment)), options.runs))
    write_table(options.output, table)
    for _, run in table[table["chosen"]].iterrows():
        print(f"validation AUROC {run['validation_auroc']:.4f}  {run['path']}")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument(
        "--experiment", required=True, help="the configuration as JSON: its sites, seeds, sweep, ..."
    )
    arguments.add_argument("--runs", type=Path, required=True, help="the folder of all runs")
    arguments.add_argument("--output", type=Path, required=True, help="points.csv")
    cli.run(main, arguments)
