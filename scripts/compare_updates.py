"""Compare what may be done about a second wave of patients: gain on new patients and loss on old ones."""

from pathlib import Path

from fedxray.analysis import bootstrap, external
from fedxray.analysis.statistics import PRIMARY
from fedxray.analysis.updates import update
from fedxray.core import cli
from fedxray.core.files import read_table, write_table
from fedxray.experiment.experiment import POOLED, Experiment


def main(options):
    """Write one row per question, model, strategy, test set and metric, and print what it says of all hospitals."""
    chosen = read_table(options.chosen, ("path", "threshold"))
    predictions = read_table(options.predictions, ("path", "set", "patient", "label", "probability", "wave"))
    draw = options.replicates, options.confidence, options.seed
    cohorts = Experiment.read(options.experiment).cohorts
    table = update(chosen, predictions, cohorts, *draw, options.external)
    write_table(options.output, table)
    for row in table[(table["test_set"] == POOLED) & (table["metric"] == PRIMARY)].itertuples():
        print(row.sentence)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--experiment", type=Path, required=True, help="experiment.json: which strategies there are")
    arguments.add_argument("--chosen", type=Path, required=True, help="chosen.csv")
    arguments.add_argument("--predictions", type=Path, required=True, help="predictions.csv")
    bootstrap.add_options(arguments)
    external.add_option(arguments)
    arguments.add_argument("--output", type=Path, required=True, help="updates.csv, to write")
    cli.run(main, arguments)
