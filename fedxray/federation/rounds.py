"""A round of federated averaging, whatever carries the models: the site's part and the server's."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fedxray.core.parameters import Parameters
from fedxray.experiment.settings import Settings
from fedxray.federation.algorithms.fedavg import fedavg
from fedxray.federation.records import RoundRecord
from fedxray.training.models import build, get_parameters, set_parameters
from fedxray.training.rows import EpochRow
from fedxray.training.trainer import Part, Trainer, validate


@dataclass(frozen=True)
class Update:
    """What a site answers in a round: its model, how many images it trained on, and one row of metrics per epoch."""

    parameters: Parameters
    images: int
    rows: list[EpochRow]


class SiteRounds:
    """A site's part: in each round it trains `local_epochs` epochs of the run on its own data."""

    def __init__(self, settings: Settings, local_epochs: int, train: Part, validation: Part):
        self.local_epochs = local_epochs
        self.model = build(settings)
        self.trainer = Trainer(settings, train, validation)

    def train(
        self, parameters: Parameters, number: int, report: Callable[[EpochRow], None] = lambda row: None
    ) -> Update:
        """Train round `number` (from 0) from the global `parameters`; give each epoch's row to `report` as it ends."""
        set_parameters(self.model, parameters)
        first = number * self.local_epochs
        rows = self.trainer.fit(self.model, first, first + self.local_epochs, report)
        return Update(get_parameters(self.model), len(self.trainer.labels), rows)


class ServerRounds:
    """The server's part: it holds the global model, averages the sites' updates, and validates their mean."""

    def __init__(self, settings: Settings, local_epochs: int, validation: Part):
        self.settings = settings
        self.local_epochs = local_epochs
        self.validation = validation
        self.model = build(settings)
        self.start = time.perf_counter()

    @property
    def changed(self) -> bool:
        """Whether the model differs from the initial one in a bit."""
        initial, now = get_parameters(build(self.settings)), self.parameters
        return any(not np.array_equal(initial[name], now[name]) for name in now)

    @property
    def parameters(self) -> Parameters:
        """A copy of the global model's parameters. Setting them resumes from an earlier model."""
        return get_parameters(self.model)

    @parameters.setter
    def parameters(self, parameters: Parameters) -> None:
        set_parameters(self.model, parameters)

    def aggregate(self, number: int, updates: dict[str, Update], absent: dict[str, str] | None = None) -> RoundRecord:
        """Average the updates (by site) of round `number` (from 0) into the global model; returns the round's record.

        `absent` is {site: why} of the sites that did not answer.
        """
        images = {site: updates[site].images for site in sorted(updates)}
        set_parameters(self.model, fedavg({site: update.parameters for site, update in updates.items()}, images))
        losses = {site: updates[site].rows[-1]["train_loss"] for site in images}
        record: RoundRecord = {
            "round": number + 1,
            "epoch": (number + 1) * self.local_epochs,
            "train_loss": sum(losses[site] * images[site] for site in images) / sum(images.values()),
            **validate(self.model, self.validation, self.settings.compute),
            "seconds": round(time.perf_counter() - self.start, 3),
            "images": images,
            "sites": {site: updates[site].rows for site in images},
            "absent": absent or {},
        }
        self.start = time.perf_counter()
        return record
