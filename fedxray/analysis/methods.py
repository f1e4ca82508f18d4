"""Which method is best for each hospital and over all: chosen by validation, and what the test patients say of each."""

import numpy as np
import pandas as pd

from fedxray.analysis.choice import FEDERATED, MODEL_KEY, best_method, own_validation, without_coalitions
from fedxray.analysis.statistics import PRIMARY
from fedxray.experiment.experiment import POOLED, model_name
from fedxray.training.metrics import auroc

COLUMNS = [
    *("cohort", "hospital", "mode", "method", "site", "validation_auroc", "chosen", "auroc", "auroc_low", "auroc_high"),
    *("against", "gain", "gain_low", "gain_high", "p_adjusted", "noninferior", "verdict", "patients_needed"),
    *("bytes_sent", "seconds", "rounds"),
]
OF_GAIN = {"estimate": "gain", "low": "gain_low", "high": "gain_high"}  # columns of differences.csv, and here


def validated(chosen: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """One row per cohort, hospital (`pooled` first) and model, with its validation AUROC, and whether it is chosen.

    `pooled` has the models that every hospital could use, on the whole validation set; the chosen one is the best
    method of `choice.best_method`. A hospital has those that it could use, and central training, on its own patients of
    the validation set (all, if its own lack a class); the best of its personal models, the federated ones and itself
    alone is chosen, of equals itself alone. AUROCs are means over seeds. Of `predictions` this reads the rows of
    validation alone.
    """
    validation = dict(list(predictions[predictions["set"] == "validation"].groupby("path", sort=False)))
    rows = []
    for cohort, runs in without_coalitions(chosen).groupby("cohort", sort=False):
        models, best = list(runs.groupby(MODEL_KEY[1:], sort=False)), best_method(runs, "federated")
        for hospital in (POOLED, *runs["site"][runs["mode"] == "alone"].unique()):
            found = []
            for (mode, method, site), of_model in models:
                if site in (POOLED, hospital) or (hospital == POOLED and mode == "alone"):
                    value = np.mean([_auroc(validation[path], hospital) for path in of_model["path"]])
                    chosen_one = hospital == POOLED and mode == "federated" and method == best
                    found.append([cohort, hospital, mode, method, site, value, chosen_one])
            candidates = [row for row in found if hospital != POOLED and row[2] != "central"]
            if candidates:
                max(candidates, key=lambda row: (row[5], row[2] == "alone"))[6] = True
            rows += found
    return pd.DataFrame(rows, columns=COLUMNS[:7])


def _auroc(validation: pd.DataFrame, hospital: str) -> float:
    """A run's AUROC on a hospital's own patients of the validation set, or for `pooled` on all."""
    rows = validation if hospital == POOLED else own_validation(validation, hospital)
    return auroc(rows["label"].to_numpy(float), rows["probability"].to_numpy())


def table_of_methods(
    chosen: pd.DataFrame, predictions: pd.DataFrame, summary: pd.DataFrame, contrasts: pd.DataFrame
) -> pd.DataFrame:
    """The table `methods.csv`: the rows of `validated`, each with its test AUROC, its gain, its verdict and its cost.

    Of a hospital the gain is over itself alone, on its own test patients (question `joining` of `contrasts`); of
    `pooled` over the reference. If the reference is the hospitals alone, the gain is over the best of them. The gain of
    a model that no question asks for has no interval. Bytes and seconds are medians over seeds.
    """
    values = summary[summary["metric"] == PRIMARY].set_index([*MODEL_KEY, "test_set"])
    asked = contrasts[(contrasts["metric"] == PRIMARY) & contrasts["question"].isin(["reference", "joining"])]
    asked = asked.sort_values("estimate", kind="stable")  # the least gain is over the best hospital alone
    gains = {keys: rows.iloc[0] for keys, rows in asked.groupby(["cohort", "mode", "method", "test_set"], sort=False)}
    cost = chosen.groupby(MODEL_KEY, sort=False)[["bytes_sent", "seconds"]].median()
    rounds = chosen.groupby(MODEL_KEY, sort=False)["rounds"].first()
    rows = []
    for row in validated(chosen, predictions).to_dict("records"):
        model, hospital = tuple(row[name] for name in MODEL_KEY), row["hospital"]
        test = values.loc[(*model, hospital)]
        row |= {"auroc": test["estimate"], "auroc_low": test["low"], "auroc_high": test["high"]}
        if row["mode"] in FEDERATED and (gain := gains.get((*model[:3], hospital))) is not None:
            row |= {"against": model_name(gain["against"], gain["against_method"], gain["site"])}
            row |= {name: gain[of] for of, name in OF_GAIN.items()}
            row |= {name: gain[name] for name in ("p_adjusted", "noninferior", "verdict", "patients_needed")}
        rows.append(row | {"bytes_sent": cost.at[model, "bytes_sent"], "seconds": cost.at[model, "seconds"]})
        rows[-1] |= {"rounds": rounds[model]}
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    texts = {name: table[name].fillna("") for name in ("against", "noninferior", "verdict")}
    whole = {name: table[name].astype("Int64") for name in ("patients_needed", "rounds")}
    return _with_plain_gains(table.assign(**texts, **whole))


def _with_plain_gains(table: pd.DataFrame) -> pd.DataFrame:
    """`table` with the gain of the models that no question asks for, over what the others' is, without an interval.

    A hospital alone has none at the hospital if it is what others' gains are over, with the budget of each.
    """
    parts = []
    for (_, hospital), rows in table.groupby(["cohort", "hospital"], sort=False):
        named = [model_name(*model) for model in rows[MODEL_KEY[1:]].itertuples(index=False, name=None)]
        base = dict(zip(named, rows["auroc"], strict=True))
        bases = dict.fromkeys(filter(None, rows["against"]))
        against = next(iter(bases), "")
        for index, name in zip(rows.index, named, strict=True):
            is_base = name == against or (hospital != POOLED and name in bases)
            if not rows.at[index, "against"] and against and not is_base:
                rows.loc[index, ["against", "gain"]] = against, rows.at[index, "auroc"] - base[against]
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)
