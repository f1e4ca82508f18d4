"""Plot the most confident mistakes of the exported model on the pooled test set, with Grad-CAM."""

from pathlib import Path

from fedxray.analysis.cohorts import cohorts_of
from fedxray.analysis.explanations import confident_mistakes
from fedxray.core import cli
from fedxray.core.files import read_table
from fedxray.data.registry import note_of
from fedxray.experiment.folder import Folder
from fedxray.report.figures import save
from fedxray.report.figures.mistakes import mistakes
from fedxray.training.exported import load_exported


def main(options):
    """Draw the figure."""
    folder = Folder(options.results)
    model, config = load_exported(folder.model)
    predictions, cohort = read_table(folder.predictions), cohorts_of(folder)[config["cohort"]]
    of_model = predictions[(predictions["path"] == config["run"]) & predictions["set"].isin(cohort.sites)]
    wrong = confident_mistakes(of_model, config["threshold"])
    save(mistakes(model, wrong, folder, cohort), folder.figure("mistakes"), note_of(folder.registry))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument(
        "--results",
        type=Path,
        required=True,
        help="folder of the experiment: has model/, predictions.csv, cohort/ and sites/, gets figures/",
    )
    cli.run(main, arguments)
