"""Draw which patient is in which split and at which site."""

from pathlib import Path

import yaml

from fedxray.core import cli
from fedxray.core.files import write_json, write_table
from fedxray.data.catalogue import join, read_catalogue
from fedxray.data.cohort import PARTITIONS, draw_cohort

CONFIG = Path(__file__).parents[1] / "config" / "config.yaml"


def main(options):
    """Write the split, and the settings by which it was drawn."""
    names = ("seed", "test", "test_fraction", "validation_fraction", "balance")
    names += ("partition", "alpha", "power", "viral_share", "conflicts")
    settings = {name: getattr(options, name) for name in names}
    waves = {"train_waves": options.train_waves} if options.train_waves else {}
    sources = options.sources or [""] * len(options.catalogue)
    catalogues = {name: read_catalogue(path) for name, path in zip(sources, options.catalogue, strict=True)}
    catalogue = join(catalogues, dict(zip(sources, options.patients or sources, strict=True)))
    write_table(options.output, draw_cohort(catalogue, options.sites, **settings, **waves))
    if options.settings:
        write_json(options.settings, settings | waves)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--catalogue", type=Path, nargs="+", required=True, help="catalogue.csv of each source")
    arguments.add_argument("--sources", nargs="+", help="names of the sources, if there are several")
    arguments.add_argument(
        "--patients", nargs="+", help="whose patients each source has: in sources of one name a key is one person"
    )
    arguments.add_argument("--sites", nargs="+", required=True, help="names of the sites")
    group = arguments.add_argument_group("settings of the split", "as in config.yaml, which says what each is")
    group.add_argument("--seed", type=int)
    group.add_argument("--test", choices=["redraw", "official"])
    group.add_argument("--test-fraction", type=float)
    group.add_argument("--validation-fraction", type=float)
    group.add_argument("--balance", choices=["none", "undersample", "weighted_loss"])
    group.add_argument("--partition", choices=PARTITIONS)
    group.add_argument("--alpha", type=float, help="of dirichlet: the smaller, the more skew")
    group.add_argument("--power", type=float, help="of quantity: site r gets r^-power of the images")
    group.add_argument("--viral-share", type=float, help="of aetiology: what the last site gets")
    group.add_argument("--conflicts", choices=["stop", "merge", "first"], help="a patient in two places")
    # By hand, what is not given is as in the configuration's defaults; the workflow gives all.
    arguments.set_defaults(**yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["split"])
    arguments.add_argument("--train-waves", type=int, nargs="+", help="waves of the training images; by default all")
    arguments.add_argument("--output", type=Path, required=True, help="split.csv")
    arguments.add_argument("--settings", type=Path, help="split.json: these settings, for the data cards")
    cli.run(main, arguments)
