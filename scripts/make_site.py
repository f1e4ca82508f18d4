"""Make the folder of one site: its own images and the shared validation set, their table and a data card."""

from pathlib import Path

from fedxray.core import cli
from fedxray.core.files import read_json
from fedxray.data.site import make_site, origin


def main(options):
    """Write the three files."""
    provenance = origin([read_json(path) for path in options.summary], options.fit)
    provenance |= {"split": read_json(options.split_settings)}
    make_site(options.split, options.pixels, options.site, options.output, provenance)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--split", type=Path, required=True, help="split.csv")
    arguments.add_argument("--pixels", type=Path, nargs="+", required=True, help="pixels.npy of each source")
    arguments.add_argument("--site", required=True, help="name of the site, or `shared`")
    arguments.add_argument("--summary", type=Path, nargs="+", required=True, help="catalogue.json of each source")
    arguments.add_argument("--fit", choices=["stretch", "pad"], required=True, help="how images became squares")
    arguments.add_argument("--split-settings", type=Path, required=True, help="split.json: the settings of the split")
    arguments.add_argument("--output", type=Path, required=True, help="folder of the site's data")
    cli.run(main, arguments)
