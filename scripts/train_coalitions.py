"""Train a federation of each coalition of hospitals that is neither one hospital nor all, each in one process."""

from pathlib import Path

from fedxray.core import cli
from fedxray.data.site import train_images
from fedxray.experiment import method, settings
from fedxray.experiment.experiment import coalitions
from fedxray.federation import policy
from fedxray.federation.inprocess import InProcess
from fedxray.runs import train_run


def main(options):
    """Train, and write each coalition's run into a folder of its name below `options.output`."""
    values, way = settings.from_options(options), method.from_options(options)
    folders = {card.parent.name: card.parent for card in options.sites}
    names = coalitions(list(folders))
    for number, name in enumerate(names, 1):
        print(f"{name} together ({number} of {len(names)})")
        members = {site: folders[site] for site in name.split("+")}
        schedule = policy.from_options(options, values, way, train_images(list(members.values())))
        engine = InProcess(members, options.shared.parent, initial=options.initial)
        train_run(engine, "coalition", values, way, schedule, options.output / name, list(members), options.live / name)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--sites", type=Path, nargs="+", required=True, help="card.json of each site's directory")
    arguments.add_argument("--shared", type=Path, required=True, help="card.json of the shared validation set")
    arguments.add_argument(
        "--output", type=Path, required=True, help="folder that gets a run's folder for each coalition"
    )
    arguments.add_argument("--live", type=Path, required=True, help="for TensorBoard: a folder for each run below")
    policy.add_options(arguments)
    method.add_options(arguments)
    settings.add_options(arguments)
    cli.run(main, arguments)
