"""Federated averaging in one process, without a network: for sweeps, equal bit for bit to the federation's."""

from collections.abc import Callable
from pathlib import Path

from fedxray.core.parameters import Parameters
from fedxray.data.site import load_site
from fedxray.experiment.settings import Settings
from fedxray.federation.records import line_of
from fedxray.federation.rounds import ServerRounds, SiteRounds


def train(
    sites: dict[str, Path], shared: Path, settings: Settings, rounds: int, local_epochs: int, say: Callable = print
) -> tuple[Parameters, list[dict]]:
    """Train on the directories of `sites` and `shared`; returns the model and the record of each round."""
    server = ServerRounds(settings, local_epochs, load_site(shared).part("validation"))
    parts = {site: SiteRounds(settings, local_epochs, load_site(folder)) for site, folder in sites.items()}
    records = []
    for number in range(rounds):
        parameters = server.parameters
        records.append(server.aggregate(number, {site: part.train(parameters, number) for site, part in parts.items()}))
        say(line_of(records[-1], rounds))
    return server.parameters, records
