"""Choose a threshold and a calibration of each hospital's own for the shared models, on its own validation images."""

from pathlib import Path

from fedxray.analysis import external
from fedxray.analysis.adaptation import adapt
from fedxray.core import cli
from fedxray.core.files import read_table, write_table


def main(options):
    """Write one row per run of a shared model and hospital."""
    chosen = read_table(options.chosen, ("path", "threshold"))
    predictions = read_table(options.predictions, ("path", "set", "hospital", "label", "probability"))
    table = adapt(chosen, predictions, options.external)
    write_table(options.output, table)
    print(f"{(table['note'] == '').sum()} of {len(table)} times a hospital could choose its own threshold")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--chosen", type=Path, required=True, help="chosen.csv")
    arguments.add_argument("--predictions", type=Path, required=True, help="predictions.csv")
    external.add_option(arguments)
    arguments.add_argument("--output", type=Path, required=True, help="own_thresholds.csv, to write")
    cli.run(main, arguments)
