"""Draw the synthetic data set: a zip of chest radiographs in Kaggle's layout and naming."""

from pathlib import Path

from fedxray.core import cli
from fedxray.data.drawing import draw_phantom


def main(options):
    """Write the zip."""
    draw_phantom(options.output, options.patients, options.seed, options.processes, options.second, options.pneumonia)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--patients", type=int, default=800)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--second", type=int, default=0, help="patients of a second wave")
    arguments.add_argument("--pneumonia", type=float, default=0.6, help="share of these with pneumonia")
    arguments.add_argument("--processes", type=int, default=1)
    arguments.add_argument("--output", type=Path, required=True, help="zip to write")
    cli.run(main, arguments)
