"""Plot the results: how the chosen models learned and how good they are, and what the sweep says."""

from pathlib import Path

import pandas as pd

from fedxray.analysis.choice import federated_curves, global_curves
from fedxray.core import cli
from fedxray.core.files import read_json, read_table
from fedxray.data.registry import note_of
from fedxray.report.figures import results, save, sweep


def main(options):
    """Draw the figures that are asked for."""
    points, summary = read_table(options.points), read_table(options.summary)
    predictions, contrasts = read_table(options.predictions), read_table(options.differences)
    chosen = points[points["chosen"]]
    draw = options.replicates, options.confidence, options.seed
    figures = {
        "learning_curves": lambda: results.learning_curves(global_curves(chosen, options.runs)),
        "roc": lambda: results.roc_curves(chosen, predictions, summary, *draw),
        "metrics": lambda: results.metric_intervals(summary),
        "gain": lambda: results.gain(summary),
        "differences": lambda: results.differences(contrasts, options.margin),
        "cross_site": lambda: results.cross_site(summary),
        "calibration": lambda: results.calibration(chosen, predictions),
        "sweep": lambda: sweep.sweep_map(points),
        "communication": lambda: sweep.communication(federated_curves(points, options.runs)),
        "cohorts": lambda: sweep.cohorts(summary, heterogeneity(options.cohorts, pd.unique(points["cohort"]))),
    }
    note = note_of(options.registry)
    for name in options.figures:
        save(figures[name](), options.output, name, note)


def heterogeneity(folder, names):
    """What check_split found of each cohort, by name."""
    return {name: read_json(folder / name / "heterogeneity.json") for name in names}


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--figures", nargs="+", required=True, help="learning_curves, roc, metrics, ...")
    for name in ("points", "predictions", "summary", "differences"):
        arguments.add_argument(f"--{name}", type=Path, required=True, help=f"{name}.csv")
    arguments.add_argument("--runs", type=Path, required=True, help="the folder of all runs")
    arguments.add_argument("--cohorts", type=Path, required=True, help="the folder of all cohorts")
    arguments.add_argument("--replicates", type=int, default=1000, help="of the bootstrap over patients")
    arguments.add_argument("--confidence", type=float, default=0.95, help="level of the intervals")
    arguments.add_argument("--seed", type=int, default=1, help="of the bootstrap")
    arguments.add_argument("--margin", type=float, default=0.02, help="of non-inferiority")
    arguments.add_argument("--registry", type=Path, required=True, help="registry.csv of the data")
    arguments.add_argument("--output", type=Path, required=True, help="folder of the figures")
    cli.run(main, arguments)
