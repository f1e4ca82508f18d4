"""Evaluate the chosen federated models by NVFlare's cross-site evaluation, and check that it agrees to the last digit.

Each hospital evaluates the model on its own test set and sends its metrics alone. On a GPU, whose sums may be taken in
another order, a difference of 1e-5 passes.
"""

from pathlib import Path

from fedxray.analysis.comparison import cross_site
from fedxray.core import cli
from fedxray.core.files import read_json, read_table, write_table
from fedxray.experiment.settings import Settings
from fedxray.flare import engine as run
from fedxray.flare.one_host import add_options, of_cohort


def main(options):
    """Run one federation for each cohort, and write one row per model, site and metric."""
    comparison, points = read_table(options.comparison), read_table(options.points)
    chosen = points[points["chosen"] & (points["mode"] == "federated")]
    found, exact = {}, True
    for cohort, rows in chosen.groupby("cohort", sort=False):
        federation = of_cohort(cohort, options)
        records = {path: read_json(options.runs / path / "record.json") for path in rows["path"]}
        models = {
            f"seed={seed}": (options.runs / path / "model.safetensors", Settings(**records[path]["settings"]))
            for seed, path in zip(rows["seed"], rows["path"], strict=True)
        }
        with run.private(options.output.parent / "workspace", print) as workspace:
            found[cohort], _ = run.evaluate(federation, models, workspace)
        exact = exact and all(record["device"] == "cpu" for record in records.values())
    table = cross_site(found, comparison, tolerance=0.0 if exact else 1e-5)
    write_table(options.output, table)
    print(f"{len(table)} metrics of the sites agree with those computed here")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    add_options(arguments)
    arguments.add_argument("--points", type=Path, required=True, help="points.csv")
    arguments.add_argument("--comparison", type=Path, required=True, help="comparison.csv")
    arguments.add_argument("--runs", type=Path, required=True, help="the folder of all runs")
    arguments.add_argument("--output", type=Path, required=True, help="cross_site.csv")
    cli.run(main, arguments)
