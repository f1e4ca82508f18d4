"""How a federated run is scheduled, and what becomes of a round in which a site does not answer."""

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from fedxray.core.errors import UserError
from fedxray.experiment.method import Method
from fedxray.experiment.settings import Settings
from fedxray.training.mechanism import Mechanism
from fedxray.training.rows import Segment


@dataclass(frozen=True)
class Schedule:
    """When sites train and when their models are averaged, in local steps: a step is a batch of the site's own data.

    Training without a federation has the same schedule, and averages nothing.
    """

    rounds: int
    round: float  # passes over a site's own data in one round; of a schedule by steps, of the mean site
    steps: float  # local steps of each site in one round, whatever it has, on average; 0: `round` counts
    tail: int  # passes after the last round, which each site trains by itself (fine-tuning)

    @property
    def epochs(self) -> int:
        """Passes over the data in the whole run, of the mean site: what an epoch's number is counted in."""
        return math.ceil(self.rounds * self._round) + self.tail

    def epoch(self, number: int) -> int | None:
        """The epoch that ends with round `number` (from 0) or within it; None if none does."""
        before, after = int(number * self._round), int((number + 1) * self._round)
        if number + 1 == self.rounds:
            return self.epochs - self.tail
        return after if after > before else None

    def measured(self, number: int) -> int:
        """How many epochs end in round `number` (from 0), and so how many rows a site answers."""
        return sum(segment.epoch is not None for segment in self.round_segments(number, 1))

    def round_segments(self, number: int, batches: int) -> list[Segment]:
        """The steps of round `number` (from 0) at a site with so many batches: one segment for each epoch that ends."""
        first, last = self._start(number, batches), self._start(number + 1, batches)
        if self.steps or self._round < 1:
            return [Segment(first, last, self.epoch(number))]
        epochs = range(int(number * self._round), int((number + 1) * self._round))
        return [Segment(epoch * batches, (epoch + 1) * batches, epoch + 1) for epoch in epochs]

    def tail_segments(self, batches: int) -> list[Segment]:
        """The steps after the last round, a segment for each epoch."""
        start, done = self._start(self.rounds, batches), self.epochs - self.tail
        return [
            Segment(start + epoch * batches, start + (epoch + 1) * batches, done + epoch + 1)
            for epoch in range(self.tail)
        ]

    def total(self, batches: int) -> int:
        """The steps of the whole run at a site with so many batches; over these the learning rate falls."""
        return self._start(self.rounds, batches) + self.tail * batches

    @property
    def _round(self) -> Fraction:
        """`round` as it was written: 0.1 is a tenth."""
        return Fraction(str(self.round))

    def _start(self, number: int, batches: int) -> int:
        """The first step of a round."""
        if self.steps:
            return round(number * Fraction(str(self.steps)))
        return math.ceil(number * self._round * batches)


def schedule_of(
    epochs: int,
    passes: float,
    steps: int,
    budget: str,
    tail: int,
    images: Mapping[str, int],
    batch_size: int,
) -> Schedule:
    """The schedule of a federation of sites with so many training images.

    `epochs` is the budget: passes over the data, of which the last `tail` are trained after the last round. A round is
    `passes` over a site's own data, or `steps` local steps if that is not 0, or about as many as share the budget out.
    With `budget` `passes` each site makes `epochs` passes over its own data, or by `steps` as many steps as that takes
    at the mean site. With `steps` each site takes as many steps as central training takes in `epochs` passes over all
    data; all sites then take equally many steps in a round. Raises UserError if a round is longer than the budget.
    """
    mean = -(-sum(images.values()) // batch_size) / len(images)  # steps of an epoch of central training, shared out
    federated = epochs - tail
    if budget == "steps":
        federated *= len(images)
    if steps:
        whole = federated * mean
        if steps > math.ceil(whole):
            raise UserError(
                f"federation.steps: {steps} local steps are more than the whole budget of {math.ceil(whole)}; take "
                "fewer, or more training.epochs"
            )
        rounds = max(1, round(whole / steps))
        return Schedule(rounds, _down(federated / rounds), round(whole / rounds, 6), tail)
    rounds = round(federated / Fraction(str(passes)))
    if budget == "steps":
        return Schedule(rounds, passes, round(passes * mean, 6), tail)
    return Schedule(rounds, passes, 0, tail)


def sampled(steps: int, rate: float, local: int) -> Schedule:
    """The schedule of private training: so many steps, each of which draws a patient with the probability `rate`.

    `local` steps are a round, or about as many as give whole rounds. A pass is as many steps as draw as many patients
    as there are.
    """
    rounds = max(1, round(steps / local))
    return Schedule(rounds, _down(steps / rounds * rate), steps / rounds, 0)


def _down(passes: float) -> float:
    """Passes to six digits. They are not rounded up, or there were one epoch more."""
    return math.floor(passes * 1_000_000) / 1_000_000


def alone(
    epochs: int, budget: str, images: Mapping[str, int], batch_size: int, noise: Mechanism | None = None
) -> Schedule:
    """The schedule of training without a federation, whose sites have so many training images; see `schedule_of`.

    Of private training it is that of `sampled`, with rounds of one step.
    """
    if noise:
        return sampled(noise.steps, noise.rate, 1)
    if budget == "steps":
        return schedule_of(epochs, 1.0, 0, budget, 0, images, batch_size)
    return Schedule(1, float(epochs), 0, 0)


def add_budget(parser: ArgumentParser) -> None:
    """Let a script take what is equal for all models on its command line."""
    parser.add_argument("--budget", choices=["passes", "steps"], required=True, help="what is equal for all")


def add_options(parser: ArgumentParser) -> None:
    """Let a script take how a federated run is scheduled on its command line, as in config.yaml."""
    parser.add_argument("--round", type=float, required=True, help="passes over a site's own data in one round")
    parser.add_argument("--steps", type=int, required=True, help="local steps in one round; 0: --round counts")
    add_budget(parser)


def from_options(
    options: Namespace, settings: Settings, method: Method, images: Mapping[str, int], noise: Mechanism | None = None
) -> Schedule:
    """The schedule from the options of `add_options`; see `schedule_of`, and of private training `sampled`.

    With noise in the sum a round is one step.
    """
    if noise:
        local = options.steps or max(1, round(options.round / noise.rate))
        return sampled(noise.steps, noise.rate, 1 if noise.place == "sum" else local)
    rounds = options.round, options.steps, options.budget
    return schedule_of(settings.epochs, *rounds, method.finetune, images, settings.batch_size)


@dataclass(frozen=True)
class Policy:
    """What becomes of a round in which a site does not answer in time."""

    round_timeout_s: int
    absent: str  # fail: the job fails and names the site | drop: the round goes on without it, and records that
    min_sites: int  # of drop: how many sites must answer; 0: all

    def needed(self, sites: Sequence[str]) -> int:
        """How many of `sites` must answer in each round."""
        return self.min_sites if self.absent == "drop" and self.min_sites else len(sites)
