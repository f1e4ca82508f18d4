"""Train one model on the union of the sites' training images."""

from pathlib import Path

from fedxray.core import cli
from fedxray.experiment import privacy, settings
from fedxray.experiment.experiment import POOLED
from fedxray.experiment.method import PLAIN
from fedxray.federation import policy
from fedxray.federation.pooled import Pooled
from fedxray.runs import train_run
from fedxray.training.mechanism import mechanism_at


def main(options):
    """Train, and write the run into the folder of `options.output`."""
    values, folders = settings.from_options(options), [card.parent for card in options.sites]
    noise, names = mechanism_at(privacy.from_options(options), folders), [folder.name for folder in folders]
    schedule = policy.alone(values.epochs, "passes", {}, 0, noise)
    engine, output = Pooled(POOLED, folders, noise=noise, initial=options.initial), options.output.parent
    train_run(engine, "central", values, PLAIN, schedule, output, names, options.live)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--sites", type=Path, nargs="+", required=True, help="card.json of each site's directory")
    arguments.add_argument("--output", type=Path, required=True, help="model.safetensors; the rest lies beside it")
    arguments.add_argument("--live", type=Path, required=True, help="folder for TensorBoard while it trains")
    settings.add_options(arguments)
    privacy.add_options(arguments)
    cli.run(main, arguments)
