"""The points of an experiment: how well each run does on the validation set, and the point chosen for each model.

No test set is read here. What follows (`fedxray.analysis.comparison`) reads the chosen points only.
"""

from collections.abc import Iterable, Mapping

import pandas as pd

from fedxray.core.errors import UserError
from fedxray.experiment.experiment import Run
from fedxray.experiment.folder import Folder

COST = ["parameters", "bytes_sent", "seconds"]
VALIDATION = ["validation_auroc", "validation_accuracy", "validation_loss"]
MODEL_KEY = ["cohort", "mode", "method", "site"]  # what is compared: for each of these one point is chosen
COUNTS = {"steps": "Int64", "rounds": "Int64"}  # whole numbers, or empty where a mode has none


def table_of_runs(runs: Iterable[Run], folder: Folder) -> pd.DataFrame:
    """One row per run, in the order given: its model, point, seed, cost, validation after its last epoch, and path."""
    rows = []
    for run in runs:
        record, curves = folder.run(run.path).read_record(), folder.run(run.path).read_curves()
        last = curves[curves["series"] == "global"].iloc[-1]
        federated, model = record["method"] is not None, run.model
        row = {"cohort": model.cohort.name, "mode": model.mode, "method": model.method, "site": model.site}
        row |= {"lr": run.point["lr"], "epochs": run.point["epochs"]}
        row |= {name: run.point.get(name) for name in ("round", "steps")} | run.point | run.method.numbers
        row |= {"seed": run.seed, "rounds": record["schedule"]["rounds"] if federated else None}
        row |= {name: record[name] for name in COST} | {name: last[name] for name in VALIDATION}
        rows.append(row | {"path": run.path})
    return pd.DataFrame(rows).astype(COUNTS)


def choose(table: pd.DataFrame) -> pd.DataFrame:
    """`table` with a column `chosen`: of each model the point with the highest validation AUROC, averaged over seeds.

    Of several such points the one with fewer epochs, then the smaller learning rate, then the first.
    """
    point = point_columns(table)
    groups = table.groupby([*MODEL_KEY, *point], dropna=False, sort=False)
    means = groups["validation_auroc"].mean().reset_index()
    order = means.sort_values(["validation_auroc", "epochs", "lr"], ascending=[False, True, True], kind="stable")
    best = order.drop_duplicates(MODEL_KEY)[[*MODEL_KEY, *point]].assign(chosen=True)
    merged = table.merge(best, on=[*MODEL_KEY, *point], how="left", validate="many_to_one")
    return merged.assign(chosen=merged["chosen"].eq(True))


def with_thresholds(points: pd.DataFrame, thresholds: Mapping[str, float]) -> pd.DataFrame:
    """The table `chosen.csv`: the chosen rows of `points`, with a column `threshold` from {path of a run: threshold}.

    Raises UserError for a chosen run that has none.
    """
    chosen = points[points["chosen"]]
    if missing := [path for path in chosen["path"] if path not in thresholds]:
        raise UserError(f"{missing[0]}: no predictions of the validation set, so no threshold; predict it again")
    return chosen.assign(threshold=[thresholds[path] for path in chosen["path"]]).astype(COUNTS)


def point_columns(table: pd.DataFrame) -> list[str]:
    """The columns of a table of runs that say which point a run is, without its seed."""
    other = {*MODEL_KEY, "seed", "rounds", *COST, *VALIDATION, "path", "chosen", "threshold"}
    return [name for name in table if name not in other]


def edges(table: pd.DataFrame) -> dict[str, list[tuple[str, str, str]]]:
    """Chosen values at the edge of what was tried, such as "lr=0.001, the lowest": the models (cohort, mode, site).

    Beyond such an edge there may be a better point. Numbers of which at least two were tried; `rounds` are `epochs` of
    one local epoch, unless local epochs vary too.
    """
    models: dict[str, list[tuple[str, str, str]]] = {}
    for model, runs in table.groupby(MODEL_KEY, sort=False):
        best = runs[runs["chosen"]].iloc[0]
        for name in point_columns(runs):
            tried = runs[name].dropna().unique()
            counted = pd.api.types.is_numeric_dtype(runs[name]) and len(tried) > 1
            if not counted or (name == "rounds" and runs["local_epochs"].nunique() < 2):
                continue
            for end, value in (("lowest", min(tried)), ("highest", max(tried))):
                if best[name] == value:
                    models.setdefault(f"{name}={value:g}, the {end}", []).append(model)
    return models


def global_curves(runs: pd.DataFrame, folder: Folder) -> pd.DataFrame:
    """The rows of `metrics.csv` of the global model of each of `runs`, with the columns of `runs`."""
    tables = []
    for _, run in runs.iterrows():
        curves = folder.run(run["path"]).read_curves()
        columns = {name: run[name] for name in run.index if name not in curves}
        tables.append(curves[curves["series"] == "global"].assign(**columns))
    return pd.concat(tables, ignore_index=True)


def federated_curves(points: pd.DataFrame, folder: Folder) -> pd.DataFrame:
    """One row per federated run and round: cohort, name (of the point), chosen, round, bytes, validation_auroc."""
    runs = points[points["mode"] == "federated"].astype(COUNTS)
    point = [name for name in point_columns(runs) if name != "epochs"]  # which are rounds x local_epochs
    names = [",".join(f"{name}={run[name]}" for name in point) for _, run in runs.iterrows()]
    curves = global_curves(runs.assign(name=names), folder)
    rounds = curves["epoch"] // curves["local_epochs"]
    return pd.DataFrame(
        {
            "cohort": curves["cohort"],
            "name": curves["name"],
            "chosen": curves["chosen"],
            "round": rounds,
            "bytes": curves["bytes_sent"] // curves["rounds"] * rounds,
            "validation_auroc": curves["validation_auroc"],
        }
    )
