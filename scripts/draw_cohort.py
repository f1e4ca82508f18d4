"""Draw which patient is in which split and at which site."""

import json
from pathlib import Path

from fedxray.core import cli
from fedxray.core.files import read_table, write_json, write_table
from fedxray.data.cohort import PARTITIONS, draw_cohort

SETTINGS = (
    *("seed", "test", "test_fraction", "validation_fraction", "balance"),
    *("partition", "alpha", "power", "viral_share"),
)


def main(options):
    """Write the split, and the settings that it was drawn with."""
    settings = {name: getattr(options, name) for name in SETTINGS}
    table = draw_cohort(read_table(options.catalogue), options.sites, **settings)
    write_json(options.settings, settings)
    write_table(options.output, table)


def number(text):
    """A number as it is written, so that the data cards say 1 where the configuration does, and not 1.0."""
    return json.loads(text)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--catalogue", type=Path, required=True, help="catalogue.csv")
    arguments.add_argument("--sites", nargs="+", required=True, help="names of the sites")
    arguments.add_argument("--seed", type=int, required=True)
    arguments.add_argument("--test", choices=["redraw", "official"], default="redraw")
    arguments.add_argument("--test-fraction", type=number, default=0.2)
    arguments.add_argument("--validation-fraction", type=number, default=0.1)
    arguments.add_argument("--balance", choices=["none", "undersample", "weighted_loss"], default="none")
    arguments.add_argument("--partition", choices=PARTITIONS, default="iid")
    arguments.add_argument("--alpha", type=number, default=0.5, help="of dirichlet: the smaller, the more skew")
    arguments.add_argument("--power", type=number, default=1.0, help="of quantity: site r gets r^-power of the images")
    arguments.add_argument("--viral-share", type=number, default=0.8, help="of aetiology: what the last site gets")
    arguments.add_argument("--settings", type=Path, required=True, help="split.json: these settings")
    arguments.add_argument("--output", type=Path, required=True, help="split.csv")
    cli.run(main, arguments)
