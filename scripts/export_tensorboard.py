"""Write every run's curves and hyper-parameters as TensorBoard events, under readable names, over epochs."""

import shutil
from pathlib import Path

from fedxray.core import cli
from fedxray.experiment.experiment import Experiment
from fedxray.experiment.folder import Folder
from fedxray.report.tensorboard import export_runs


def main(options):
    """Replace the log directory."""
    experiment, folder = Experiment.read(options.experiment), Folder(options.results)
    runs = list({run.path: run for run in (*experiment.jobs, *experiment.runs)}.values())
    settings = [_settings(run) for run in runs]
    shutil.rmtree(options.output, ignore_errors=True)
    export_runs([folder.run(run.path) for run in runs], [run.path for run in runs], options.output, settings)


def _settings(run):
    """What tells a run from others, beside its record's values."""
    federated = run.trained_as in ("federated", "coalition")
    values = run.point | ({"method": run.method.slug} | run.method.numbers if federated else {})
    return values | ({"cohort": run.model.cohort.name} if run.model.cohort.name else {})


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--experiment", type=Path, required=True, help="experiment.json: which runs there are")
    arguments.add_argument("--results", type=Path, required=True, help="folder of the experiment, which has its runs")
    arguments.add_argument("--output", type=Path, required=True, help="TensorBoard log directory")
    cli.run(main, arguments)
