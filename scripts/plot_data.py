"""Plot the data of each site: images by split and aetiology, prevalence, and some images as the models see them."""

from pathlib import Path

from fedxray.analysis.cohorts import cohorts_of
from fedxray.core import cli
from fedxray.core.files import read_json
from fedxray.data.registry import note_of
from fedxray.data.site import SiteFolder
from fedxray.experiment.folder import Folder
from fedxray.report.figures import save
from fedxray.report.figures.data import gallery, site_data


def main(options):
    """Draw both figures. The gallery is of the first cohort: the others have the same images at other sites."""
    folder = Folder(options.results)
    sites = {
        name: {site: SiteFolder(folder.site(cohort, site)) for site in cohort.sites}
        for name, cohort in cohorts_of(folder).items()
    }
    cards = {name: [read_json(site.card) for site in cohort.values()] for name, cohort in sites.items()}
    note = note_of(folder.registry)
    save(site_data(cards), folder.figure("sites"), note)
    save(gallery(next(iter(sites.values()))), folder.figure("gallery"), note)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument(
        "--results", type=Path, required=True, help="folder of the experiment: has cohort/ and sites/, gets figures/"
    )
    cli.run(main, arguments)
