"""Train one model by a federation on this machine: server and sites are processes that talk over mutual TLS."""

from dataclasses import replace
from pathlib import Path

from fedxray.core import cli
from fedxray.data.site import train_images
from fedxray.experiment import method, privacy, settings
from fedxray.federation import policy
from fedxray.flare.options import add_one_host, one_host_of
from fedxray.runs import train_run
from fedxray.training.mechanism import mechanism_at


def main(options):
    """Run the federation, and write the run into the folder of `options.output`."""
    values, way = settings.from_options(options), method.from_options(options)
    folders = [card.parent for card in options.sites]
    noise = mechanism_at(privacy.from_options(options), folders)
    schedule = policy.from_options(options, values, way, train_images(folders), noise)
    engine = replace(one_host_of(options), noise=noise, initial=options.initial)
    train_run(engine, "federated", values, way, schedule, options.output.parent)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    add_one_host(arguments)
    policy.add_options(arguments)
    method.add_options(arguments)
    arguments.add_argument("--output", type=Path, required=True, help="model.safetensors; the rest lies beside it")
    settings.add_options(arguments)
    privacy.add_options(arguments)
    cli.run(main, arguments)
