"""The interface of every engine. An engine trains and evaluates models, on this machine or on others.

`inprocess.InProcess` is a federation in this process, `flare.one_host.OneHost` one of processes on this machine, and
`flare.remote.Remote` one of other machines. `pooled.Pooled` trains without a federation, and only trains.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from fedxray.core.parameters import Parameters
from fedxray.experiment.folder import RunFolder
from fedxray.experiment.method import Method
from fedxray.experiment.settings import Settings
from fedxray.federation.policy import Schedule
from fedxray.federation.records import RoundRecord
from fedxray.training.mechanism import Mechanism
from fedxray.training.rows import EpochRow


class Model(NamedTuple):
    """A trained model: the file of its parameters, and the settings that it was trained with.

    With `site` it is that site's own: there it is used at the threshold that the site chooses on its own validation
    patients. With `job` it stays at the site, which alone evaluates it, and there is no file.
    """

    path: Path
    settings: Settings
    site: str = ""
    job: str = ""  # `Own.job`

    @classmethod
    def of(cls, run: RunFolder) -> "Model":
        """The model of a run."""
        record = run.read_record()
        site = record["site"] if record["mode"] in ("alone", "personal") else ""
        return cls(run.model, run.settings(), site, record["checks"].get("job", ""))


@dataclass(frozen=True)
class Own:
    """A site's own model, of a personal method or of training alone: what an engine returns of it."""

    parameters: Parameters | None  # None if it stays at the site
    rows: list[EpochRow]
    job: str = ""  # of a model that stays at the site: the job of which the site has it


@dataclass(frozen=True)
class Trained:
    """What an engine returns of a run."""

    parameters: Parameters  # empty of a model that its site alone has, which is among `personal`
    rounds: list[RoundRecord]
    device: str  # where the model was trained; of a federation, where its server is
    machine: dict[str, str]  # of `training.place`
    energy_j: float | None  # joules; None where they cannot be read
    # Of a personal method: each site's; of training alone that of the one site, if it has kept the model.
    personal: dict[str, Own] = field(default_factory=dict)
    # Whose answers were masked: {site: the SHA-256 of its certificate}.
    partners: dict[str, str] = field(default_factory=dict)
    checks: dict = field(default_factory=dict)  # of a federation: what its job must do, each seen in its results
    privacy: dict = field(default_factory=dict)  # `training.mechanism.Mechanism.about` of private training
    size: int = 0  # where `parameters` is empty: how many there are


@dataclass(frozen=True)
class Evaluated:
    """What an engine returns of models that it evaluated."""

    # {model: {site: {metric: value}}}, on each site's own test set; `threshold` among them is that of the metrics
    metrics: dict[str, dict[str, dict[str, float]]]
    thresholds: dict[str, float]  # {model: threshold}, of the shared validation set or of the site whose own it is


class Engine(Protocol):
    """An engine. `scratch` is a private folder that the caller makes and removes; it may hold keys."""

    name: str  # of record.json: nvflare or inprocess

    @property
    def noise(self) -> Mechanism | None:
        """The noise of private training, if there is any."""

    @property
    def sites(self) -> Sequence[str]:
        """The names of the sites that take part."""

    def train(self, settings: Settings, method: Method, schedule: Schedule, scratch: Path) -> Trained:
        """Train one model. Raises UserError, with why, if any part of the run failed."""


class Federation(Engine, Protocol):
    """An engine that can also ask its sites for metrics and data cards."""

    def evaluate(self, models: Mapping[str, Model], scratch: Path) -> Evaluated:
        """Evaluate each model (by name) on each site's test set. Raises UserError as `train` does."""

    def cards(self, scratch: Path) -> dict[str, dict]:
        """The data card of every site and of the shared validation set (`shared`), by name."""
