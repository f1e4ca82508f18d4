"""Check that no patient is in two splits or two sites and that every site has both classes; write the counts."""

from pathlib import Path

from fedxray.core import cli
from fedxray.core.files import read_table, write_json, write_table
from fedxray.data.cohort import check_split, heterogeneity


def main(options):
    """Write the counts of a split that passes, and how unlike its sites are."""
    table = read_table(options.split)
    write_table(options.output, check_split(table, options.sites))
    write_json(options.heterogeneity, heterogeneity(table, options.sites))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--split", type=Path, required=True, help="split.csv")
    arguments.add_argument("--sites", nargs="+", required=True, help="names of the sites")
    arguments.add_argument("--output", type=Path, required=True, help="counts.csv")
    arguments.add_argument("--heterogeneity", type=Path, required=True, help="heterogeneity.json")
    cli.run(main, arguments)
