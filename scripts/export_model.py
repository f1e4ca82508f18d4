"""Export the chosen federated model with its threshold as a directory that stands alone: safetensors, ONNX, config.

It is the model of the first cohort; of several methods that which validation chose, and of its seeds the one with the
highest validation AUROC. Where all methods are personal, it is the model of one hospital.
`fedxray-predict DIRECTORY IMAGE...` predicts with it.
"""

from pathlib import Path

from fedxray.analysis.choice import exported
from fedxray.core import cli
from fedxray.core.files import read_table
from fedxray.data.registry import note_of
from fedxray.experiment.folder import Folder
from fedxray.training.exported import export_model


def main(options):
    """Write the model directory."""
    chosen, folder = read_table(options.chosen, ("path", "threshold")), Folder(options.results)
    run = exported(chosen)
    export_model(
        folder.run(run["path"]).model,
        folder.run(run["path"]).settings(),
        options.output,
        threshold=float(run["threshold"]),
        origin={
            "experiment": options.experiment_name,
            "cohort": run["cohort"],
            "mode": run["mode"],
            "method": run["method"],
            "site": run["site"],
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
