"""The records of a run's rounds: their types, and the tables and lines made from them."""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import pandas as pd

from fedxray.experiment.method import PLAIN, Method
from fedxray.experiment.settings import Settings
from fedxray.federation.policy import Schedule
from fedxray.training.mechanism import Mechanism
from fedxray.training.rows import EpochRow, Validation


class RoundRecord(TypedDict):
    """What the server knows of one round (`ServerRounds.aggregate`)."""

    round: int  # from 1
    epoch: int | None  # the epoch that ended in the round (from 1); None: none did
    # Of a secure aggregation: {pooled: the images of all}, no distances, and no rows of sites.
    train_loss: float | None  # of each site's last epoch, or part of one, weighted by images
    validation: Validation | None  # of the global model, if an epoch ended
    seconds: float  # since the last round
    bytes: int  # that travelled: to each site that answered, and back
    distances: dict[str, float]  # of each site's answer from the median of all in each coordinate
    images: dict[str, int]  # training images of each site that answered
    sites: dict[str, list[EpochRow]]
    absent: dict[str, str]  # each site that did not answer, and why


def point_of(
    mode: str,
    site: str,
    settings: Settings,
    schedule: Schedule,
    method: Method = PLAIN,
    noise: Mechanism | None = None,
) -> dict[str, Any]:
    """The settings of a run that trains, as TensorBoard's HParams tab has them by name; `site` is `pooled` of all."""
    point = {"mode": mode, "site": site, "lr": settings.lr, "epochs": schedule.epochs, "seed": settings.seed}
    point |= {"rounds": schedule.rounds, "round": schedule.round}
    point |= {"dp": noise.place, "epsilon": noise.epsilon} if noise else {}
    return point | ({"method": method.slug} | method.numbers if mode in ("federated", "coalition") else {})


def curves_of(records: Sequence[RoundRecord]) -> pd.DataFrame:
    """The rows of a federated run's `metrics.csv`: those of the global model, then those of each site."""
    tables, seconds, rows = [], 0.0, []
    for record in records:
        seconds += record["seconds"]
        if row := global_row(record):
            rows.append(row | {"seconds": round(seconds, 3)})
            seconds = 0.0
    tables.append(pd.DataFrame(rows).assign(series="global"))
    for site in sites_of(records):
        of_site = [row for record in records for row in record["sites"].get(site, [])]
        tables.append(pd.DataFrame(of_site).assign(series=site))
    return pd.concat([table for table in tables if len(table)])


def global_row(record: RoundRecord) -> dict[str, Any] | None:
    """What is measured of the global model after a round; None if no epoch ended in it."""
    if record["epoch"] is None or record["validation"] is None:
        return None
    loss = np.nan if record["train_loss"] is None else record["train_loss"]
    return {"epoch": record["epoch"], "train_loss": loss, **record["validation"]}


def last_rounds(records: Sequence[RoundRecord]) -> dict[str, int]:
    """The last round, from 1, in which each site answered."""
    return {site: record["round"] for record in records for site in record["sites"]}


def sites_of(records: Sequence[RoundRecord]) -> list[str]:
    """Every site that answered in a round, sorted."""
    return sorted({site for record in records for site in record["sites"]})


def images_of(records: Sequence[RoundRecord]) -> int:
    """The training images of all sites that answered in a round.

    Of a secure aggregation it is the largest total of a round: nobody knows a site's own number.
    """
    most: dict[str, int] = {}
    for record in records:
        for site, images in record["images"].items():
            most[site] = max(images, most.get(site, 0))
    return sum(most.values())


def epochs_of(records: Sequence[RoundRecord]) -> dict[str, int]:
    """How many epochs each site that answered has trained in these rounds."""
    return {site: sum(len(record["sites"].get(site, [])) for record in records) for site in sites_of(records)}


def distances_of(records: Sequence[RoundRecord]) -> list[dict]:
    """How far each site's answer was from the others' in each round, for `analysis/suspects.py`."""
    return [{"round": record["round"], "distance": record["distances"]} for record in records]


def round_line(record: RoundRecord, rounds: int) -> str:
    """One line of progress for a round."""
    missing = "".join(f"  without {site}: {why}" for site, why in record["absent"].items())
    validation = record["validation"]
    measured = f"  validation AUROC {validation['validation_auroc']:.4f}" if validation else ""
    return (
        f"round {record['round']}/{rounds}  loss {_loss(record['train_loss'])}{measured}  "
        f"{record['seconds']:.1f} s{missing}"
    )


def personal_line(site: str, rows: Sequence[EpochRow]) -> str:
    """One line of progress for a site's own model."""
    first, last = rows[0]["validation_auroc"], rows[-1]["validation_auroc"]
    further = f", {last:.4f} after {len(rows) - 1} further epochs" if len(rows) > 1 else ""
    return f"{site}'s own model  AUROC on its own validation {first:.4f}{further}"


def epoch_line(row: EpochRow, epochs: int) -> str:
    """One line of progress for an epoch."""
    return (
        f"epoch {row['epoch']}/{epochs}  loss {_loss(row['train_loss'])}  "
        f"validation AUROC {row['validation_auroc']:.4f}  {row['seconds']:.1f} s"
    )


def _loss(value: float | None) -> str:
    """A training loss in a line; `-` if there is none, because it would not be private or is not known."""
    return "-" if value is None or np.isnan(value) else f"{value:.4f}"
