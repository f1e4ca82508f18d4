"""Export the chosen federated model with its threshold as a directory that stands alone: safetensors, ONNX, config.

Of several seeds it is the one with the highest validation AUROC, of several cohorts the first.
`fedxray-predict DIRECTORY IMAGE...` predicts by it.
"""

from pathlib import Path

from fedxray.core import cli
from fedxray.core.files import read_json, read_table
from fedxray.data.registry import note_of
from fedxray.experiment.settings import Settings
from fedxray.training.exported import export_model


def main(options):
    """Write the model directory."""
    points, comparison = read_table(options.points), read_table(options.comparison)
    federated = points[points["chosen"] & (points["mode"] == "federated")]
    first = federated[federated["cohort"] == federated["cohort"].iloc[0]]
    run = first.loc[first["validation_auroc"].idxmax()]
    rows = comparison[(comparison["mode"] == "federated") & (comparison["cohort"] == run["cohort"])]
    export_model(
        options.runs / run["path"] / "model.safetensors",
        Settings(**read_json(options.runs / run["path"] / "record.json")["settings"]),
        options.output,
        threshold=float(rows["threshold"][rows["seed"] == run["seed"]].iloc[0]),
        origin={
            "experiment": options.experiment,
            "cohort": run["cohort"],
            "mode": run["mode"],
            "run": run["path"],
        },
        note=note_of(options.registry),
    )
    print(f"exported {run['path']}")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--points", type=Path, required=True, help="points.csv")
    arguments.add_argument("--comparison", type=Path, required=True, help="comparison.csv, which has the threshold")
    arguments.add_argument("--runs", type=Path, required=True, help="the folder of all runs")
    arguments.add_argument("--experiment", required=True, help="name of the experiment")
    arguments.add_argument("--registry", type=Path, required=True, help="registry.csv of the data")
    arguments.add_argument("--output", type=Path, required=True, help="directory of the model")
    cli.run(main, arguments)
