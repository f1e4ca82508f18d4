"""Train one model by a federation: server and sites as processes of their own, from their startup kits, over mTLS."""

from pathlib import Path

from fedxray.federation.training import train_federation

from fedxray.core import cli
from fedxray.experiment.settings import parse_settings
from fedxray.flare.job import add_policy, policy_of
from fedxray.flare.one_host import LocalFederation


def main(options):
    """Run the federation, and write the run into `options.output`."""
    federation = LocalFederation(
        kits=options.kits.parent,
        folders={card.parent.name: card.parent for card in options.sites},
        shared=options.shared.parent,
        tensorboard=options.tensorboard,
        start_timeout_s=options.start_timeout_s,
        policy=policy_of(options),
    )
    schedule = options.rounds, options.local_epochs
    train_federation(federation, parse_settings(options.settings), *schedule, options.output.parent)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--kits", type=Path, required=True, help="kits.json of provision_federation")
    arguments.add_argument("--sites", type=Path, nargs="+", required=True, help="card.json of each site's directory")
    arguments.add_argument("--shared", type=Path, required=True, help="card.json of the shared validation set")
    arguments.add_argument("--settings", required=True, help="fields of fedxray.experiment.settings.Settings, as JSON")
    arguments.add_argument("--rounds", type=int, required=True)
    arguments.add_argument("--local-epochs", type=int, required=True, help="passes over a site's data in each round")
    add_policy(arguments)
    arguments.add_argument("--tensorboard", type=Path, required=True, help="where the sites' scalars arrive live")
    arguments.add_argument("--output", type=Path, required=True, help="model.safetensors; the rest lies beside it")
    cli.run(main, arguments)
