"""Train one model by a federation in one process. It equals that of a federation of processes bit for bit."""

from pathlib import Path

from fedxray.core import cli
from fedxray.data.site import train_images
from fedxray.experiment import method, privacy, settings
from fedxray.federation import policy
from fedxray.federation.inprocess import InProcess
from fedxray.runs import train_run
from fedxray.training.mechanism import mechanism_at


def main(options):
    """Train, and write the run into the folder of `options.output`."""
    values, way = settings.from_options(options), method.from_options(options)
    folders = {card.parent.name: card.parent for card in options.sites}
    noise = mechanism_at(privacy.from_options(options), folders.values())
    schedule = policy.from_options(options, values, way, train_images(folders.values()), noise)
    engine = InProcess(folders, options.shared.parent, noise, options.initial)
    train_run(engine, "federated", values, way, schedule, options.output.parent, live=options.live)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--sites", type=Path, nargs="+", required=True, help="card.json of each site's directory")
    arguments.add_argument("--shared", type=Path, required=True, help="card.json of the shared validation set")
    arguments.add_argument("--live", type=Path, required=True, help="folder for TensorBoard while it trains")
    policy.add_options(arguments)
    method.add_options(arguments)
    arguments.add_argument("--output", type=Path, required=True, help="model.safetensors; the rest lies beside it")
    settings.add_options(arguments)
    privacy.add_options(arguments)
    cli.run(main, arguments)
