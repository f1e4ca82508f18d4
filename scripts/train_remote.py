"""Train one model by the federated averaging of a federation of other machines.

This machine has the admin's startup kit, and sees no site's data. A job of the same content that runs there already, or
that has finished and was not fetched, is taken up; one that was cut short goes on after its last round.
"""

from pathlib import Path

from fedxray.federation.training import train_federation

from fedxray.core import cli
from fedxray.experiment.settings import parse_settings
from fedxray.flare.remote import add_options, from_options


def main(options):
    """Run the job, and write the run."""
    schedule = parse_settings(options.settings), options.rounds, options.local_epochs
    train_federation(from_options(options), *schedule, options.output.parent, live=options.live)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    add_options(arguments)
    arguments.add_argument("--settings", required=True, help="fields of fedxray.experiment.settings.Settings, as JSON")
    arguments.add_argument("--rounds", type=int, required=True)
    arguments.add_argument("--local-epochs", type=int, required=True, help="passes over a site's data in each round")
    arguments.add_argument("--live", default="", help="folder of this run below the server's TensorBoard folder")
    arguments.add_argument("--output", type=Path, required=True, help="model.safetensors; the rest lies beside it")
    cli.run(main, arguments)
