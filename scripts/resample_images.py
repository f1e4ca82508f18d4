"""Resample every image of the catalogue to a square of 8-bit grey, into one array file."""

from pathlib import Path

from fedxray.core import cli
from fedxray.core.files import read_json
from fedxray.data.pixels import resample


def main(options):
    """Write the array. Images of more than 8 bits have the range of greys that the catalogue's summary says."""
    greys = read_json(options.summary)["greys"]
    files = options.source, options.catalogue
    resample(*files, options.size, options.processes, options.output, fit=options.fit, greys=greys)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--source", type=Path, required=True, help="zip, directory or manifest.csv")
    arguments.add_argument("--catalogue", type=Path, required=True, help="catalogue.csv")
    arguments.add_argument("--summary", type=Path, required=True, help="catalogue.json")
    arguments.add_argument("--size", type=int, required=True, help="pixels of a side")
    arguments.add_argument("--fit", choices=["stretch", "pad"], required=True, help="how an image becomes a square")
    arguments.add_argument("--processes", type=int, default=1)
    arguments.add_argument("--output", type=Path, required=True, help="pixels.npy")
    cli.run(main, arguments)
