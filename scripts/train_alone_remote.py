"""Train one model of each hospital alone, at that hospital, by a federation of other machines.

Each is a job of one site and one round of all epochs, which equals training there without a federation, bit for bit.
"""

from dataclasses import replace
from pathlib import Path

from fedxray.federation.training import train_alone

from fedxray.core import cli
from fedxray.experiment.settings import parse_settings
from fedxray.flare.remote import add_options, from_options


def main(options):
    """Run the jobs, and write each site's run."""
    federation, settings = from_options(options), parse_settings(options.settings)
    for site in federation.sites:
        print(f"{site} alone")
        live = f"{options.live}/{site}" if options.live else ""
        train_alone(replace(federation, sites=[site]), settings, options.output / site, live=live)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    add_options(arguments)
    arguments.add_argument("--settings", required=True, help="fields of fedxray.experiment.settings.Settings, as JSON")
    arguments.add_argument("--live", default="", help="folder of these runs below the server's TensorBoard folder")
    arguments.add_argument("--output", type=Path, required=True, help="folder that gets a run's folder for each site")
    cli.run(main, arguments)
