"""Evaluate every chosen model at every hospital of a federation of other machines: NVFlare's cross-site evaluation.

Each hospital evaluates each model on its own test set, at the threshold that the server chose on its validation set,
and sends its metrics alone. So there is no pooled test set, and no interval.
"""

from pathlib import Path

from fedxray.analysis.comparison import across_sites
from fedxray.core import cli
from fedxray.core.files import read_json, read_table, write_table
from fedxray.experiment.settings import Settings
from fedxray.flare import engine as run
from fedxray.flare.remote import add_options, from_options


def main(options):
    """Run one job, and write one row per chosen model and test set."""
    points = read_table(options.points)
    chosen = points[points["chosen"]]
    models = {
        path: (
            options.runs / path / "model.safetensors",
            Settings(**read_json(options.runs / path / "record.json")["settings"]),
        )
        for path in chosen["path"]
    }
    with run.private(options.output.parent / "workspace", print) as workspace:
        found, thresholds = run.evaluate(from_options(options), models, workspace)
    write_table(options.output, across_sites(chosen, found, thresholds))
    print(f"{len(models)} models evaluated at {len(options.sites)} sites")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    add_options(arguments)
    arguments.add_argument("--points", type=Path, required=True, help="points.csv")
    arguments.add_argument("--runs", type=Path, required=True, help="the folder of all runs")
    arguments.add_argument("--output", type=Path, required=True, help="cross_site.csv")
    cli.run(main, arguments)
