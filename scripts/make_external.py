"""Make the folder of an external test: all images of a source on which no hospital trains, as a test set.

An image that hospitals train on is refused, and so is a patient, where both sources are of one data set.
"""

from pathlib import Path

from fedxray.core import cli
from fedxray.data.external import make_external


def main(options):
    """Write the split and the site's three files."""
    training = list(zip(options.training, options.training_pixels, strict=True))
    sources = options.catalogue, options.pixels, options.summary
    make_external(options.name, *sources, training, options.same_patients, options.split, options.output, options.fit)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--name", required=True, help="name of the external test")
    arguments.add_argument("--catalogue", type=Path, required=True, help="its catalogue.csv")
    arguments.add_argument("--pixels", type=Path, required=True, help="its pixels.npy")
    arguments.add_argument("--summary", type=Path, required=True, help="its catalogue.json: what the data are made of")
    arguments.add_argument("--training", type=Path, nargs="+", required=True, help="catalogue.csv of each other source")
    arguments.add_argument(
        "--training-pixels", type=Path, nargs="+", required=True, help="pixels.npy of each, in order"
    )
    arguments.add_argument(
        "--same-patients",
        type=Path,
        nargs="*",
        default=[],
        help="those of --training whose patients have the same keys",
    )
    arguments.add_argument("--fit", choices=["stretch", "pad"], required=True, help="how images became squares")
    arguments.add_argument("--split", type=Path, required=True, help="split.csv, to write")
    arguments.add_argument("--output", type=Path, required=True, help="folder of the test's data")
    cli.run(main, arguments)
