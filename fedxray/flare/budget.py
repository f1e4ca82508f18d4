"""What jobs spend of the privacy of a site's patients, and what its operator allows: two files in the kit's `local`.

`budget.json` has the operator's limits (`fedxray-site budget`), and `spent.json` is the ledger: what every job was
answered with. A site believes no job: it computes the epsilon of each from the noise that it adds itself, and counts a
job whose noise others know, or that has none, as one without a bound. Neither file is ever sent.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from fedxray.core.errors import UserError
from fedxray.core.files import held, read_json, write_json
from fedxray.data.site import SiteData
from fedxray.experiment.method import Method
from fedxray.federation.policy import Schedule
from fedxray.training import accountant
from fedxray.training.accountant import Steps
from fedxray.training.mechanism import Mechanism

CLIPS = (1e-6, 1e6)  # between which a job's clip must be, so that noise in float32 is noise


@dataclass(frozen=True)
class Limits:
    """What a site's operator allows; at first everything."""

    epsilon: float | None = None  # of all jobs together, at `delta`; None: no limit
    delta: float | None = None
    only_masked: bool = False  # answer a job only if it has secure aggregation

    @property
    def means_something(self) -> bool:
        """Whether there are both bounds or none, and all are of their types; raises TypeError for some that are not."""
        bounds = [bound for bound in (self.epsilon, self.delta) if bound is not None]
        return len(bounds) != 1 and all(0 < bound < math.inf for bound in bounds) and self.only_masked in (True, False)


@dataclass(frozen=True)
class Spending:
    """What one job spends, or a row of the ledger."""

    job: str  # its key (`job.key_of`), as the server says it
    dp: str  # none | sites | sum
    secret: bool  # whether the noise is of this machine's entropy
    unit: str  # patient | image; empty without noise
    sigma: float  # of the noise that protects this site's patients, over the clip; of a sum less that of the colluders
    rate: float
    delta: float
    colluders: int
    steps: int  # of the whole job; 0 without noise
    answered: int = 0  # steps that the site has answered with; those of a repeated round count again
    since: str = ""  # the day of the first one

    @classmethod
    def of(cls, job: str, noise: Mechanism | None) -> "Spending":
        """What the job with this key spends, nothing of it yet."""
        if noise is None:
            return cls(job, "none", False, "", 0.0, 0.0, 0.0, 0, 0)
        numbers = noise.sigma, noise.rate, noise.delta, noise.colluders, noise.steps
        return cls(job, noise.place, noise.secret, noise.unit, *numbers)

    @property
    def is_bounded(self) -> bool:
        """Whether there is a bound on what it tells of a patient, by noise that nobody else knows."""
        return self.dp != "none" and self.secret and self.sigma >= accountant.SMALLEST


def epsilon_of(spendings: Iterable[Spending], delta: float) -> float:
    """An upper bound on epsilon, at `delta`, of the answered steps of these jobs together; infinite without a bound."""
    kinds: Counter[tuple[float, float]] = Counter()
    for spending in spendings:
        if spending.answered and not spending.is_bounded:
            return math.inf
        if spending.answered:
            kinds[spending.sigma, spending.rate] += spending.answered
    parts = tuple(Steps(*kind, steps) for kind, steps in sorted(kinds.items()))
    return accountant.composed(parts, delta) if parts else 0.0


def number(epsilon: float) -> str:
    """An epsilon as it is shown."""
    return f"{epsilon:.3g}" if math.isfinite(epsilon) else "infinite"


class Budget:
    """The limits and the ledger of the site that has the startup kit `kit`."""

    def __init__(self, kit: Path):
        self.folder = Path(kit) / "local"
        self.path = self.folder / "budget.json"  # not privacy.json, which is a file of NVFlare's
        self.ledger = self.folder / "spent.json"

    @property
    def limits(self) -> Limits:
        """What the operator allows. Raises UserError if the file is not as `fedxray-site budget` writes it."""
        if not self.path.exists():
            return Limits()
        try:
            limits = Limits(**read_json(self.path))
            if limits.means_something:
                return limits
        except (TypeError, ValueError):
            pass
        # Or a job would be answered that nobody allows.
        raise UserError(f"{self.path}: no budget; remove it, and set the budget again (fedxray-site budget)")

    @limits.setter
    def limits(self, limits: Limits) -> None:
        _write(self.path, asdict(limits))

    @property
    def spent(self) -> list[Spending]:
        """The rows of the ledger, the oldest job first. Raises UserError if it is not as a site writes it."""
        try:
            return [Spending(**row) for row in read_json(self.ledger)["jobs"]] if self.ledger.exists() else []
        except (KeyError, TypeError, ValueError):
            raise UserError(
                f"{self.ledger}: no ledger, so that nobody knows what is spent; put it back as it was, from a backup"
            ) from None

    def check(self, spending: Spending, masked: bool, further: int = 0) -> None:
        """Raise UserError if the operator allows no such job; `masked`: it has secure aggregation.

        `further` is how many steps will be answered beside those that were, at least; a job spends all of its steps.
        """
        self._allow(self.spent, spending, masked, further)

    def charge(self, spending: Spending, masked: bool, now: int, rest: int) -> None:
        """Enter `now` further answered steps of a job in the ledger, before anything of them leaves.

        `rest` is how many will follow. Raises UserError, and enters nothing, if the operator does not allow as many.
        """
        with held(self.folder):
            rows = self.spent
            self._allow(rows, spending, masked, now + rest)
            before = _row_of(rows, spending)
            entered = replace(before, answered=before.answered + now)
            rows = [entered if row == before else row for row in rows] if before in rows else [*rows, entered]
            _write(self.ledger, {"jobs": [asdict(row) for row in rows]})

    def _allow(self, rows: Sequence[Spending], spending: Spending, masked: bool, further: int) -> None:
        limits = self.limits
        if limits.only_masked and not masked:
            raise UserError(
                "privacy: this site takes part only with secure aggregation, as its operator wants; set "
                "privacy.secure_aggregation: true"
            )
        if limits.epsilon is None or limits.delta is None:
            return
        allowed = f"privacy: this site's operator allows epsilon {limits.epsilon:g} at delta {limits.delta:g}"
        if not spending.is_bounded:
            why = "its noise is seeded" if spending.dp != "none" and not spending.secret else "it has no noise"
            raise UserError(
                f"{allowed}, and nothing bounds what this job tells of a patient, because {why}; take privacy.dp: "
                "sites or sum with privacy.noise: secret"
            )
        before = _row_of(rows, spending)
        whole = replace(before, answered=max(before.answered + further, spending.steps))
        wanted = epsilon_of([whole, *(row for row in rows if row != before)], limits.delta)
        if wanted > limits.epsilon:
            spent = epsilon_of(rows, limits.delta)
            left = number(max(limits.epsilon - spent, 0.0))
            raise UserError(
                f"{allowed}; {number(spent)} is spent, {left} is left, and with this job it would be {number(wanted)}; "
                "take a smaller privacy.epsilon, or ask the operator for a larger budget (fedxray-site budget)"
            )


def statement(limits: Limits, spent: Sequence[Spending]) -> list[str]:
    """Lines for the operator: what every job has spent, what all have together, and what is allowed."""
    delta = limits.delta or min((row.delta for row in spent if row.is_bounded), default=None)
    lines = []
    if spent:
        titles = ("job", "since", "noise", "unit", "sigma", "rate", "steps", "epsilon")
        rows = [titles, *(_cells(row, delta) for row in spent)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    together = epsilon_of(spent, delta or 1.0)
    at = f" at delta {delta:g}" if delta else ""
    lines.append(f"spent: epsilon {number(together)}{at} by all jobs together" if spent else "spent: nothing")
    if limits.epsilon is None:
        lines.append("budget: none, so every job is answered, with noise or without (--epsilon E --delta D sets one)")
    else:
        left = number(max(limits.epsilon - together, 0.0))
        lines.append(f"budget: epsilon {limits.epsilon:g} at delta {limits.delta:g}; {left} is left")
    without = "is refused" if limits.only_masked else "is answered too (--only-masked refuses it)"
    return [*lines, f"masks: federated training without secure aggregation {without}"]


def _cells(row: Spending, delta: float | None) -> tuple[str, ...]:
    """A row of the ledger as text; `delta` is there if any row is bounded."""
    epsilon = number(epsilon_of([row], delta or 1.0))
    if row.dp == "none":
        return (row.job[:12], row.since, "none", "", "", "", str(row.answered), epsilon)
    noise = row.dp + (f", {row.colluders} may collude" if row.dp == "sum" else "") + ("" if row.secret else ", seeded")
    numbers = f"{row.sigma:g}", f"{row.rate:.4f}", f"{row.answered} of {row.steps}"
    return (row.job[:12], row.since, noise, row.unit, *numbers, epsilon)


def check_noise(
    noise: Mechanism, method: Method, schedule: Schedule, sites: Sequence[str], data: SiteData, known: bool
) -> None:
    """Raise UserError if a job's noise does not protect the patients of this site as the job says.

    `data` are the site's own, and `known` says whether it knows whose the images are. The noise of a sum is what all
    `sites` but the colluders add: each adds `Mechanism.deviation`, so that theirs together is `sigma`.
    """
    patients, images = len(np.unique(data.patients("train"))), len(data.patients("train"))
    of_sum, steps = noise.place == "sum", schedule.total(1)
    rounds = f"{schedule.rounds} rounds of {noise.steps} steps in a sum; each step is a round, with noise of its own"
    as_many = steps == noise.steps and schedule.steps > 0 and not schedule.tail  # whatever the site has
    plain = method.name == "fedavg" and method.mean == "weighted" and not method.finetune
    shared = noise.sites == len(sites) and 0 <= noise.colluders <= len(sites) - 2
    refused = [
        (of_sum and not method.secure_aggregation, "a sum without masks; set privacy.secure_aggregation: true"),
        (not plain, f"{method.slug}, of which not all is private; take fedavg and mean: weighted"),
        (of_sum and not shared, f"noise of {noise.sites} sites and {noise.colluders} colluders among {len(sites)}"),
        (not as_many, f"{steps} steps, with noise for {noise.steps}; is the workflow's fedxray another version?"),
        (of_sum and schedule.rounds != noise.steps, rounds),  # or a round without a step would be answered for nothing
        (not CLIPS[0] <= noise.clip <= CLIPS[1], f"privacy.clip: {noise.clip:g}; take {CLIPS[0]:g} to {CLIPS[1]:g}"),
        (
            noise.patients < patients or noise.images < images,
            f"{noise.patients} patients and {noise.images} images of all sites, but here alone are {patients} and "
            f"{images}; make the registry again",
        ),
        (
            not 0 < noise.delta * patients < 1,
            f"privacy.delta: {noise.delta:g}, but here are {patients} training patients; take less than 1/{patients}",
        ),
        (
            noise.unit == "patient" and not known,
            "the unit patient, but nobody knows whose the images here are; make the registry again",
        ),
    ]
    for found, what in refused:
        if found:
            raise UserError(f"privacy: this site refuses {what}")
    try:
        epsilon = accountant.epsilon(noise.sigma, noise.rate, noise.steps, noise.delta)
    except ValueError as error:
        raise UserError(f"privacy: this site finds {error}; take a smaller privacy.epsilon") from error
    if not epsilon <= noise.epsilon * (1 + 1e-9):
        raise UserError(
            f"privacy: this site refuses noise that is said to give epsilon {noise.epsilon:g} and gives {epsilon:.4g}; "
            "is the workflow's fedxray another version?"
        )


def _row_of(rows: Iterable[Spending], spending: Spending) -> Spending:
    """The row of the ledger of what a job spends; a new one, of today, if there is none."""
    of_job = [row for row in rows if replace(row, answered=0, since="") == spending]
    return of_job[0] if of_job else replace(spending, since=datetime.now(UTC).date().isoformat())


def _write(path: Path, values: dict) -> None:
    """Write a file that its owner alone can read."""
    write_json(path, values)
    path.chmod(0o600)
