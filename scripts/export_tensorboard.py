"""Write every run's curves and hyper-parameters as TensorBoard events, under readable names, over epochs."""

import json
import shutil
from pathlib import Path

from fedxray.core import cli
from fedxray.experiment.sweep import runs
from fedxray.report.tensorboard import export_runs


def main(options):
    """Replace the log directory."""
    found = runs(json.loads(options.experiment))
    settings = [run.values | ({"cohort": run.cohort.rstrip("/")} if run.cohort else {}) for run in found]
    names = [run.path for run in found]
    shutil.rmtree(options.output, ignore_errors=True)
    export_runs([options.runs / name for name in names], names, options.output, settings)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument(
        "--experiment", required=True, help="the configuration as JSON: its sites, seeds, sweep, ..."
    )
    arguments.add_argument("--runs", type=Path, required=True, help="the folder of all runs; below it is a run's name")
    arguments.add_argument("--output", type=Path, required=True, help="TensorBoard log directory")
    cli.run(main, arguments)
