"""Federated averaging in this process, without a network: equal bit for bit to a federation of processes.

Central training, and training of one hospital alone, are the same thing with one site and one round of all epochs: the
mean of one model is that model.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedxray.core.files import read_json
from fedxray.core.machine import EnergyMeter
from fedxray.core.parameters import load_model
from fedxray.data.labels import SHARED
from fedxray.data.site import load_site, pool
from fedxray.experiment.settings import Settings
from fedxray.federation.engine import Evaluated, Model, Trained
from fedxray.federation.policy import Schedule
from fedxray.federation.records import epoch_line, round_line
from fedxray.federation.rounds import ServerRounds, SiteRounds
from fedxray.training.metrics import choose_threshold, evaluate
from fedxray.training.models import restore
from fedxray.training.place import place_of
from fedxray.training.trainer import EpochRow, predict

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InProcess:
    """An engine (`fedxray.federation.engine.Engine`) of sites whose data lie on this machine."""

    folders: Mapping[str, Sequence[Path]]  # {site: its directories of data}; of several the union of training images
    validation: Path  # the directory that has the validation set

    name = "inprocess"

    @property
    def sites(self) -> list[str]:
        """Their names."""
        return list(self.folders)

    def train(self, settings: Settings, schedule: Schedule, scratch: Path | None = None) -> Trained:
        """Train one model; says a line for each round, or for each epoch if one site trains in one round."""
        meter, alone = EnergyMeter(), schedule.rounds == len(self.folders) == 1
        schedule.check(settings)
        validation = load_site(self.validation).part("validation")
        server = ServerRounds(settings, schedule.local_epochs, validation)
        sites = {
            site: SiteRounds(settings, schedule.local_epochs, *_parts(folders))
            for site, folders in self.folders.items()
        }

        def report(row: EpochRow) -> None:
            if alone:
                log.info(epoch_line(row, schedule.epochs))

        records = []
        for number in range(schedule.rounds):
            parameters = server.parameters
            updates = {site: part.train(parameters, number, report) for site, part in sites.items()}
            records.append(server.aggregate(number, updates))
            if not alone:
                log.info(round_line(records[-1], schedule.rounds))
        return Trained(server.parameters, records, *place_of(settings), meter.joules())

    def evaluate(self, models: Mapping[str, Model], scratch: Path | None = None) -> Evaluated:
        """Evaluate each model on each site's test set, at the threshold of the validation set."""
        images, labels = load_site(self.validation).part("validation")
        tests = {
            site: pool([load_site(folder) for folder in folders], "test") for site, folders in self.folders.items()
        }
        metrics, thresholds = {}, {}
        for name, (path, settings) in models.items():
            network = restore(settings, load_model(path))
            probabilities = predict(network, images, settings.compute)
            thresholds[name] = choose_threshold(labels.astype(float), probabilities)
            metrics[name] = {
                site: evaluate(truth.astype(float), predict(network, part, settings.compute), thresholds[name])
                for site, (part, truth) in tests.items()
            }
        return Evaluated(metrics, thresholds)

    def cards(self, scratch: Path | None = None) -> dict[str, dict]:
        """The data card of each site and of the validation set."""
        cards = {site: read_json(folder / "card.json") for site, (folder,) in self.folders.items()}
        return cards | {SHARED: read_json(self.validation / "card.json")}


def _parts(folders: Sequence[Path]) -> tuple:
    """(training images and labels of all folders, the validation set of the first)."""
    sites = [load_site(folder) for folder in folders]
    return pool(sites, "train"), sites[0].part("validation")
