"""Make the folder of one site: its own images and the shared validation set, their table and a data card."""

from pathlib import Path

from fedxray.core import cli
from fedxray.core.files import read_json
from fedxray.data.site import make_site


def main(options):
    """Write the three files."""
    summary = read_json(options.summary)
    provenance = {"split": read_json(options.split_settings), "source_sha256": summary["sha256"]}
    provenance |= {"synthetic": summary["synthetic"]}
    make_site(options.split, options.pixels, options.site, options.output, provenance)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--split", type=Path, required=True, help="split.csv")
    arguments.add_argument("--pixels", type=Path, required=True, help="pixels.npy")
    arguments.add_argument("--site", required=True, help="name of the site, or `shared`")
    arguments.add_argument("--summary", type=Path, required=True, help="catalogue.json: what the data are made of")
    arguments.add_argument("--split-settings", type=Path, required=True, help="split.json: the settings of the split")
    arguments.add_argument("--output", type=Path, required=True, help="folder of the site's data")
    cli.run(main, arguments)
