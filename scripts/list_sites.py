"""List the data sets of the sites: schema, counts, prevalence, checksums and provenance, one row each."""

from pathlib import Path

from fedxray.core import cli
from fedxray.core.files import read_json, write_table
from fedxray.data.registry import tabulate_cohorts


def main(options):
    """Write one row per site of each cohort."""
    cohorts = {}
    for card, cohort in zip(options.cards, options.cohorts, strict=True):
        cohorts.setdefault(cohort, []).append(read_json(card))
    write_table(options.output, tabulate_cohorts(cohorts))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--cards", type=Path, nargs="+", required=True, help="card.json of each site's folder")
    arguments.add_argument("--cohorts", nargs="+", required=True, help="the name of each card's cohort; '' if only one")
    arguments.add_argument("--output", type=Path, required=True, help="registry.csv")
    cli.run(main, arguments)
