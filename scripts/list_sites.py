"""List the data sets of the sites: schema, counts, prevalence, checksums and provenance, one row each."""

from pathlib import Path

import pandas as pd

from fedxray.core import cli
from fedxray.core.files import read_json, write_table
from fedxray.data.site import register


def main(options):
    """Write one row per site of each cohort."""
    cohorts = {}
    for card in options.cards:
        cohorts.setdefault(card.parent.parent.name, []).append(read_json(card))
    tables = [register(cards).assign(cohort=name if "=" in name else "") for name, cards in cohorts.items()]
    write_table(options.output, pd.concat(tables))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--cards", type=Path, nargs="+", required=True, help="card.json of each site's directory")
    arguments.add_argument("--output", type=Path, required=True, help="registry.csv")
    cli.run(main, arguments)
