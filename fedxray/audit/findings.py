"""The rows of audit.csv: what each attack found, with a sentence, and that it could have found something."""

import numpy as np
import torch

from fedxray.audit.inversion import (
    KINDS,
    attacked,
    features_of,
    first_dense,
    matches,
    picture,
    ratios,
    searched,
    sgd_step,
    update,
)
from fedxray.audit.membership import Bound, Membership
from fedxray.audit.retraining import SHADOWS
from fedxray.experiment.settings import Settings
from fedxray.training.mechanism import Mechanism
from fedxray.training.models import build
from fedxray.training.trainer import standardise

COLUMNS = ["attack", "target", "statistic", "value", "low", "high", "power", "claimed", "sentence"]
PICTURED = KINDS[:3]  # updates of which pictures are made
# The noise of an update where the experiment has none: about epsilon 8, where 256 of 2,869 patients take 112 steps.
EXAMPLE = Mechanism("sites", 0.908, 256 / 2869, 112, 0.1, 8.0, 1e-5, 2869, 4097, 3, 0, "patient", False)
STEPS, SEARCHED = 150, 200  # of the search for a picture: by its features; by its gradient
CHANCE = 0.1  # a correlation below this is called nothing
FEW = 1000  # features; fewer hold no picture, and correlate by chance
WORDS = {
    "in clear": "as an SGD step in clear",
    "masked": "under a mask of secure aggregation",
    "with noise": "clipped to {clip:g}, with noise of a deviation of {deviation:.3g}",
    "as sent": "as the difference after one step of AdamW, which is what a site sends",
}

# Attacks that tell whose image was in training, and what they tell it by.
BY = {"membership by loss": "The loss", "membership by LiRA": f"LiRA with {SHADOWS} shadow models"}

Pictures = list[dict[str, np.ndarray]]


def of_step(
    model: str,
    settings: Settings,
    seed: int,
    images: np.ndarray,
    labels: np.ndarray,
    noise: Mechanism,
    pictured: tuple[int, ...] = (),
    power: float | None = None,
) -> tuple[list[dict], Pictures]:
    """What one step of a network on `images` uint8 (n, size, size) gives away, by each kind of update.

    Returns rows of `COLUMNS`: the mean over the images of the best correlation of what is read off with their features,
    with the lowest and highest. And of the images whose numbers are `pictured`: {"true": float32 (size, size)} and, by
    kind of `PICTURED`, the picture that has the features that were read off. `power` is the value where the attack must
    find something; if it is None, that of this network's update in clear.
    """
    easy, count = attacked(model, images.shape[1], seed, settings), len(images)
    network = build(easy)
    dense = first_dense(network)
    pixels = standardise(torch.from_numpy(images))
    with torch.no_grad():
        features = features_of(network, dense, pixels).numpy()
    rows: list[dict] = []
    pictures: Pictures = [{"true": pixels[number, 0].numpy()} for number in pictured]
    target = f"{model} network, a step of {count} image{'s' * (count > 1)}"
    for kind in KINDS:
        read = ratios(update(kind, easy, images, labels, noise), dense)
        found, best = matches(read, features)
        power = found.mean() if power is None else power
        values = {"value": found.mean(), "low": found.min(), "high": found.max(), "power": power}
        how = WORDS[kind].format(clip=noise.clip, deviation=noise.deviation)
        sentence = _of_features(how, count, features.shape[1], float(found.min()), float(found.max()))
        rows.append(_row("inversion", target, f"feature correlation, {kind}", sentence, **values))
        for number, shown in zip(pictured, pictures, strict=True):
            if kind in PICTURED:
                shown[kind] = picture(network, read[best[number]], images.shape[1], STEPS, seed)
    return rows, pictures


def of_search(
    model: str, settings: Settings, seed: int, images: np.ndarray, labels: np.ndarray, power: float
) -> list[dict]:
    """What a search for the picture of the first of `images` uint8 (n, size, size) finds, by its SGD step in clear.

    The others are what the attacker has seen of such images: it starts from the average of those of the same label, and
    does no better than guess if that average is more like the image than what it finds.
    """
    easy = attacked(model, images.shape[1], seed, settings)
    pixels, one = standardise(torch.from_numpy(images)), (images[:1], labels[:1])
    average = pixels[1:][torch.from_numpy(labels[1:] == labels[0])].mean(0, keepdim=True)
    found = searched(easy, sgd_step(easy, *one), labels[:1], average, SEARCHED)
    value, guessed = (
        float(np.corrcoef(shown.ravel(), pixels[0].numpy().ravel())[0, 1]) for shown in (found, average.numpy())
    )
    verdict = "so the search adds nothing" if value <= guessed else "so the search adds to it"
    sentence = (
        f"From the exact SGD step of one image a search by its gradient finds a picture that correlates with it by "
        f"{value:.2f}; the average of other images of its label, which needs no attack, does by {guessed:.2f}, "
        f"{verdict}."
    )
    target = f"{model} network, a step of 1 image"
    names = ("picture correlation", "average of its label")
    return [
        _row("inversion by search", target, name, sentence, value=each, power=power)
        for name, each in zip(names, (value, guessed), strict=True)
    ]


def of_members(attack: str, target: str, found: Membership, power: Membership) -> list[dict]:
    """The rows of an attack of `BY`; `power` is what it finds in a model that knows its images by heart."""
    low, high = found.low, found.high
    can = f"; on a model that knows its images by heart it has an AUC of {power.auc:.2f}"
    words = f"AUC {found.auc:.3f} [{low:.3f}, {high:.3f}]"
    if low > 0.5:
        sentence = f"{BY[attack]} tells images that were trained on from others ({words}){can}."
    else:
        sentence = (
            f"The attack finds nothing beyond chance ({words}){can}. A stronger attack may find what this one does not."
        )
    area = _row(attack, target, "AUC", sentence, value=found.auc, low=low, high=high, power=power.auc)
    return [area] + [
        _row(
            *(attack, target, f"true positives at {rate:.1%} false ones"),
            f"At {rate:.1%} false alarms the attack names {value:.1%} of the training images.",
            value=value,
            power=power.rates[rate],
        )
        for rate, value in found.rates.items()
    ]


def of_canaries(target: str, found: Bound, confidence: float, claimed: dict, power: Bound) -> dict:
    """The row of an attack by canaries, beside what is claimed: the `privacy` of the run's record, empty if nothing is.

    `power` is what the same guesses prove of a model that knows its images by heart.
    """
    said = f"{found.correct} of {found.guesses} guesses are right, "
    if found.epsilon:
        said += f"so epsilon is at least {found.epsilon:.2f} ({confidence:.0%} confidence)"
    else:
        said += "which proves no epsilon above 0; it may be larger"
    said += f". If all were right, they would prove {found.most:.2f}; of a model that knows its images by heart the "
    said += f"attack proves {power.epsilon:.2f}."
    if claimed and found.epsilon > claimed["epsilon"]:
        said += (
            f" This refutes the {claimed['epsilon']:.3g} that is claimed, unless it is the one case in "
            f"{1 / (1 - confidence):.0f} in which such a bound is wrong."
        )
    elif claimed:
        said += f" Claimed is at most {claimed['epsilon']:.3g}, with which this agrees."
    else:
        said += " Nothing is claimed."
    values = {"value": found.epsilon, "power": power.epsilon, "claimed": claimed.get("epsilon", np.nan)}
    return _row("canaries", target, "epsilon at least", said, **values)


def _row(attack: str, target: str, statistic: str, sentence: str, **values: float) -> dict:
    row = {"attack": attack, "target": target, "statistic": statistic, "sentence": sentence}
    return dict.fromkeys(COLUMNS, np.nan) | row | values


def _of_features(how: str, images: int, features: int, low: float, high: float) -> str:
    if features < FEW:
        return (
            f"Sent {how}, the update gives away {features} means at most, of a picture next to nothing: what is read "
            f"off correlates with an image's by {high:.2f} at most."
        )
    if high < CHANCE:
        return f"Sent {how}, the update shows the server nothing by this attack."
    of = "its image" if images == 1 else "every image"
    if low > 0.99:
        return f"Sent {how}, the update gives away the exact features of {of}, and from these its picture."
    return f"Sent {how}, the update shows features mixed up: they correlate with an image's by {high:.2f} at most."
