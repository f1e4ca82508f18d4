"""Evaluate every chosen model at every hospital of a federation of other machines: NVFlare's cross-site evaluation.

Each hospital evaluates each model on its own test set, at the threshold that the server chose on its validation set,
and sends metrics alone. A hospital's own model stays there, is evaluated there alone, and has a threshold of its own. So
there is no pooled test set, and there are no intervals.
"""

from pathlib import Path

from fedxray.analysis.at_sites import across_sites, thresholds_at
from fedxray.analysis.choice import with_thresholds
from fedxray.core import cli
from fedxray.core.files import private_folder, read_table, write_table
from fedxray.experiment.folder import Folder
from fedxray.federation.engine import Model
from fedxray.flare.options import add_registered, remote_of


def main(options):
    """Run one job, and write one row per chosen model and test set, and the chosen points with their thresholds."""
    points, results = read_table(options.points), Folder(options.results)
    chosen = points[points["chosen"]]
    models = {path: Model.of(results.run(path)) for path in chosen["path"]}
    with private_folder(options.output.parent / "workspace") as scratch:
        evaluated = remote_of(options).evaluate(models, scratch)
    thresholds = thresholds_at(evaluated.metrics, evaluated.thresholds)
    write_table(options.output, across_sites(chosen, evaluated.metrics, thresholds))
    write_table(options.chosen, with_thresholds(points, thresholds))
    print(f"{len(models)} models evaluated at {len(options.sites)} sites")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    add_registered(arguments)
    arguments.add_argument("--results", type=Path, required=True, help="the experiment's folder, results/<experiment>")
    arguments.add_argument("--points", type=Path, required=True, help="points.csv")
    arguments.add_argument("--chosen", type=Path, required=True, help="chosen.csv to write")
    arguments.add_argument("--output", type=Path, required=True, help="at_sites.csv to write")
    cli.run(main, arguments)
