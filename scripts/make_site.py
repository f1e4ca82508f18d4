"""Make the folder of one site: its own images and the shared validation set, their table and a data card."""

import math
from pathlib import Path

from fedxray.core import cli
from fedxray.core.files import read_json
from fedxray.data.site import make_site, origin
from fedxray.data.trouble import Trouble
from fedxray.experiment.sweep import TROUBLES


def main(options):
    """Write the three files."""
    provenance = origin([read_json(path) for path in options.summary], options.fit)
    provenance |= {"split": read_json(options.split_settings)}
    make_site(options.split, options.pixels, options.site, options.output, provenance, trouble_of(options))


def trouble_of(options):
    """The trouble on purpose, if there is any. Its draws are by the seed of the split."""
    if options.trouble_kind == "none":
        return None
    seed = read_json(options.split_settings)["seed"]
    return Trouble(options.trouble_kind, options.trouble_site, options.trouble_share, seed)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--split", type=Path, required=True, help="split.csv")
    arguments.add_argument("--pixels", type=Path, nargs="+", required=True, help="pixels.npy of each source")
    arguments.add_argument("--site", required=True, help="name of the site, or `shared`")
    arguments.add_argument("--summary", type=Path, nargs="+", required=True, help="catalogue.json of each source")
    arguments.add_argument("--fit", choices=["stretch", "pad"], required=True, help="how images became squares")
    arguments.add_argument("--split-settings", type=Path, required=True, help="split.json: the settings of the split")
    group = arguments.add_argument_group("trouble on purpose", "as in config.yaml, which says what each is")
    group.add_argument("--trouble-kind", choices=[*TROUBLES], default="none")
    group.add_argument("--trouble-site", help="the hospital that has it")
    group.add_argument("--trouble-share", type=float, default=math.nan, help="of labels and clipped")
    arguments.add_argument("--output", type=Path, required=True, help="folder of the site's data")
    cli.run(main, arguments)
