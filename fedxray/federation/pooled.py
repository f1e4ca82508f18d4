"""Training without a federation: on the images of one hospital alone, or on those of all (central training)."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedxray.core.machine import EnergyMeter
from fedxray.data.site import load_site, pool
from fedxray.experiment.method import Method
from fedxray.experiment.settings import Settings
from fedxray.federation.engine import Trained
from fedxray.federation.policy import Schedule
from fedxray.federation.records import RoundRecord, epoch_line
from fedxray.training.mechanism import Mechanism
from fedxray.training.models import begin, get_parameters
from fedxray.training.place import place_of
from fedxray.training.private import trainer_of
from fedxray.training.rows import EpochRow, validation_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pooled:
    """An engine (`fedxray.federation.engine.Engine`) whose one site has the images of all these folders.

    It averages nothing, so an edit of a federated algorithm does not train its models again.
    """

    site: str
    folders: Sequence[Path]  # directories of sites' data; the validation set is the first one's
    own: bool = False  # validate on the site's own patients alone
    noise: Mechanism | None = None  # of private training
    initial: Path | None = None  # the file of the model that training begins with; None: random weights

    name = "inprocess"

    @property
    def sites(self) -> list[str]:
        """The one site's name."""
        return [self.site]

    def train(self, settings: Settings, method: Method, schedule: Schedule, scratch: Path | None = None) -> Trained:
        """Train the steps of all rounds as one, and log a line for each epoch; `method` is `PLAIN`."""
        meter, sites = EnergyMeter(), [load_site(folder) for folder in self.folders]
        start = time.perf_counter()

        def report(row: EpochRow) -> None:
            log.info(epoch_line(row, schedule.epochs))

        model, train = begin(settings, self.initial), pool(sites, "train")
        validation = sites[0].own_validation() if self.own else sites[0].part("validation")
        patients = np.concatenate([site.patients("train") for site in sites])
        trainer = trainer_of(settings, train, validation, patients, self.noise, self.site)
        segments = [
            segment for number in range(schedule.rounds) for segment in schedule.round_segments(number, trainer.batches)
        ]
        fitted = trainer.fit(model, segments, schedule.total(trainer.batches), report)
        rows = fitted.rows
        record: RoundRecord = {
            "round": 1,
            "epoch": rows[-1]["epoch"],
            "train_loss": rows[-1]["train_loss"],
            "validation": validation_of(rows[-1]),
            "seconds": round(time.perf_counter() - start, 3),
            "bytes": 0,
            "distances": {},
            "images": {self.site: len(train[1])},
            "sites": {self.site: rows},
            "absent": {},
        }
        privacy = self.noise.about if self.noise else {}
        return Trained(get_parameters(model), [record], *place_of(settings), meter.joules(), privacy=privacy)
