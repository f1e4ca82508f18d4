"""What a trainer is asked and what it measures. The file imports no PyTorch, for code which only passes these on."""

from typing import NamedTuple, TypedDict


class Segment(NamedTuple):
    """Steps `first`..`last` (`last` excluded) of a run at one site, counted from 0; a step is a batch."""

    first: int
    last: int
    epoch: int | None  # what is measured after them is of this epoch (from 1); None: nothing is measured


class Validation(TypedDict):
    """A model on a validation set (`trainer.validate`)."""

    validation_loss: float  # mean cross-entropy
    validation_accuracy: float  # at 0.5
    validation_auroc: float


class EpochRow(Validation):
    """What a trainer measures after one epoch (`Trainer.fit`)."""

    epoch: int  # passes over the data so far, from 1
    train_loss: float  # the mean over the images of its batches, or of those of the round in which it ended
    seconds: float


def validation_of(row: EpochRow) -> Validation:
    """What is measured of the model alone."""
    return {
        "validation_loss": row["validation_loss"],
        "validation_accuracy": row["validation_accuracy"],
        "validation_auroc": row["validation_auroc"],
    }
