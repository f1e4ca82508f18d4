"""How a federated run is scheduled, and what becomes of a round in which a site does not answer."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass

from fedxray.core.errors import UserError
from fedxray.experiment.settings import Settings


@dataclass(frozen=True)
class Schedule:
    """Rounds of so many local epochs each. Training without a federation is one round of all epochs."""

    rounds: int
    local_epochs: int  # passes over a site's data in one round

    @property
    def epochs(self) -> int:
        """Passes over the data in the whole run: the budget, which is the same for every mode."""
        return self.rounds * self.local_epochs

    def check(self, settings: Settings) -> None:
        """Raise ValueError unless the schedule has as many epochs as `settings`, over which the learning rate falls."""
        if settings.epochs != self.epochs:
            raise ValueError(
                f"settings of {settings.epochs} epochs, but {self.rounds} rounds of {self.local_epochs} local epochs"
            )


def add_options(parser: ArgumentParser) -> None:
    """Let a script take a schedule on its command line."""
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--local-epochs", type=int, required=True, help="passes over a site's data in each round")


def from_options(options: Namespace, settings: Settings) -> Schedule:
    """The schedule from the options of `add_options`. Raises UserError unless it has as many epochs as `settings`."""
    schedule = Schedule(options.rounds, options.local_epochs)
    try:
        schedule.check(settings)
    except ValueError as error:
        raise UserError(f"--epochs: {error}; it must be their product") from error
    return schedule


@dataclass(frozen=True)
class Policy:
    """What becomes of a round in which a site does not answer in time."""

    round_timeout_s: int
    absent: str  # fail: the job fails and names the site | drop: the round goes on without it, and records that
    min_sites: int  # of drop: how many sites must answer; 0: all

    def needed(self, sites: Sequence[str]) -> int:
        """How many of `sites` must answer in each round."""
        return self.min_sites if self.absent == "drop" and self.min_sites else len(sites)
