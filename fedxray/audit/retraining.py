"""Attacks that train as the attacked run was trained: on halves of its data, and with images of wrong labels.

Both train the whole federation again in this process, by the run's own settings, method, schedule and noise, but with
seeds of their own: an attacker who knew the noise would find more than privacy allows.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import nn

from fedxray.audit.membership import confidences
from fedxray.core.seeds import seed_of, stream
from fedxray.data.site import SiteData
from fedxray.experiment.folder import RunFolder
from fedxray.experiment.method import Method
from fedxray.experiment.settings import Settings
from fedxray.federation.inprocess import federate
from fedxray.federation.policy import Schedule
from fedxray.training.mechanism import Mechanism
from fedxray.training.models import restore
from fedxray.training.trainer import Part, predict

SHADOWS = 4  # models, an even number
MOST = 200  # canaries

log = logging.getLogger(__name__)


class Scores(NamedTuple):
    """How much each image looks like one that was trained on."""

    score: np.ndarray  # float64 (n,)
    member: np.ndarray  # int64 (n,): 1 if it was trained on
    patients: np.ndarray  # text (n,): whose it is


class Shadows(NamedTuple):
    """What shadow models say of a federation's training and test images, which they do not tell apart."""

    rows: dict[str, np.ndarray]  # {site: rows of its table}, int64 (n,)
    sure: dict[str, np.ndarray]  # {site: how sure the models are of the labels, on average}, float64 (n,)


@dataclass(frozen=True)
class Audited:
    """A federated model, and what it was trained by."""

    model: nn.Module
    settings: Settings
    method: Method
    schedule: Schedule
    privacy: dict  # of its record, `Mechanism.about`; empty without noise
    data: Mapping[str, SiteData]  # of all its sites
    validation: Part  # the shared validation set
    site: str  # whose own model it is; empty if it is that of all
    initial: Path | None = None  # the file of the model that its training began with, if one was given

    @property
    def attacked(self) -> list[str]:
        """The sites whose images are looked for."""
        return [self.site] if self.site else list(self.data)

    def train(self, data: Mapping[str, SiteData], *names: str | int) -> nn.Module:
        """A model that is trained in the same way on the training images of `data`; `names` are of its seed."""
        settings = replace(self.settings, seed=seed_of(self.settings.seed, "audit", *names))
        patients = sum(len(np.unique(site.patients("train"))) for site in data.values())
        images = sum(len(site.patients("train")) for site in data.values())
        noise = mechanism_of_record(self.privacy, patients, images, len(data)) if self.privacy else None
        start = time.perf_counter()
        trained = federate(data, self.validation, settings, self.method, self.schedule, noise, self.initial)
        log.info("trained in %.0f s", time.perf_counter() - start)
        parameters = trained.personal[self.site].parameters if self.site else trained.parameters
        if parameters is None:
            raise TypeError("a model of a federation in this process has parameters")
        return restore(settings, parameters)

    def confidences(self, model: nn.Module, site: str, rows: np.ndarray) -> np.ndarray:
        """How sure `model` is of the labels of these rows of a site's table (`membership.confidences`)."""
        images, labels = self.data[site].images[rows], self.data[site].table["label"].to_numpy()[rows]
        return confidences(labels, predict(model, images, self.settings.compute))


def audited(run: RunFolder, data: Mapping[str, SiteData], site: str, initial: Path) -> Audited:
    """The federated model of `run`, which was trained on `data` {site: its data}; `site` if it is that one's own.

    `initial` is the file of the model that it began with, if the run says that one was given.
    """
    record, settings = run.read_record(), run.settings()
    method, schedule = Method(**record["method"]), Schedule(**record["schedule"])
    validation = next(iter(data.values())).part("validation")
    model, start = restore(settings, run.parameters()), initial if settings.initial else None
    return Audited(model, settings, method, schedule, record.get("privacy", {}), data, validation, site, start)


def mechanism_of_record(about: dict, patients: int, images: int, sites: int) -> Mechanism:
    """The mechanism of whose run the record says `about`, for so many training patients and images at so many sites."""
    names = ("sigma", "rate", "steps", "clip", "epsilon", "delta", "colluders", "unit")
    counts = {"patients": patients, "images": images, "sites": sites}
    return Mechanism(about["dp"], secret=not about["simulation"], **{name: about[name] for name in names}, **counts)


def halves(patients: np.ndarray, labels: np.ndarray, count: int, draw: np.random.Generator) -> np.ndarray:
    """Which images each of `count` shadow models is trained on, bool (count, n).

    Each pair of shadows parts the patients, text (n,), at random, half of those of each label (of their first image,
    (n,)), so that each image is in half of all shadows.
    """
    _, first, of_image = np.unique(patients, return_index=True, return_inverse=True)
    parts = []
    for _ in range(count // 2):
        chosen = np.zeros(len(first), bool)
        for label in (0, 1):
            order = draw.permutation(np.flatnonzero(labels[first] == label))
            chosen[order[: len(order) // 2 + draw.integers(2) * (len(order) % 2)]] = True
        parts += [chosen[of_image], ~chosen[of_image]]
    return np.array(parts)


def shadows_of(target: Audited, seed: int) -> Shadows:
    """Train `SHADOWS` shadow models in pairs, as the target was trained, on halves of its training and test images."""
    draw, rows, parts = stream(seed, "audit", "shadows"), {}, {}
    for name, site in target.data.items():
        rows[name] = np.flatnonzero(site.table["split"].isin(["train", "test"]))
        table = site.table.iloc[rows[name]]
        parts[name] = halves(table["patient"].to_numpy(str), table["label"].to_numpy(), SHADOWS, draw)
    sums = {name: np.zeros(len(rows[name])) for name in rows}
    for number in range(SHADOWS):
        log.info("shadow model %d of %d", number + 1, SHADOWS)
        half = {name: _training_on(site, rows[name][parts[name][number]]) for name, site in target.data.items()}
        model = target.train(half, "shadow", number)
        for name, total in sums.items():
            total += target.confidences(model, name, rows[name])
    return Shadows(rows, {name: total / SHADOWS for name, total in sums.items()})


def by_shadows(target: Audited, shadows: Shadows) -> Scores:
    """The likelihood-ratio attack (Carlini et al. 2022) on the target's training and test images.

    An image's score is how sure the target is of its label less how sure the shadows are on average, of which half were
    trained with it. It is the ratio of two normal densities of one variance whose means are apart by the same for all
    images; so few shadows could not tell more of each. The target is no shadow, and the shadows are drawn alike for
    members and others, so that a model that keeps nothing gives a score that tells nothing.
    """
    parts = []
    for name in target.attacked:
        table = target.data[name].table.iloc[shadows.rows[name]]
        score = target.confidences(target.model, name, shadows.rows[name]) - shadows.sure[name]
        parts.append((score, (table["split"] == "train").to_numpy(int), table["patient"].to_numpy(str)))
    return Scores(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def with_canaries(target: Audited, seed: int) -> Scores:
    """How sure a training with canaries is of their labels, each less how sure the target is, which had none.

    The canaries are images of test patients, one of each and at most `MOST`, with the wrong label, so that nothing but
    memory helps. Each is trained on, with all training images, if a fair coin says so (Steinke, Nasr & Jagielski 2023).
    """
    found = []
    for name in target.attacked:
        table = target.data[name].table
        test = np.flatnonzero(table["split"] == "test")
        _, first = np.unique(table["patient"].to_numpy(str)[test], return_index=True)
        found += [(name, row) for row in test[first]]
    draw = stream(seed, "audit", "canaries")
    chosen = [found[number] for number in draw.permutation(len(found))[:MOST]]
    coins = draw.integers(0, 2, len(chosen))
    log.info("%d canaries, of which %d are trained on", len(chosen), coins.sum())
    rows = {name: np.array([row for of, row in chosen if of == name], int) for name in target.data}
    thrown = {name: coins[[of == name for of, _ in chosen]] for name in target.data}
    wrong = {name: _mislabelled(site, rows[name]) for name, site in target.data.items()}
    made = {}
    for name, site in wrong.items():
        train = np.flatnonzero(site.table["split"] == "train")
        made[name] = _training_on(site, np.concatenate([train, rows[name][thrown[name] == 1]]))
    model, asked = target.train(made, "canaries"), replace(target, data=wrong)
    parts = []
    for name in target.attacked:
        before, after = (asked.confidences(network, name, rows[name]) for network in (target.model, model))
        patients = target.data[name].table["patient"].to_numpy(str)[rows[name]]
        parts.append((after - before, thrown[name], patients))
    return Scores(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _mislabelled(site: SiteData, rows: np.ndarray) -> SiteData:
    """The site, with these rows of its table under the wrong label."""
    labels = site.table["label"].copy()
    labels.iloc[rows] = 1 - labels.iloc[rows]
    return replace(site, table=site.table.assign(label=labels))


def _training_on(site: SiteData, rows: np.ndarray) -> SiteData:
    """The site, with these rows of its table as training images, and no test images."""
    split = site.table["split"].where(site.table["split"] == "validation", "unused")
    split.iloc[rows] = "train"
    return replace(site, table=site.table.assign(split=split))
