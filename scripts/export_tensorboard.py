"""Write every run's curves and hyper-parameters as TensorBoard events, under readable names, over epochs."""

import shutil
from pathlib import Path

from fedxray import cli
from fedxray.tensorboard import export_runs


def main(options):
    """Replace the log directory."""
    shutil.rmtree(options.output, ignore_errors=True)
    export_runs(options.runs, [run.as_posix().rpartition("/runs/")[2] for run in options.runs], options.output)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument(
        "--runs", type=Path, nargs="+", required=True, help="directories of runs; below runs/ is the name"
    )
    arguments.add_argument("--output", type=Path, required=True, help="TensorBoard log directory")
    cli.run(main, arguments)
