"""Training without a federation: on the images of one hospital alone, or on those of all (central training)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedxray.core.machine import EnergyMeter
from fedxray.data.site import load_site, pool
from fedxray.experiment.settings import Settings
from fedxray.federation.engine import Trained
from fedxray.federation.policy import Schedule
from fedxray.federation.records import RoundRecord, epoch_line
from fedxray.training.models import build, get_parameters
from fedxray.training.place import place_of
from fedxray.training.rows import EpochRow
from fedxray.training.trainer import Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pooled:
    """An engine (`fedxray.federation.engine.Engine`) whose one site has the images of all these folders.

    It averages nothing, so an edit of a federated algorithm does not train its models again.
    """

    site: str
    folders: Sequence[Path]  # directories of sites' data; the validation set is the first one's

    name = "inprocess"

    @property
    def sites(self) -> list[str]:
        """The one site's name."""
        return [self.site]

    def train(self, settings: Settings, schedule: Schedule, scratch: Path | None = None) -> Trained:
        """Train in one round of all epochs, and log a line for each epoch."""
        meter, sites = EnergyMeter(), [load_site(folder) for folder in self.folders]
        schedule.check(settings)
        if schedule.rounds != 1:
            raise ValueError(f"{schedule.rounds} rounds, but there is nothing to average")

        def report(row: EpochRow) -> None:
            log.info(epoch_line(row, settings.epochs))

        model, train = build(settings), pool(sites, "train")
        rows = Trainer(settings, train, sites[0].part("validation")).fit(model, 0, settings.epochs, report)
        record: RoundRecord = {
            **rows[-1],
            "round": 1,
            "images": {self.site: len(train[1])},
            "sites": {self.site: rows},
            "absent": {},
        }
        return Trained(get_parameters(model), [record], *place_of(settings), meter.joules())
