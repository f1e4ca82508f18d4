"""Export the chosen federated model with its threshold as a directory that stands alone: safetensors, ONNX, config.

It is the model of the first cohort, and of its seeds the one with the highest validation AUROC.
`fedxray-predict DIRECTORY IMAGE...` predicts with it.
"""

from pathlib import Path

from fedxray.core import cli
from fedxray.core.files import read_table
from fedxray.data.registry import note_of
from fedxray.experiment.folder import Folder
from fedxray.training.exported import export_model


def main(options):
    """Write the model directory."""
    chosen, folder = read_table(options.chosen, ("path", "threshold")), Folder(options.results)
    federated = chosen[chosen["mode"] == "federated"]
    first = federated[federated["cohort"] == federated["cohort"].iloc[0]]
    run = first.loc[first["validation_auroc"].idxmax()]
    export_model(
        folder.run(run["path"]).model,
        folder.run(run["path"]).settings(),
        options.output,
        threshold=float(run["threshold"]),
        origin={
            "experiment": options.experiment_name,
            "cohort": run["cohort"],
            "mode": run["mode"],
            "run": run["path"],
        },
        fit=read_table(folder.registry)["fit"].iloc[0],
        note=note_of(folder.registry),
    )
    print(f"exported {run['path']}")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--chosen", type=Path, required=True, help="chosen.csv: it has the thresholds")
    arguments.add_argument("--results", type=Path, required=True, help="folder of the experiment: runs and registry")
    arguments.add_argument("--experiment-name", required=True, help="name of the experiment, for config.json")
    arguments.add_argument("--output", type=Path, required=True, help="directory of the model")
    cli.run(main, arguments)
