"""Write every run's curves and hyper-parameters as TensorBoard events, under readable names, over epochs."""

import shutil
from pathlib import Path

from fedxray.core import cli
from fedxray.experiment.experiment import Experiment
from fedxray.experiment.folder import Folder
from fedxray.report.tensorboard import export_runs


def main(options):
    """Replace the log directory."""
    runs, folder = Experiment.read(options.experiment).runs, Folder(options.results)
    cohorts = [run.model.cohort.name for run in runs]
    settings = [
        dict(run.point) | ({"cohort": cohort} if cohort else {}) for run, cohort in zip(runs, cohorts, strict=True)
    ]
    shutil.rmtree(options.output, ignore_errors=True)
    export_runs([folder.run(run.path) for run in runs], [run.path for run in runs], options.output, settings)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--experiment", type=Path, required=True, help="experiment.json: which runs there are")
    arguments.add_argument("--results", type=Path, required=True, help="folder of the experiment, which has its runs")
    arguments.add_argument("--output", type=Path, required=True, help="TensorBoard log directory")
    cli.run(main, arguments)
