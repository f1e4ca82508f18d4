"""Train one model by a federation of other machines, to whose server this one has the admin's startup kit.

With several sites by federated averaging; with `--alone` one hospital's own model, trained at that hospital: one round
of all epochs, which equals training there without a federation, bit for bit.
"""

from pathlib import Path

from fedxray import cli
from fedxray.federation.remote import add_options, from_options
from fedxray.federation.training import train_alone, train_federation
from fedxray.runs import parse_settings


def main(options):
    """Submit the job, or take it up where it was, and write the run into `options.output`."""
    federation, settings = from_options(options), parse_settings(options.settings)
    if options.alone:
        train_alone(federation, settings, options.output, live=options.live)
    else:
        train_federation(federation, settings, options.rounds, options.local_epochs, options.output, live=options.live)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    add_options(arguments)
    arguments.add_argument("--settings", required=True, help="fields of fedxray.training.Settings, as JSON")
    arguments.add_argument("--rounds", type=int, default=1)
    arguments.add_argument("--local-epochs", type=int, default=1, help="passes over a site's data in each round")
    arguments.add_argument(
        "--alone", action="store_true", help="the one site's own model, of all epochs of the settings"
    )
    arguments.add_argument("--live", default="", help="folder of this run below the server's TensorBoard folder")
    arguments.add_argument("--output", type=Path, required=True, help="directory of the run")
    cli.run(main, arguments)
