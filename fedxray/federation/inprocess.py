"""A federation in this process, without a network: equal bit for bit to a federation of processes."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fedxray.core.files import read_json
from fedxray.core.machine import EnergyMeter
from fedxray.core.parameters import load_model
from fedxray.data.labels import SHARED
from fedxray.data.site import SiteData, SiteFolder, load_site
from fedxray.experiment.method import Method
from fedxray.experiment.settings import Settings
from fedxray.federation.engine import Evaluated, Model, Own, Trained
from fedxray.federation.policy import Schedule
from fedxray.federation.records import personal_line, round_line
from fedxray.federation.rounds import ServerRounds, SiteRounds, sealed
from fedxray.training.mechanism import Mechanism
from fedxray.training.metrics import evaluate
from fedxray.training.models import restore
from fedxray.training.place import place_of
from fedxray.training.trainer import Part, predict, threshold_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InProcess:
    """An engine (`fedxray.federation.engine.Federation`) of sites whose data lie on this machine."""

    folders: Mapping[str, Path]  # {site: its directory of data}
    validation: Path  # the directory that has the validation set
    noise: Mechanism | None = None  # of private training
    initial: Path | None = None  # the file of the model of the first round; None: random weights

    name = "inprocess"

    @property
    def sites(self) -> list[str]:
        """The sites' names."""
        return list(self.folders)

    def train(self, settings: Settings, method: Method, schedule: Schedule, scratch: Path | None = None) -> Trained:
        """Train one model, and each site's own if the method is personal; log a line for each round."""
        validation = load_site(self.validation).part("validation")
        return federate(self._load(), validation, settings, method, schedule, self.noise, self.initial)

    def evaluate(self, models: Mapping[str, Model], scratch: Path | None = None) -> Evaluated:
        """Evaluate each model on each site's test set, at the threshold of the validation set.

        At the site whose own model it is, the threshold is that of the site's own validation patients.
        """
        validation, sites = load_site(self.validation).part("validation"), self._load()
        metrics, thresholds = {}, {}
        for name, model in models.items():
            settings, network = model.settings, restore(model.settings, load_model(model.path))
            chosen = dict.fromkeys(sites, threshold_of(network, validation, settings.compute))
            if model.site:
                chosen[model.site] = threshold_of(network, sites[model.site].own_validation(), settings.compute)
            metrics[name] = {}
            for site, data in sites.items():
                images, labels = data.part("test")
                values = evaluate(labels.astype(float), predict(network, images, settings.compute), chosen[site])
                metrics[name][site] = values | {"threshold": chosen[site]}
            thresholds[name] = chosen[model.site or self.sites[0]]
        return Evaluated(metrics, thresholds)

    def cards(self, scratch: Path | None = None) -> dict[str, dict]:
        """The data card of each site and of the validation set."""
        folders = {**self.folders, SHARED: self.validation}
        return {name: read_json(SiteFolder(folder).card) for name, folder in folders.items()}

    def _load(self) -> dict[str, SiteData]:
        """The data of each site."""
        return {site: load_site(folder) for site, folder in self.folders.items()}


def federate(
    data: Mapping[str, SiteData],
    validation: Part,
    settings: Settings,
    method: Method,
    schedule: Schedule,
    noise: Mechanism | None,
    initial: Path | None = None,
) -> Trained:
    """Train one model by a federation of sites with these data, and each site's own if the method is personal.

    The server validates on `validation`, and `initial` is the file of the first model, if one is given. A line is
    logged for each round.
    """
    meter = EnergyMeter()
    server = ServerRounds(settings, method, schedule, validation, noise, initial)
    sites = {site: SiteRounds(settings, method, schedule, held, noise=noise) for site, held in data.items()}
    records = []
    for number in range(schedule.rounds):
        sent = server.send()
        updates = {site: part.train(sent, number) for site, part in sites.items()}
        if method.secure_aggregation:  # the same sums; there is nobody to mask them from
            answers = {site: sealed(update, len(sites)) for site, update in updates.items()}
            records.append(server.aggregate_sealed(number, answers))
        else:
            records.append(server.aggregate(number, updates))
        log.info(round_line(records[-1], schedule.rounds))
    personal, sent = {}, server.send()
    for site, part in sites.items() if method.is_personal else ():
        own = part.personal(sent)
        personal[site] = Own(own.parameters, own.rows)
        log.info(personal_line(site, own.rows))
    privacy = noise.about if noise else {}
    return Trained(server.parameters, records, *place_of(settings), meter.joules(), personal, privacy=privacy)
