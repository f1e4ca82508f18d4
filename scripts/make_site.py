"""Make the directory of one site: its own images and the shared validation set, their table and a data card."""

import json
from pathlib import Path

from fedxray.core import cli
from fedxray.core.files import read_json
from fedxray.data.site import make_site


def main(options):
    """Write the three files."""
    provenance = json.loads(options.provenance)
    if options.summary:
        summary = read_json(options.summary)
        provenance |= {"source_sha256": summary["sha256"], "synthetic": summary["synthetic"]}
    make_site(options.split, options.pixels, options.site, options.images, options.table, options.card, provenance)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--split", type=Path, required=True, help="split.csv")
    arguments.add_argument("--pixels", type=Path, required=True, help="pixels.npy")
    arguments.add_argument("--site", required=True, help="name of the site, or `shared`")
    arguments.add_argument("--images", type=Path, required=True, help="images.npy")
    arguments.add_argument("--table", type=Path, required=True, help="images.csv")
    arguments.add_argument("--card", type=Path, required=True, help="card.json")
    arguments.add_argument("--summary", type=Path, help="catalogue.json: what the data are made of")
    arguments.add_argument("--provenance", default="{}", help="JSON for the card, such as the seed of the split")
    cli.run(main, arguments)
