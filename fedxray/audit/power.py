"""What the attacks can find: phantom images, and a model that learns some of them by heart."""

import logging
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from fedxray.audit.inversion import attacked
from fedxray.audit.membership import confidences
from fedxray.audit.retraining import SHADOWS, halves
from fedxray.core.seeds import seed_of, stream
from fedxray.data.drawing import draw_patient
from fedxray.data.pixels import to_grey
from fedxray.experiment.settings import Settings
from fedxray.training.models import build
from fedxray.training.rows import Segment
from fedxray.training.trainer import Trainer, predict

CANARIES, SIZE, EPOCHS = 200, 32, 80  # images, pixels of a side, passes over those that are trained on

log = logging.getLogger(__name__)


class Memorised(NamedTuple):
    """How sure a model is of its canaries' labels, and shadow models."""

    sure: np.ndarray  # float64 (n,), `membership.confidences`
    shadows: np.ndarray  # float64 (n,): the same, the mean over shadow models, of which half were trained on the image
    included: np.ndarray  # int64 (n,): 1 if it was trained on


def phantoms(count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The first image of each of `count` phantom patients: uint8 (count, size, size), and labels float32 (count,)."""
    drawn = [draw_patient(seed, patient)[0] for patient in range(1, count + 1)]
    images = np.stack([to_grey(data, size) for _, _, _, data in drawn])
    return images, np.array([label == "PNEUMONIA" for _, label, _, _ in drawn], np.float32)


def memorise(settings: Settings, seed: int, canaries: int = CANARIES, epochs: int = EPOCHS) -> Memorised:
    """Train the compact network to know its images by heart, and measure it on those that it was not shown too.

    Each canary is a phantom image with a label by a coin, so that nothing but memory helps, and another coin says
    whether it is trained on (Steinke, Nasr & Jagielski 2023). There is no augmentation and no weight decay. The shadow
    models learn halves of the same images with the same labels.
    """
    log.info("models that know their images by heart, to see what the attacks can find")
    images, _ = phantoms(canaries, SIZE, seed)
    labels = stream(seed, "audit", "labels").integers(0, 2, canaries).astype(np.float32)
    included = stream(seed, "audit", "coins").integers(0, 2, canaries)
    parts = halves(np.arange(canaries).astype(str), labels, SHADOWS, stream(seed, "audit", "halves"))

    def learn(part: np.ndarray, *names: str | int) -> np.ndarray:
        plain = attacked("compact", SIZE, seed_of(seed, "audit", *names), settings)
        plain = replace(plain, epochs=epochs, optimizer="adamw", lr=0.002, weight_decay=0.0, batch_size=16)
        shown = images[part], labels[part]
        trainer, model = Trainer(plain, shown, shown), build(plain)
        total = epochs * trainer.batches
        trainer.fit(model, [Segment(0, total, None)], total)
        return confidences(labels, predict(model, images, plain.compute))

    shadows = np.mean([learn(part, "shadow", number) for number, part in enumerate(parts)], axis=0)
    return Memorised(learn(included == 1, "by heart"), shadows, included)
