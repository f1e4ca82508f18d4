"""The records of a run's rounds: their types, and the tables and lines made from them."""

from collections.abc import Sequence

import pandas as pd

from fedxray.training.rows import EpochRow, Validation


class RoundRecord(Validation):
    """What the server knows of one round (`ServerRounds.aggregate`)."""

    round: int  # from 1
    epoch: int  # passes over the data so far
    train_loss: float  # of each site's last epoch, weighted by images
    seconds: float  # since the last round
    images: dict[str, int]  # training images of each site that answered
    sites: dict[str, list[EpochRow]]
    absent: dict[str, str]  # each site that did not answer, and why


def curves_of(records: Sequence[RoundRecord]) -> pd.DataFrame:
    """The rows of a federated run's `metrics.csv`: those of the global model, then those of each site."""
    tables = [pd.DataFrame(records).assign(series="global")]
    for site in sites_of(records):
        rows = [row for record in records for row in record["sites"].get(site, [])]
        tables.append(pd.DataFrame(rows).assign(series=site))
    return pd.concat(tables)


def sites_of(records: Sequence[RoundRecord]) -> list[str]:
    """Every site that answered in a round, sorted."""
    return sorted({site for record in records for site in record["sites"]})


def images_of(records: Sequence[RoundRecord]) -> int:
    """The training images of all sites that answered in a round."""
    return sum({site: images for record in records for site, images in record["images"].items()}.values())


def epochs_of(records: Sequence[RoundRecord]) -> dict[str, int]:
    """How many epochs each site that answered has trained in these rounds."""
    return {site: sum(len(record["sites"].get(site, [])) for record in records) for site in sites_of(records)}


def round_line(record: RoundRecord, rounds: int) -> str:
    """One line of progress for a round."""
    missing = "".join(f"  without {site}: {why}" for site, why in record["absent"].items())
    return (
        f"round {record['round']}/{rounds}  loss {record['train_loss']:.4f}  "
        f"validation AUROC {record['validation_auroc']:.4f}  {record['seconds']:.1f} s{missing}"
    )


def epoch_line(row: EpochRow, epochs: int) -> str:
    """One line of progress for an epoch."""
    return (
        f"epoch {row['epoch']}/{epochs}  loss {row['train_loss']:.4f}  "
        f"validation AUROC {row['validation_auroc']:.4f}  {row['seconds']:.1f} s"
    )
