"""Train one model of each hospital alone, at that hospital, by a remote federation.

Each is a job of one site, whose optimizer goes on from round to round. So it equals training there without a
federation, bit for bit. With --stays the site trains without a federation, and keeps the model: only its curve leaves.
"""

from pathlib import Path

from fedxray.core import cli
from fedxray.data.registry import train_images
from fedxray.experiment import privacy, settings
from fedxray.federation import policy
from fedxray.flare.options import add_registered, remote_of
from fedxray.flare.remote import Remote, RemoteAlone
from fedxray.runs import train_alone
from fedxray.training.mechanism import mechanism_registered


def main(options):
    """Run the jobs, and write each site's run into a folder below `options.output`."""
    engine, values = remote_of(options), settings.from_options(options)
    images = train_images(options.registry, engine.sites)
    noise = mechanism_registered(privacy.from_options(options), options.registry, engine.sites)
    schedule = policy.alone(values.epochs, options.budget, images, values.batch_size, noise)
    kind = RemoteAlone if options.stays else Remote
    for site in engine.sites:
        print(f"{site} alone")
        live = f"{options.live}/{site}" if options.live else ""
        one = kind(
            **vars(engine) | {"sites": [site], "own": True, "live": live, "noise": noise, "initial": options.initial}
        )
        train_alone(one, values, schedule, options.output / site)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    add_registered(arguments)
    arguments.add_argument("--live", default="", help="folder for these runs, below the server's TensorBoard folder")
    arguments.add_argument("--output", type=Path, required=True, help="folder that gets a run's folder for each site")
    arguments.add_argument("--stays", action="store_true", help="let each model stay at its site, and take its curve")
    policy.add_budget(arguments)
    settings.add_options(arguments)
    privacy.add_options(arguments)
    cli.run(main, arguments)
