"""The points of an experiment: what validation says of each run, and which points it chooses.

No test set is read here; what follows (`fedxray.analysis.comparison`) sees the chosen points alone.
"""

from pathlib import Path

import pandas as pd

from fedxray.core.files import read_json, read_table
from fedxray.experiment.sweep import Run

COST = ["parameters", "bytes_sent", "seconds"]
VALIDATION = ["validation_auroc", "validation_accuracy", "validation_loss"]
MODEL = ["cohort", "mode", "site"]  # what is compared; a point of each is chosen


def table_of_runs(runs: list[Run], folder: Path) -> pd.DataFrame:
    """One row per run, in the order given: its model, point, seed, cost, validation after its last epoch, and path."""
    rows = []
    for run in runs:
        record, metrics = read_json(folder / run.path / "record.json"), read_table(folder / run.path / "metrics.csv")
        last = metrics[metrics["series"] == "global"].iloc[-1]
        names = {"cohort": run.cohort.rstrip("/"), "mode": run.mode, "site": run.site}
        point = {"lr": run.values["lr"], "epochs": record["epochs"], "rounds": record["rounds"]}
        point |= {"local_epochs": record["local_epochs"]} | run.values
        costs = {name: record[name] for name in COST}
        rows.append(names | point | {"seed": run.seed} | costs | {name: last[name] for name in VALIDATION})
        rows[-1]["path"] = run.path
    table = pd.DataFrame(rows)
    return table.astype({"rounds": "Int64", "local_epochs": "Int64"})  # empty where there are none


def choose(table: pd.DataFrame) -> pd.DataFrame:
    """`table` with a column `chosen`: of each model the point with the highest validation AUROC, averaged over seeds.

    Of several such the one with fewer epochs, then the smaller learning rate, then the first.
    """
    point = point_columns(table)
    groups = table.groupby([*MODEL, *point], dropna=False, sort=False)
    means = groups["validation_auroc"].mean().reset_index()
    order = means.sort_values(["validation_auroc", "epochs", "lr"], ascending=[False, True, True], kind="stable")
    best = order.drop_duplicates(MODEL)[[*MODEL, *point]].assign(chosen=True)
    merged = table.merge(best, on=[*MODEL, *point], how="left", validate="many_to_one")
    return merged.assign(chosen=merged["chosen"].eq(True))


def point_columns(table: pd.DataFrame) -> list[str]:
    """The columns of a table of runs that say which point a run is, less the seed."""
    other = {*MODEL, "seed", *COST, *VALIDATION, "path", "chosen"}
    return [name for name in table if name not in other]


def edges(table: pd.DataFrame) -> dict[str, list[tuple[str, str, str]]]:
    """Chosen values at the edge of what was tried, such as "lr=0.001, the lowest": the models (cohort, mode, site).

    Beyond such an edge there may be a better point. Numbers of which at least two were tried; `rounds` are `epochs` of
    one local epoch, unless local epochs vary too.
    """
    found = {}
    for model, runs in table.groupby(MODEL, sort=False):
        best = runs[runs["chosen"]].iloc[0]
        for name in point_columns(runs):
            tried = runs[name].dropna().unique()
            counted = pd.api.types.is_numeric_dtype(runs[name]) and len(tried) > 1
            if not counted or (name == "rounds" and runs["local_epochs"].nunique() < 2):
                continue
            for end, value in (("lowest", min(tried)), ("highest", max(tried))):
                if best[name] == value:
                    found.setdefault(f"{name}={value:g}, the {end}", []).append(model)
    return found


def global_curves(runs: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """The rows of `metrics.csv` of the global model of each of `runs`, with the columns of `runs`."""
    tables = []
    for _, run in runs.iterrows():
        metrics = read_table(folder / run["path"] / "metrics.csv")
        own = {name: run[name] for name in run.index if name not in metrics}
        tables.append(metrics[metrics["series"] == "global"].assign(**own))
    return pd.concat(tables, ignore_index=True)


def federated_curves(points: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """One row per federated run and round: cohort, name (of the point), chosen, round, bytes, validation_auroc."""
    curves = global_curves(points[points["mode"] == "federated"], folder)
    rounds = curves["epoch"] // curves["local_epochs"]
    return pd.DataFrame(
        {
            "cohort": curves["cohort"],
            "name": curves["path"].str.rpartition("/")[2].str.rpartition(",seed=")[0],
            "chosen": curves["chosen"],
            "round": rounds,
            "bytes": curves["bytes_sent"] // curves["rounds"] * rounds,
            "validation_auroc": curves["validation_auroc"],
        }
    )
