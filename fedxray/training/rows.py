"""What a trainer measures. The file imports no PyTorch, so that code which only passes rows on does not load it."""

from typing import TypedDict


class Validation(TypedDict):
    """A model on a validation set (`trainer.validate`)."""

    validation_loss: float  # mean cross-entropy
    validation_accuracy: float  # at 0.5
    validation_auroc: float


class EpochRow(Validation):
    """What a trainer measures after one epoch (`Trainer.fit`)."""

    epoch: int  # passes over the data so far, from 1
    train_loss: float  # the mean over its batches' images
    seconds: float
