"""Train one model by federated averaging in one process, equal bit for bit to a federation's, without its network."""

from pathlib import Path

from fedxray.federation.training import train_in_process

from fedxray.core import cli
from fedxray.experiment.settings import parse_settings


def main(options):
    """Train, and write the run."""
    sites = {card.parent.name: card.parent for card in options.sites}
    schedule = options.rounds, options.local_epochs
    settings = parse_settings(options.settings)
    train_in_process(sites, options.shared.parent, settings, *schedule, options.output.parent)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--sites", type=Path, nargs="+", required=True, help="card.json of each site's directory")
    arguments.add_argument("--shared", type=Path, required=True, help="card.json of the shared validation set")
    arguments.add_argument("--settings", required=True, help="fields of fedxray.experiment.settings.Settings, as JSON")
    arguments.add_argument("--rounds", type=int, required=True)
    arguments.add_argument("--local-epochs", type=int, required=True, help="passes over a site's data in each round")
    arguments.add_argument("--output", type=Path, required=True, help="model.safetensors; the rest lies beside it")
    cli.run(main, arguments)
