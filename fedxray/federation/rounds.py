"""A round of a federation, whatever carries the models: the site's part and the server's."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedxray.core.errors import UserError
from fedxray.core.parameters import COUNTS, Parameters
from fedxray.data.site import SiteData
from fedxray.experiment.experiment import POOLED
from fedxray.experiment.method import Method
from fedxray.experiment.settings import Settings
from fedxray.federation.algorithms import algorithm_of
from fedxray.federation.algorithms.fedavg import FedAvg
from fedxray.federation.algorithms.private_sum import PrivateSum
from fedxray.federation.fixed import add, decode, encode
from fedxray.federation.half import added, changes, difference, halved, whole
from fedxray.federation.means import distances, mean_of
from fedxray.federation.policy import Schedule
from fedxray.federation.records import RoundRecord
from fedxray.training.mechanism import Mechanism
from fedxray.training.models import begin, build, frozen_of, get_parameters, norms_of, restore, set_parameters
from fedxray.training.private import PrivateTrainer, trainer_of
from fedxray.training.rows import EpochRow, Segment
from fedxray.training.trainer import Correct, Part, Report, Trainer, silent, validate

# Beside the parameters in the sum of a secure aggregation. Times images, the first is the number of images.
_DOUBLE = np.dtype(np.float64)
COUNT, MEASURED, LOSS = f"{COUNTS}images", f"{COUNTS}measured", "loss"


@dataclass(frozen=True)
class Update:
    """What a site answers in a round."""

    parameters: Parameters  # all that travels: of federated averaging its model
    images: int  # that it trained on
    train_loss: float  # of the round's last epoch, or part of one; NaN if the round had no step
    rows: list[EpochRow]  # one per epoch that ended


def sealed(update: Update, sites: int) -> Parameters:
    """What a site answers under secure aggregation, before it is masked: words that are only of use in a sum.

    They stand for all that the plain answer has, but for the rows: parameters, images, and the training loss.
    """
    measured = not np.isnan(update.train_loss)
    beside = {COUNT: 1.0, MEASURED: float(measured), LOSS: update.train_loss if measured else 0.0}
    arrays = update.parameters | {name: np.array([value]) for name, value in beside.items()}
    return encode(arrays, update.images, sites)


@dataclass(frozen=True)
class Personal:
    """A site's own model after the last round, which stays at the site, and its rows, which may leave it."""

    parameters: Parameters
    rows: list[EpochRow]  # on the site's own validation: before it was trained further, then after each such epoch


class Rounds:
    """What both parts have: an algorithm's half, and its state."""

    algorithm: FedAvg

    @property
    def state(self) -> Parameters:
        """All that the half keeps between rounds, at a server beside the model; set it to go on after a round."""
        return self.algorithm.state

    @state.setter
    def state(self, state: Parameters) -> None:
        self.algorithm.state = state


class SiteRounds(Rounds):
    """A site's part: in each round it trains some steps of the run on its own data, as its algorithm says.

    It is what an algorithm trains with (`algorithms.fedavg.Site`). `state` is all that it keeps between rounds; set it,
    and the next round is as it would have been.
    """

    def __init__(
        self,
        settings: Settings,
        method: Method,
        schedule: Schedule,
        data: SiteData,
        own: bool = False,
        noise: Mechanism | None = None,
    ):
        """`own`: each round is validated on the site's own patients alone. With `noise` its steps are private."""
        self.method, self.schedule, self.noise = method, schedule, noise
        self.algorithm = _half(settings, method, schedule, noise)
        self.settings, self.data = settings, data
        self.model = build(settings)
        self.norms = norms_of(self.model)
        self.trainer = self._trainer(own)
        self.segments: list[Segment] = []
        self.rows: list[EpochRow] = []
        self.loss = np.nan
        self.report: Report = silent

    @property
    def steps(self) -> int:
        """The steps of this round."""
        return sum(segment.last - segment.first for segment in self.segments)

    def train(self, sent: Parameters, number: int, report: Report = silent) -> Update:
        """Train round `number` (from 0) from what the server `sent`; give each epoch's row to `report` as it ends."""
        self.segments, self.report = self.schedule.round_segments(number, self.trainer.batches), report
        self.rows, self.loss = [], np.nan
        got = whole(sent)
        answer = difference(self.algorithm.train(self, got), sent, got)
        return Update(answer, len(self.trainer.labels), self.loss, self.rows)

    def fit(
        self, model: Parameters, moments: Parameters | None = None, correct: Correct | None = None, quiet: bool = False
    ) -> tuple[Parameters, Callable[[], Parameters]]:
        """The model, and what copies its optimizer's moments, after this round's steps from `model`."""
        set_parameters(self.model, model)
        total = self.schedule.total(self.trainer.batches)
        segments = [segment._replace(epoch=None) for segment in self.segments] if quiet else self.segments
        fitted = self.trainer.fit(self.model, segments, total, self.report, moments, correct)
        if not quiet:
            self.rows, self.loss = fitted.rows, fitted.train_loss
        return get_parameters(self.model), fitted.moments

    def noisy_sum(self, model: Parameters) -> Parameters:
        """This round's step: the sum of its clipped gradients at `model`, with this site's noise, by parameter.

        It is so scaled that the sites' mean, weighted by images, is the gradient for the patients of all sites.
        """
        if not isinstance(self.trainer, PrivateTrainer):
            raise TypeError("a sum without noise")
        if self.steps != 1:
            raise ValueError(f"{self.steps} steps in a round of a sum with noise, which has the noise of one")
        noise = self.trainer.mechanism
        set_parameters(self.model, model)
        scale = noise.images / (len(self.trainer.labels) * noise.rate * noise.patients)
        sums = self.trainer.noisy_sum(self.model, self.segments[0].first)
        return {name: (tensor * scale).cpu().numpy() for name, tensor in sums.items()}

    def personal(self, sent: Parameters, report: Report = silent) -> Personal:
        """The site's own model, after the passes of the schedule that follow the last round.

        With `finetune_stop: validation` it is that of the epoch (or of none) with the highest AUROC on the site's own
        validation patients, the first of several such; the rows end there.
        """
        trainer, total = self._trainer(own=True), self.schedule.total(self.trainer.batches)
        parameters, moments = self.algorithm.personal(self, whole(sent))
        set_parameters(self.model, parameters)
        done = self.schedule.epochs - self.schedule.tail
        measured = validate(self.model, trainer.validation, trainer.settings.compute)
        rows: list[EpochRow] = [{"epoch": done, "train_loss": np.nan, **measured, "seconds": 0.0}]
        best, kept = rows[0]["validation_auroc"], 1
        for segment in self.schedule.tail_segments(trainer.batches):
            fitted = trainer.fit(self.model, [segment], total, report, moments)
            moments = fitted.moments()
            rows += fitted.rows
            if self.method.finetune_stop == "budget" or rows[-1]["validation_auroc"] > best:
                parameters, best = get_parameters(self.model), rows[-1]["validation_auroc"]
                kept = len(rows)
        return Personal(parameters, rows[:kept])

    def _trainer(self, own: bool) -> Trainer:
        """A trainer that validates on the site's own patients, or on the whole validation set."""
        validation = self.data.own_validation() if own else self.data.part("validation")
        train = self.data.part("train"), validation, self.data.patients("train")
        return trainer_of(self.settings, *train, self.noise, self.data.name)


class ServerRounds(Rounds):
    """The server's part: it holds the global model, and gives its algorithm the mean of the sites' answers.

    `parameters` and `state` are all that a server needs to go on after a round.
    """

    def __init__(
        self,
        settings: Settings,
        method: Method,
        schedule: Schedule,
        validation: Part,
        noise: Mechanism | None = None,
        initial: Path | None = None,
    ):
        """`initial` is the file of the model of the first round, if one is given (`training.models.begin`)."""
        self.settings, self.method, self.schedule = settings, method, schedule
        self.algorithm, self.validation = _half(settings, method, schedule, noise), validation
        self.model = begin(settings, initial)
        self.initial, self.frozen = self.parameters, frozen_of(self.model)
        self.sent = 0  # bytes of what every site got last
        self.start = time.perf_counter()

    @property
    def changed(self) -> bool:
        """Whether the model differs from the initial one in a bit."""
        now = self.parameters
        return any(not np.array_equal(self.initial[name], now[name]) for name in now)

    @property
    def parameters(self) -> Parameters:
        """A copy of the global model's parameters. Setting them resumes from an earlier model."""
        return get_parameters(self.model)

    @parameters.setter
    def parameters(self, parameters: Parameters) -> None:
        set_parameters(self.model, parameters)

    def send(self) -> Parameters:
        """What every site gets."""
        model = self.parameters
        sent = self.algorithm.send(model)
        if self.method.precision == "float16":
            sent = halved(sent, model)
        self.sent = _size(sent)
        return sent

    def aggregate(
        self, number: int, updates: Mapping[str, Update], absent: dict[str, str] | None = None
    ) -> RoundRecord:
        """Make the global model of round `number` (from 0) of the sites' updates; returns the round's record.

        `absent` is {site: why} of the sites that did not answer.
        """
        absent, images = absent or {}, {site: updates[site].images for site in sorted(updates)}
        travelled = {site: updates[site].parameters for site in images}
        answers, changed = {site: whole(arrays) for site, arrays in travelled.items()}, changes(travelled)
        model = self.parameters if changed else {}  # a copy
        mean = mean_of(answers, images, self.method, lambda answer: self._loss(added(answer, changed, model)))
        mean = added(mean, changed, model)
        share = len(images) / (len(images) + len(absent))
        losses = {site: updates[site].train_loss for site in images if not np.isnan(updates[site].train_loss)}
        weight = sum(images[site] for site in losses)
        loss = sum(losses[site] * images[site] for site in losses) / weight if losses else None
        rows = {site: updates[site].rows for site in images}
        return self._advance(number, mean, share, loss, travelled, distances(answers), images, rows, absent)

    def aggregate_sealed(
        self,
        number: int,
        answers: Mapping[str, Parameters],
        absent: dict[str, str] | None = None,
        unmask: Callable[[Parameters], None] = lambda sums: None,
    ) -> RoundRecord:
        """As `aggregate`, of what sites have `sealed`, with masks or without: only their sum is looked at.

        `unmask` takes the masks that are left in the sum off it, in place. Of single sites the record has nothing but
        their names; `images` has the total, under `pooled`. Raises UserError if masks are left in the sum, and
        ValueError if the answers have other forms than one another.
        """
        absent = absent or {}
        sites = sorted(answers)
        sums = {name: words.copy() for name, words in answers[sites[0]].items()}
        for site in sites[1:]:
            add(sums, answers[site])
        unmask(sums)
        images, measured, loss = (float(decode(name, sums[name], 1, _DOUBLE)[0]) for name in (COUNT, MEASURED, LOSS))
        if sums[COUNT][1].any() or not images.is_integer() or images <= 0:  # by chance once in 2^70 times
            raise UserError(
                "secure aggregation: the answers' masks do not cancel out; run it again, and look at the sites"
            )
        model = self.parameters
        kinds = {name: array.dtype for name, array in model.items()}
        mean = {
            name: decode(name, words, images, kinds.get(name, np.dtype(np.float32)))
            for name, words in sums.items()
            if name not in (COUNT, MEASURED, LOSS)
        }
        mean = added(mean, [name for name in mean if len(sums[name]) == 1], model)
        rows: dict[str, list[EpochRow]] = {site: [] for site in sites}
        loss = loss / measured if measured else None
        share = len(sites) / (len(sites) + len(absent))
        return self._advance(number, mean, share, loss, answers, {}, {POOLED: int(images)}, rows, absent)

    def _advance(
        self,
        number: int,
        mean: Parameters,
        share: float,
        loss: float | None,
        travelled: Mapping[str, Parameters],
        distances: dict[str, float],
        images: dict[str, int],
        rows: dict[str, list[EpochRow]],
        absent: dict[str, str],
    ) -> RoundRecord:
        """Make the global model of round `number` of the `mean` of what has `travelled`; returns its record."""
        before = self.parameters
        self.parameters = self.algorithm.update(before, mean, share) | {name: before[name] for name in self.frozen}
        epoch = self.schedule.epoch(number)
        record: RoundRecord = {
            "round": number + 1,
            "epoch": epoch,
            "train_loss": loss,
            "validation": None if epoch is None else validate(self.model, self.validation, self.settings.compute),
            "seconds": round(time.perf_counter() - self.start, 3),
            "bytes": sum(self.sent + _size(answer) for answer in travelled.values()),
            "distances": distances,
            "images": images,
            "sites": rows,
            "absent": absent,
        }
        self.start = time.perf_counter()
        return record

    def _loss(self, parameters: Parameters) -> float:
        """The loss of a site's model on the validation set."""
        model = restore(self.settings, {name: parameters[name] for name in self.parameters})
        return validate(model, self.validation, self.settings.compute)["validation_loss"]


def _half(settings: Settings, method: Method, schedule: Schedule, noise: Mechanism | None) -> FedAvg:
    """A new half of the method's algorithm, or of the steps that all sites take together."""
    if noise and noise.place == "sum":
        if method.precision != "float32":  # `faults_of` of `experiment/privacy.py` says it in words
            raise ValueError("half precision of what is no model")
        return PrivateSum(method, settings, schedule.rounds)
    return algorithm_of(method)


def _size(arrays: Parameters) -> int:
    """The bytes of what travels."""
    return sum(array.nbytes for array in arrays.values())
