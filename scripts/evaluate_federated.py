"""Evaluate the chosen federated models by NVFlare's cross-site evaluation, and check that it agrees to the last digit.

Each hospital evaluates the model on its own test set, and sends metrics alone. A GPU may add in another order; there a
difference of 1e-5 passes.
"""

from pathlib import Path

from fedxray.analysis.at_sites import agreement
from fedxray.core import cli
from fedxray.core.files import private_folder, read_table, write_table
from fedxray.experiment.experiment import Experiment
from fedxray.experiment.folder import Folder
from fedxray.federation.engine import Model
from fedxray.flare.options import add_one_host_of_cohorts, one_host_of_cohort


def main(options):
    """Run one federation for each cohort, and write one row per model, site and metric."""
    comparison, points = read_table(options.comparison), read_table(options.points)
    cohorts = {cohort.name: cohort for cohort in Experiment.read(options.experiment).cohorts}
    results, metrics, exact = Folder(options.results), {}, True
    chosen = points[points["chosen"] & (points["mode"] == "federated")]
    for cohort, rows in chosen.groupby("cohort", sort=False):
        runs = {path: results.run(path) for path in rows["path"]}
        models = {path: Model(run.model, run.settings()) for path, run in runs.items()}
        with private_folder(options.output.parent / "workspace") as scratch:
            metrics |= one_host_of_cohort(cohorts[cohort], options).evaluate(models, scratch).metrics
        exact = exact and all(run.read_record()["device"] == "cpu" for run in runs.values())
    table = agreement(metrics, points, comparison, tolerance=0.0 if exact else 1e-5)
    write_table(options.output, table)
    print(f"{len(table)} metrics of the sites agree with those computed here")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    add_one_host_of_cohorts(arguments)
    arguments.add_argument("--points", type=Path, required=True, help="points.csv")
    arguments.add_argument("--comparison", type=Path, required=True, help="comparison.csv")
    arguments.add_argument("--output", type=Path, required=True, help="agreement.csv")
    cli.run(main, arguments)
