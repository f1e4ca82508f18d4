"""Plot the most confident mistakes of the exported model on the pooled test set, with Grad-CAM."""

from pathlib import Path

from fedxray.core import cli
from fedxray.core.files import read_table
from fedxray.data.registry import note_of
from fedxray.report.figures import save
from fedxray.report.figures.mistakes import confident_mistakes, mistakes
from fedxray.training.exported import load_exported


def main(options):
    """Draw the figure."""
    model, config = load_exported(options.model)
    predictions = read_table(options.predictions)
    own = predictions[predictions["path"] == config["run"]]
    wrong = confident_mistakes(own, config["threshold"])
    figure = mistakes(model, wrong, options.sites / config["cohort"])
    save(figure, options.output, "mistakes", note_of(options.registry))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--model", type=Path, required=True, help="directory of the exported model")
    arguments.add_argument("--predictions", type=Path, required=True, help="predictions.csv")
    arguments.add_argument("--sites", type=Path, required=True, help="the folder of all sites' data")
    arguments.add_argument("--registry", type=Path, required=True, help="registry.csv of the data")
    arguments.add_argument("--output", type=Path, required=True, help="folder of the figure")
    cli.run(main, arguments)
