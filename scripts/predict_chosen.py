"""Predict the shared validation set and every site's test set with the chosen models."""

import json
from pathlib import Path

from fedxray.analysis.predictions import predict_chosen
from fedxray.core import cli
from fedxray.core.files import read_table, write_table
from fedxray.experiment.sweep import sites_of


def main(options):
    """Write one row per model and image."""
    experiment = json.loads(options.experiment)
    points = read_table(options.points)
    table = predict_chosen(points, options.runs, options.sites, lambda cohort: sites_of(cohort, experiment))
    write_table(options.output, table)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument(
        "--experiment", required=True, help="the configuration as JSON: its sites, seeds, sweep, ..."
    )
    arguments.add_argument("--points", type=Path, required=True, help="points.csv")
    arguments.add_argument("--runs", type=Path, required=True, help="the folder of all runs")
    arguments.add_argument("--sites", type=Path, required=True, help="the folder of all sites' data")
    arguments.add_argument("--output", type=Path, required=True, help="predictions.csv")
    cli.run(main, arguments)
