"""Train one model by a remote federation.

This machine has the admin's startup kit, and sees no site's data. The script takes up a job of the same content that
runs there already, or whose result nobody fetched; a job that was cut short goes on after its last round.
"""

from dataclasses import replace
from pathlib import Path

from fedxray.core import cli
from fedxray.data.registry import train_images
from fedxray.experiment import method, privacy, settings
from fedxray.federation import policy
from fedxray.flare.options import add_absence, add_registered, remote_of
from fedxray.runs import train_run
from fedxray.training.mechanism import mechanism_registered


def main(options):
    """Run the job, and write the run into the folder of `options.output`."""
    values, way = settings.from_options(options), method.from_options(options)
    noise = mechanism_registered(privacy.from_options(options), options.registry, options.sites)
    engine = replace(remote_of(options, options.live), noise=noise, initial=options.initial)
    schedule = policy.from_options(options, values, way, train_images(options.registry, engine.sites), noise)
    train_run(engine, "federated", values, way, schedule, options.output.parent)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    add_registered(arguments)
    add_absence(arguments)
    policy.add_options(arguments)
    method.add_options(arguments)
    arguments.add_argument("--live", default="", help="folder for this run, below the server's TensorBoard folder")
    arguments.add_argument("--output", type=Path, required=True, help="model.safetensors; the rest lies beside it")
    settings.add_options(arguments)
    privacy.add_options(arguments)
    cli.run(main, arguments)
