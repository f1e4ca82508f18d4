"""From the predictions of the chosen models to their evaluation: each run, each model over its seeds, and fairness."""

from collections.abc import Collection, Iterator

import numpy as np
import pandas as pd

from fedxray.analysis.bootstrap import bootstrap, patient_weights
from fedxray.analysis.choice import COST, MODEL_KEY, counted, point_columns, without_coalitions
from fedxray.analysis.external import apart
from fedxray.analysis.statistics import Difference, differences, estimates
from fedxray.core.errors import UserError
from fedxray.core.seeds import stream
from fedxray.experiment.experiment import MODES, mode_name, model_name
from fedxray.training.metrics import METRICS, auroc, evaluate


def compare(
    chosen: pd.DataFrame,
    predictions: pd.DataFrame,
    replicates: int,
    confidence: float,
    seed: int,
    external: Collection[str] = (),
) -> pd.DataFrame:
    """One row per chosen run and test set (`pooled`, the union, first): every metric at the threshold of validation.

    `chosen` is the table chosen.csv; docs/architecture.md has the columns of the result. A personal model has one row,
    of its hospital's test set; a coalition's model has none. The sets named in `external`
    have rows of their own and are no part of the union. The same patients are drawn for every model of a test set, so
    that differences between models are not the bootstrap's. Raises UserError if a run has no predictions of a test set.
    """
    rows = []
    predicted = dict(list(predictions.groupby("path", sort=False)))
    for _, run in without_coalitions(chosen).iterrows():
        threshold = run["threshold"]
        point = {name: run[name] for name in ("mode", "method", "cohort", "site")}
        for name, part in _test_sets(predicted.get(run["path"], predictions[:0]), external, run["mode"]).items():
            data = part["label"].to_numpy(float), part["probability"].to_numpy()
            values = evaluate(*data, threshold)
            rng = stream(seed, "bootstrap", name)
            intervals = bootstrap(*data, part["patient"].to_numpy(str), threshold, replicates, confidence, rng)
            row = point | {"test_set": name} | {key: run[key] for key in (*point_columns(chosen), "seed")}
            row |= {"images": len(part), "patients": part["patient"].nunique(), "threshold": threshold}
            for metric in METRICS:
                row |= {metric: values[metric]}
                row |= dict(zip((f"{metric}_low", f"{metric}_high"), intervals[metric], strict=True))
            rows.append(row | {key: run[key] for key in COST})
    table = counted(pd.DataFrame(rows))
    order = table.assign(rank=table["mode"].map(MODES.index), part=table["test_set"] != "pooled")
    order = order.sort_values(["cohort", "rank", "method", "site", "seed", "part"], kind="stable")
    return table.loc[order.index].reset_index(drop=True)


def _test_sets(predictions: pd.DataFrame, external: Collection[str], mode: str) -> dict[str, pd.DataFrame]:
    """One run's predictions of `pooled`, the union of the hospitals' test sets, and of each set, the external last.

    Of a `personal` model those of its hospital's test set alone. Raises UserError if there are none of a hospital's or
    of one of `external`.
    """
    of_hospitals, outside = apart(predictions[predictions["set"] != "validation"], external)
    others = {name: outside[outside["set"] == name] for name in external if mode != "personal"}
    if any(rows.empty for rows in (of_hospitals, *others.values())):
        raise UserError("predictions: no rows of a test set of a chosen run; predict the chosen runs again")
    union = {} if mode == "personal" else {"pooled": of_hospitals}
    return union | dict(list(of_hospitals.groupby("set", sort=False))) | others


Name = tuple[str, str, str]  # of a model of one cohort: mode, method, site


class ModelsOnTestSet:
    """The chosen models of one cohort on one test set: aligned over seeds and sites, with one set of drawn patients."""

    def __init__(
        self,
        chosen: pd.DataFrame,
        predictions: pd.DataFrame,
        test_set: str,
        replicates: int,
        seed: int,
        external: Collection[str] = (),
    ):
        """`chosen` and `predictions` of one cohort; raises UserError if two runs were not asked the same images."""
        predicted, runs = dict(list(predictions.groupby("path", sort=False))), chosen.sort_values("seed", kind="stable")
        parts = {}
        for path, mode in zip(runs["path"], runs["mode"], strict=True):
            sets = _test_sets(predicted.get(path, predictions[:0]), external, mode)
            if test_set in sets or mode != "personal":
                parts[path] = sets[test_set]
        first = next(iter(parts.values()))
        self.test_set, self.images = test_set, list(first["image"])
        self.labels, self.patients = first["label"].to_numpy(float), first["patient"].to_numpy(str)
        # Of each model: the probabilities (n,) and the threshold of each of its seeds.
        self.models: dict[Name, tuple[list[np.ndarray], list[float]]] = {}
        for _, run in runs[runs["path"].isin(parts)].iterrows():
            part = parts[run["path"]]
            if list(part["image"]) != self.images:
                raise UserError(f"predictions: {run['path']} was asked other images than the other models")
            probabilities, thresholds = self.models.setdefault((run["mode"], run["method"], run["site"]), ([], []))
            probabilities.append(part["probability"].to_numpy())
            thresholds.append(run["threshold"])
        self.weights = patient_weights(self.patients, replicates, stream(seed, "bootstrap", test_set))

    def estimate(self, model: Name, confidence: float) -> dict[str, Difference]:
        """Each metric of one model, pooled over seeds."""
        probabilities, thresholds = map(np.array, self.models[model])
        return estimates(self.labels, self.patients, probabilities, thresholds, self.weights, confidence)

    def difference(self, a: Name, b: Name, confidence: float) -> dict[str, Difference]:
        """Each metric of `a` minus that of `b`, paired over images and seeds, pooled over seeds."""
        (of_a, cuts_a), (of_b, cuts_b) = (map(np.array, self.models[model]) for model in (a, b))
        return differences(self.labels, self.patients, of_a, of_b, cuts_a, cuts_b, self.weights, confidence)


def on_each_test_set(
    chosen: pd.DataFrame, predictions: pd.DataFrame, replicates: int, seed: int, external: Collection[str] = ()
) -> Iterator[tuple[str, ModelsOnTestSet]]:
    """(cohort, its models on a test set) for each cohort and test set: pooled, the hospitals', the external."""
    for cohort, runs in chosen.groupby("cohort", sort=False):
        of_cohort = predictions[predictions["path"].isin(runs["path"])]
        sites = [name for name in of_cohort["set"].unique() if name not in ("validation", *external)]
        for test_set in ("pooled", *sites, *external):
            yield cohort, ModelsOnTestSet(runs, of_cohort, test_set, replicates, seed, external)


def summarise(
    chosen: pd.DataFrame,
    predictions: pd.DataFrame,
    replicates: int,
    confidence: float,
    seed: int,
    external: Collection[str] = (),
) -> pd.DataFrame:
    """One row per cohort, model, test set and metric, pooled over seeds: estimate, low, high, se, df, seeds, images."""
    rows = []
    for cohort, on_set in on_each_test_set(without_coalitions(chosen), predictions, replicates, seed, external):
        for model in on_set.models:
            names = dict(zip(MODEL_KEY, (cohort, *model), strict=True)) | {"test_set": on_set.test_set}
            for metric, value in on_set.estimate(model, confidence).items():
                rows.append(names | {"metric": metric} | columns_of(value) | {"images": len(on_set.images)})
    return pd.DataFrame(rows).drop(columns="p")


def columns_of(value: Difference) -> dict:
    """The columns of a table that an estimate or difference fills."""
    names = ("estimate", "low", "high", "se", "se_within", "se_between", "df", "p", "seeds")
    return {name: getattr(value, name) for name in names}


def fairness(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per model, of one cohort's AUROC rows of `summary`: on each test set, the worst site's, their spread.

    The personal models of a method are one row: each hospital's own, on its test set.
    """
    names = [
        mode_name(mode, method) if mode == "personal" else model_name(mode, method, site)
        for mode, method, site in zip(rows["mode"], rows["method"], rows["site"], strict=True)
    ]
    matrix = rows.assign(model=names).pivot(index="model", columns="test_set", values="estimate")
    matrix = matrix.loc[list(dict.fromkeys(names)), list(dict.fromkeys(rows["test_set"]))]
    sites = matrix.drop(columns="pooled", errors="ignore")  # a remote federation has no pooled test set
    return matrix.assign(**{"worst site": sites.min(axis=1), "spread": sites.max(axis=1) - sites.min(axis=1)})


def by_aetiology(
    predictions: pd.DataFrame, threshold: float, replicates: int, confidence: float, seed: int
) -> pd.DataFrame:
    """One row per aetiology of one model's pooled test set: AUROC against normal, and the share called pneumonia.

    `predictions` are of hospitals' sets. Each value has its interval by bootstrap over patients; AUROC is NaN for
    `none`, the normal images themselves.
    """
    tests = predictions[predictions["set"] != "validation"]
    rows, tail = [], (1 - confidence) / 2
    for aetiology, images in tests.groupby("aetiology"):
        part = tests[tests["aetiology"].isin(["none", aetiology])]
        affected, labels = (part["aetiology"] == aetiology).to_numpy(), part["label"].to_numpy(float)
        probabilities, patients = part["probability"].to_numpy(), part["patient"].to_numpy(str)
        drawn = patient_weights(patients, replicates, stream(seed, "aetiology", aetiology))
        values = []
        for weights in (np.ones(len(part)), *drawn):
            drawn_of_it, called = weights[affected], np.nan
            if drawn_of_it.any():
                called = np.average(probabilities[affected] >= threshold, weights=drawn_of_it)
            values.append((auroc(labels, probabilities, weights), called))
        row = {"aetiology": aetiology, "images": len(images), "patients": images["patient"].nunique()}
        for name, column in zip(("auroc", "called_pneumonia"), np.array(values).T, strict=True):
            defined = column[1:][~np.isnan(column[1:])]
            low, high = np.quantile(defined, [tail, 1 - tail]) if len(defined) else (np.nan, np.nan)
            row |= {name: column[0], f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)
