"""Choose the point of each model by its validation AUROC over seeds; the test sets are not read here."""

from pathlib import Path

from fedxray.analysis.choice import choose, table_of_runs
from fedxray.core import cli
from fedxray.core.files import write_table
from fedxray.experiment.experiment import Experiment
from fedxray.experiment.folder import Folder


def main(options):
    """Write every run's validation, with a column that says which are chosen, and print these."""
    table = choose(table_of_runs(Experiment.read(options.experiment).runs, Folder(options.results)))
    write_table(options.output, table)
    for _, run in table[table["chosen"]].iterrows():
        print(f"validation AUROC {run['validation_auroc']:.4f}  {run['path']}")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--experiment", type=Path, required=True, help="experiment.json: which runs there are")
    arguments.add_argument("--results", type=Path, required=True, help="folder of the experiment, which has its runs")
    arguments.add_argument("--output", type=Path, required=True, help="points.csv")
    cli.run(main, arguments)
