"""The records of a run's rounds (`ServerRounds.aggregate`), as tables and lines."""

import pandas as pd


def metrics_of(records: list[dict]) -> pd.DataFrame:
    """The rows of a run's `metrics.csv`, from the records of its rounds: the global model's, then each site's."""
    tables = [pd.DataFrame(records).assign(series="global")]
    for site in sites_of(records):
        rows = [row for record in records for row in record["sites"].get(site, [])]
        tables.append(pd.DataFrame(rows).assign(series=site))
    return pd.concat(tables)


def sites_of(records: list[dict]) -> list[str]:
    """Every site that answered in a round."""
    return sorted({site for record in records for site in record["sites"]})


def epochs_of(records: list[dict]) -> dict[str, int]:
    """How many epochs each site that answered has trained in these rounds."""
    return {site: sum(len(record["sites"].get(site, [])) for record in records) for site in sites_of(records)}


def line_of(record: dict, rounds: int) -> str:
    """One line for a person who waits."""
    missing = "".join(f"  without {site}: {why}" for site, why in record["absent"].items())
    return (
        f"round {record['round']}/{rounds}  loss {record['train_loss']:.4f}  "
        f"validation AUROC {record['validation_auroc']:.4f}  {record['seconds']:.1f} s{missing}"
    )
