"""The noise of a private run, as plain numbers that travel with a job. It imports no PyTorch."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedxray.core.errors import UserError
from fedxray.data import registry
from fedxray.data.site import train_images, train_patients
from fedxray.experiment.privacy import Privacy
from fedxray.training import accountant


@dataclass(frozen=True)
class Mechanism:
    """The noise of a private run, for so many training patients in all."""

    place: str  # sites: each trainer's sum is private by itself | sum: that of all sites is
    sigma: float  # deviation of the noise in a sum that is private, as a multiple of `clip`
    rate: float  # at which each patient is drawn in a step
    steps: int
    clip: float  # the largest norm of one patient's gradient
    epsilon: float  # of all steps, for a patient added or removed
    delta: float
    patients: int  # of training, at all sites
    images: int  # the same
    sites: int
    colluders: int  # sites of `sum` whose noise may be known to who sees the sum
    unit: str  # patient; or image, where nobody knows whose the images are
    secret: bool  # whether sampling and noise come from this machine's entropy, and not from the run's seed

    @property
    def deviation(self) -> float:
        """The deviation of the noise that one site adds in each coordinate."""
        shared = self.sites - self.colluders if self.place == "sum" else 1
        return self.sigma * self.clip / math.sqrt(shared)

    @property
    def about(self) -> dict:
        """What a run's record says of it."""
        return {
            **{name: vars(self)[name] for name in ("epsilon", "delta", "unit", "sigma", "rate", "steps", "clip")},
            **{name: vars(self)[name] for name in ("patients", "colluders")},
            "dp": self.place,
            "accountant": accountant.NAME,
            "simulation": not self.secret,
        }


def mechanism_of(privacy: Privacy, patients: int, images: int, sites: int, unit: str) -> Mechanism | None:
    """The mechanism of a section `privacy` for so many training patients, images and sites; None without noise.

    Raises UserError if delta is not below 1/patients, if a step has too few patients, and if no noise will do.
    """
    if privacy.dp == "none":
        return None
    if privacy.delta * patients >= 1:
        raise UserError(
            f"privacy.delta: {privacy.delta:g} is not below 1/{patients}, the training patients there are; take "
            f"{0.1 / patients:.0e} or less"
        )
    if privacy.patients_per_step > patients:
        raise UserError(
            f"privacy.patients_per_step: {privacy.patients_per_step}, but there are {patients} training patients; take "
            "fewer"
        )
    rate = privacy.patients_per_step / patients
    sigma = accountant.sigma_for(privacy.epsilon, rate, privacy.steps, privacy.delta)
    spent = accountant.epsilon(sigma, rate, privacy.steps, privacy.delta)
    colluders = privacy.colluders if privacy.dp == "sum" else 0
    numbers = (privacy.steps, privacy.clip, spent, privacy.delta, patients, images, sites, colluders, unit)
    return Mechanism(privacy.dp, sigma, rate, *numbers, privacy.noise == "secret")


def mechanism_at(privacy: Privacy, folders: Iterable[Path]) -> Mechanism | None:
    """The mechanism of private training for the patients whose data lie in these sites' directories."""
    folders = list(folders)
    patients, known = train_patients(folders)
    images = train_images(folders)
    return mechanism_of(privacy, patients, sum(images.values()), len(images), "patient" if known else "image")


def mechanism_registered(privacy: Privacy, path: Path, sites: Sequence[str]) -> Mechanism | None:
    """The mechanism of private training at `sites`, whose patients and images the registry `path` counts."""
    patients, known = registry.train_patients(path, sites)
    images = registry.train_images(path, sites)
    return mechanism_of(privacy, patients, sum(images.values()), len(images), "patient" if known else "image")
