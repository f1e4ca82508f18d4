"""The points of an experiment: how well each run does on the validation set, and the point chosen for each model.

No test set is read here. What follows (`fedxray.analysis.comparison`) reads the chosen points only.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction

import pandas as pd

from fedxray.core.errors import UserError
from fedxray.experiment.experiment import Run
from fedxray.experiment.folder import Folder

COST = ["parameters", "bytes_sent", "seconds"]
VALIDATION = ["validation_auroc", "validation_accuracy", "validation_loss"]
MODEL_KEY = ["cohort", "mode", "method", "site"]  # what is compared: for each of these one point is chosen
OWN = ("alone", "personal")  # modes whose models belong to one hospital, and are judged by its own patients
FEDERATED = ("federated", "personal")  # modes of a federation's models
WHOLE = ("steps", "rounds")  # columns of whole numbers, or empty where a mode has none
NOT_POINT = {*MODEL_KEY, "seed", "rounds", *COST, *VALIDATION, "path", "chosen", "threshold"}


def table_of_runs(runs: Iterable[Run], folder: Folder) -> pd.DataFrame:
    """One row per run, in the order given: its model, point, seed, cost, validation after its last epoch, and path.

    A column of the point is empty where a run does not use it; `steps` is left out where no run does.
    """
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
    table = pd.DataFrame(rows)
    ordered = [name for name in table if name not in NOT_POINT and (name != "steps" or table[name].notna().any())]
    return counted(table[[*MODEL_KEY, *ordered, "seed", "rounds", *COST, *VALIDATION, "path"]])


def counted(table: pd.DataFrame) -> pd.DataFrame:
    """`table` with its columns of `WHOLE` as whole numbers that may be missing, also if all are."""
    values = {name: pd.to_numeric(table[name]).astype("Int64") for name in WHOLE if name in table}
    return table.assign(**values)


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
    return counted(chosen.assign(threshold=[thresholds[path] for path in chosen["path"]]))


def without_coalitions(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the models that are compared; those of coalitions say what each hospital contributes, and no more."""
    return table[table["mode"] != "coalition"]


def point_columns(table: pd.DataFrame) -> list[str]:
    """The columns of a table of runs that say which point a run is, without its seed."""
    return [name for name in table if name not in NOT_POINT]


def leading(chosen: pd.DataFrame) -> pd.DataFrame:
    """The rows of chosen runs that a figure of few lines shows: of each cohort the best method by validation.

    Of federated models it is the method of the highest validation AUROC (mean over seeds), of personal ones that of the
    highest mean over hospitals; central training stays, and training alone with the budget of the method. If the
    experiment has one method, these are all models.
    """
    kept = []
    for _, models in chosen.groupby("cohort", sort=False):
        best = {mode: best_method(models, mode) for mode in FEDERATED}
        budgets = models["method"][models["mode"] == "alone"]
        wanted = best | {"central": "", "alone": alone_of(best["federated"] or best["personal"] or "", set(budgets))}
        kept += [index for index, model in models.iterrows() if wanted.get(model["mode"], None) == model["method"]]
    return chosen.loc[sorted(kept)]


def of_models(table: pd.DataFrame, models: pd.DataFrame, key: Sequence[str]) -> pd.DataFrame:
    """The rows of `table` whose columns `key` are those of a row of `models`."""
    wanted = set(models[key].itertuples(index=False, name=None))
    return table[[model in wanted for model in table[key].itertuples(index=False, name=None)]]


def best_method(models: pd.DataFrame, mode: str) -> str | None:
    """The method of the models of this mode, of one cohort, whose mean validation AUROC is highest; None of none."""
    means = models[models["mode"] == mode].groupby("method", sort=False)["validation_auroc"].mean()
    return None if means.empty else str(means.idxmax())


def exported(chosen: pd.DataFrame) -> pd.Series:
    """The row of the model that is exported: of the first cohort the best method's, of the seed that validates best.

    It is the federation's one model; where all methods are personal, a hospital's own.
    """
    models = chosen[chosen["cohort"] == chosen["cohort"].iloc[0]]
    mode = next(mode for mode in FEDERATED if (models["mode"] == mode).any())
    candidates = models[(models["mode"] == mode) & (models["method"] == best_method(models, mode))]
    return candidates.loc[candidates["validation_auroc"].idxmax()]


def alone_of(method: str, budgets: Collection[str]) -> str:
    """The method of the models alone that had the budget of a federated method; `budgets` has those that there are."""
    return "steps" if method.endswith("+steps") and "steps" in budgets else ""


def edges(table: pd.DataFrame) -> dict[str, list[tuple[str, ...]]]:
    """Chosen values at the edge of what was tried, such as "lr=0.001, the lowest": the models, each a `MODEL_KEY`.

    Beyond such an edge there may be a better point. Numbers of which at least two were tried.
    """
    models: dict[str, list[tuple[str, ...]]] = {}
    for model, runs in table.groupby(MODEL_KEY, sort=False):
        best = runs[runs["chosen"]].iloc[0]
        for name in point_columns(runs):
            tried = runs[name].dropna().unique()
            if not pd.api.types.is_numeric_dtype(runs[name]) or len(tried) < 2:
                continue
            for end, value in (("lowest", min(tried)), ("highest", max(tried))):
                if best[name] == value:
                    models.setdefault(f"{name}={value:g}, the {end}", []).append(model)
    return models


def own_validation(validation: pd.DataFrame, hospital: str) -> pd.DataFrame:
    """Of rows of the validation set those of the hospital's patients; all, if these lack a class.

    As `SiteData.own_validation`, on which the hospital's own models are validated.
    """
    own = validation[validation["hospital"] == hospital]
    return own if own["label"].nunique() == 2 else validation


def global_curves(runs: pd.DataFrame, folder: Folder) -> pd.DataFrame:
    """The rows of `metrics.csv` of the model of each of `runs` (series `global`), with the columns of `runs`."""
    tables = []
    for _, run in runs.iterrows():
        curves = folder.run(run["path"]).read_curves()
        columns = {name: run[name] for name in run.index if name not in curves}
        tables.append(curves[curves["series"] == "global"].assign(**columns))
    return pd.concat(tables, ignore_index=True)


def federated_curves(points: pd.DataFrame, folder: Folder) -> pd.DataFrame:
    """One row per federated run and measured round: cohort, name, chosen, round, bytes, validation_auroc.

    The name is that of the point. Several methods are named instead, and have their chosen points alone. Where all
    methods are personal, the rows are of the hospitals' own models, each on its own validation.
    """
    mode = next(mode for mode in FEDERATED if (points["mode"] == mode).any())
    runs = points[points["mode"].isin(FEDERATED)]
    several = runs["method"].nunique() > 1
    runs = counted(runs[runs["chosen"]] if several else runs[runs["mode"] == mode])
    tables = []
    for _, run in runs.iterrows():
        schedule, curves = folder.run(run["path"]).read_record()["schedule"], global_curves(run.to_frame().T, folder)
        passes = Fraction(str(schedule["round"]))
        rounds = [min(schedule["rounds"], math.ceil(epoch / passes)) for epoch in curves["epoch"].tolist()]
        point = ",".join(
            f"{name}={run[name]}" for name in point_columns(runs) if name != "epochs" and not pd.isna(run[name])
        )
        rows = {"cohort": run["cohort"], "name": run["method"] if several else point, "chosen": run["chosen"]}
        rows |= {"round": rounds, "bytes": [run["bytes_sent"] // schedule["rounds"] * done for done in rounds]}
        table = pd.DataFrame(rows | {"validation_auroc": curves["validation_auroc"].to_numpy()})
        tables.append(table.drop_duplicates("round", keep="last"))
    return pd.concat(tables, ignore_index=True)
