"""Train one model by a federation: server and sites as processes of their own, from their startup kits, over mTLS."""

from pathlib import Path

from fedxray import cli
from fedxray.federation.job import Policy
from fedxray.federation.onemachine import LocalFederation
from fedxray.federation.training import train_federation
from fedxray.settings import parse_settings


def main(options):
    """Run the federation, and write the run into `options.output`."""
    federation = LocalFederation(
        kits=options.kits.parent,
        folders={card.parent.name: card.parent for card in options.sites},
        shared=options.shared.parent,
        tensorboard=options.tensorboard,
        start_timeout_s=options.start_timeout_s,
        policy=Policy(options.round_timeout_s, options.absent, options.min_sites),
    )
    schedule = options.rounds, options.local_epochs
    train_federation(federation, parse_settings(options.settings), *schedule, options.output.parent)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--kits", type=Path, required=True, help="kits.json of provision_federation")
    arguments.add_argument("--sites", type=Path, nargs="+", required=True, help="card.json of each site's directory")
    arguments.add_argument("--shared", type=Path, required=True, help="card.json of the shared validation set")
    arguments.add_argument("--settings", required=True, help="fields of fedxray.settings.Settings, as JSON")
    arguments.add_argument("--rounds", type=int, required=True)
    arguments.add_argument("--local-epochs", type=int, required=True, help="passes over a site's data in each round")
    arguments.add_argument("--start-timeout-s", type=int, default=120, help="for all sites to register")
    arguments.add_argument("--round-timeout-s", type=int, default=3600, help="for all sites to finish a round")
    arguments.add_argument("--absent", choices=["fail", "drop"], default="fail", help="of a round without a site")
    arguments.add_argument("--min-sites", type=int, default=0, help="of drop: how many must answer; 0: all")
    arguments.add_argument("--tensorboard", type=Path, required=True, help="where the sites' scalars arrive live")
    arguments.add_argument("--output", type=Path, required=True, help="model.safetensors; the rest lies beside it")
    cli.run(main, arguments)
