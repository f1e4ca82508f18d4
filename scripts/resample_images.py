"""Resample every image of the catalogue to a square of 8-bit grey, into one array file."""

from pathlib import Path

from fedxray.core import cli
from fedxray.data.pixels import resample


def main(options):
    """Write the array."""
    resample(options.source, options.catalogue, options.size, options.processes, options.output)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--source", type=Path, required=True, help="zip, directory or manifest.csv")
    arguments.add_argument("--catalogue", type=Path, required=True, help="catalogue.csv")
    arguments.add_argument("--size", type=int, required=True, help="pixels of a side")
    arguments.add_argument("--processes", type=int, default=1)
    arguments.add_argument("--output", type=Path, required=True, help="pixels.npy")
    cli.run(main, arguments)
