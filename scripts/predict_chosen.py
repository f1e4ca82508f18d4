"""Predict the shared validation set and every test set with the chosen models, and choose their thresholds.

A model's threshold is chosen on its predictions of the validation set (Youden's index), here and nowhere else. That of
a hospital's own model (alone, personal) is chosen on its own patients there.
"""

from pathlib import Path

from fedxray.analysis import external
from fedxray.analysis.choice import with_thresholds
from fedxray.analysis.cohorts import cohorts_of
from fedxray.analysis.predictions import predict_chosen, thresholds_of
from fedxray.core import cli
from fedxray.core.files import read_table, write_table
from fedxray.experiment.folder import Folder


def main(options):
    """Write one row per model and image, and one per chosen run with its threshold."""
    points, folder = read_table(options.points), Folder(options.results)
    predictions = predict_chosen(points, folder, cohorts_of(folder), options.external)
    write_table(options.predictions, predictions)
    write_table(options.chosen, with_thresholds(points, thresholds_of(predictions, points[points["chosen"]])))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--points", type=Path, required=True, help="points.csv")
    arguments.add_argument("--results", type=Path, required=True, help="folder of the experiment: its runs and sites")
    external.add_option(arguments)
    arguments.add_argument("--predictions", type=Path, required=True, help="predictions.csv, to write")
    arguments.add_argument("--chosen", type=Path, required=True, help="chosen.csv, to write")
    cli.run(main, arguments)
