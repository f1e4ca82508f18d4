"""Predict the shared validation set and every site's test set with the model of one run."""

from pathlib import Path

from fedxray import cli
from fedxray.files import write_table
from fedxray.runs import parse_settings, predict_run


def main(options):
    """Write one row per image."""
    write_table(options.output, predict_run(options.model, options.sites, parse_settings(options.settings)))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--model", type=Path, required=True, help="model.safetensors of the run")
    arguments.add_argument("--sites", type=Path, nargs="+", required=True, help="the directory of each site")
    arguments.add_argument("--settings", required=True, help="fields of fedxray.training.Settings, as JSON")
    arguments.add_argument("--output", type=Path, required=True, help="predictions.csv")
    cli.run(main, arguments)
