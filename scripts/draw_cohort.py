"""Draw which patient is in which split and at which site."""

from pathlib import Path

from fedxray.core import cli
from fedxray.core.files import read_table, write_table
from fedxray.data.cohort import PARTITIONS, draw_cohort


def main(options):
    """Write the split."""
    table = draw_cohort(
        read_table(options.catalogue),
        options.sites,
        options.seed,
        options.test,
        options.test_fraction,
        options.validation_fraction,
        options.balance,
        options.partition,
        options.alpha,
        options.power,
        options.viral_share,
    )
    write_table(options.output, table)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--catalogue", type=Path, required=True, help="catalogue.csv")
    arguments.add_argument("--sites", nargs="+", required=True, help="names of the sites")
    arguments.add_argument("--seed", type=int, required=True)
    arguments.add_argument("--test", choices=["redraw", "official"], default="redraw")
    arguments.add_argument("--test-fraction", type=float, default=0.2)
    arguments.add_argument("--validation-fraction", type=float, default=0.1)
    arguments.add_argument("--balance", choices=["none", "undersample", "weighted_loss"], default="none")
    arguments.add_argument("--partition", choices=PARTITIONS, default="iid")
    arguments.add_argument("--alpha", type=float, default=0.5, help="of dirichlet: the smaller, the more skew")
    arguments.add_argument("--power", type=float, default=1.0, help="of quantity: site r gets r^-power of the images")
    arguments.add_argument("--viral-share", type=float, default=0.8, help="of aetiology: what the last site gets")
    arguments.add_argument("--output", type=Path, required=True, help="split.csv")
    cli.run(main, arguments)
