"""Catalogue the images of a source: one row per image, with its patient."""

from pathlib import Path

from fedxray.core import cli
from fedxray.core.files import write_json, write_table
from fedxray.data.catalogue import build_catalogue


def main(options):
    """Write the catalogue and its summary."""
    table, summary = build_catalogue(options.source, options.bad_images, options.processes)
    write_json(options.summary, summary)
    write_table(options.output, table)
    print(f"{summary['images']} images of {summary['patients']} patients, {len(summary['dropped'])} dropped")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--source", type=Path, required=True, help="zip, directory or manifest.csv")
    arguments.add_argument("--bad-images", choices=["stop", "drop"], default="stop", help="images that cannot be read")
    arguments.add_argument("--processes", type=int, default=1)
    arguments.add_argument("--output", type=Path, required=True, help="catalogue.csv")
    arguments.add_argument("--summary", type=Path, required=True, help="catalogue.json: counts and checksum")
    cli.run(main, arguments)
