"""Train one model on the training images of each site alone, one site after the other."""

from dataclasses import replace
from pathlib import Path

from fedxray.core import cli
from fedxray.core.files import sha256
from fedxray.data.site import train_images
from fedxray.experiment import privacy, settings
from fedxray.experiment.folder import RunFolder
from fedxray.federation import policy
from fedxray.federation.pooled import Pooled
from fedxray.runs import train_alone
from fedxray.training.mechanism import mechanism_at


def main(options):
    """Train, and write each site's run into a folder below `options.output`."""
    values, folders = settings.from_options(options), [card.parent for card in options.sites]
    noise = mechanism_at(privacy.from_options(options), folders)
    schedule = policy.alone(values.epochs, options.budget, train_images(folders), values.batch_size, noise)
    for number, folder in enumerate(folders, 1):
        print(f"{folder.name} alone ({number} of {len(folders)})")
        name, initial = folder.name, options.initial
        if initial and initial.is_dir():  # each site goes on from a model of its own
            initial = RunFolder(initial / name).model
            values = replace(values, initial=sha256(initial))
        engine = Pooled(name, [folder], own=True, noise=noise, initial=initial)
        train_alone(engine, values, schedule, options.output / name, options.live / name)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--sites", type=Path, nargs="+", required=True, help="card.json of each site's directory")
    arguments.add_argument("--output", type=Path, required=True, help="folder that gets a run's folder for each site")
    arguments.add_argument("--live", type=Path, required=True, help="for TensorBoard: a folder for each run below")
    policy.add_budget(arguments)
    settings.add_options(arguments)
    privacy.add_options(arguments)
    cli.run(main, arguments)
