"""Plot the data of each site: images by split and aetiology, prevalence, and some images as the models see them."""

import json
from pathlib import Path

from fedxray.core import cli
from fedxray.core.files import read_json
from fedxray.data.registry import note_of
from fedxray.experiment.sweep import cohorts, sites_of
from fedxray.report.figures import save
from fedxray.report.figures.data import gallery, site_data


def main(options):
    """Draw both figures; the gallery is of the first cohort, whose images the others share out differently."""
    experiment = json.loads(options.experiment)
    folders = {
        cohort: [options.sites / cohort / site for site in sites_of(cohort, experiment)]
        for cohort in cohorts(experiment)
    }
    cards = {
        cohort.rstrip("/"): [read_json(folder / "card.json") for folder in sites] for cohort, sites in folders.items()
    }
    note = note_of(options.registry)
    save(site_data(cards), options.output, "sites", note)
    save(gallery(next(iter(folders.values()))), options.output, "gallery", note)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument(
        "--experiment", required=True, help="the configuration as JSON: its sites, seeds, sweep, ..."
    )
    arguments.add_argument("--sites", type=Path, required=True, help="the folder of all sites' data")
    arguments.add_argument("--registry", type=Path, required=True, help="registry.csv of the data")
    arguments.add_argument("--output", type=Path, required=True, help="folder of the figures")
    cli.run(main, arguments)
