"""From the predictions of the chosen points to conclusions: evaluation, differences, fairness, and sentences."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from fedxray.analysis.choice import COST, MODEL, point_columns
from fedxray.analysis.statistics import Difference, differences, estimates, holm, noninferior, sentence
from fedxray.core.errors import UserError
from fedxray.core.seeds import stream
from fedxray.experiment.sweep import MODES
from fedxray.training.metrics import METRICS, auroc, bootstrap, choose_threshold, evaluate, patient_weights

PRIMARY = "auroc"


def compare(chosen: pd.DataFrame, predictions: pd.DataFrame, replicates: int, confidence: float, seed: int):
    """One row per chosen run and test set (`pooled`, the union, first): every metric at the threshold of validation.

    Columns as in docs/architecture.md. The same patients are drawn for every model of a test set, so that differences
    between models are not the bootstrap's. Raises UserError if a set is missing.
    """
    rows = []
    groups = dict(list(predictions.groupby("path", sort=False)))
    for _, run in chosen.iterrows():
        threshold, tests = _threshold_and_tests(groups.get(run["path"], predictions[:0]))
        point = {name: run[name] for name in ("mode", "cohort", "site")}
        for name, part in tests:
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
    table = pd.DataFrame(rows)
    table = table.astype({"rounds": "Int64", "local_epochs": "Int64"})
    order = table.assign(rank=table["mode"].map(MODES.index), part=table["test_set"] != "pooled")
    order = order.sort_values(["cohort", "rank", "site", "seed", "part"], kind="stable")
    return table.loc[order.index].reset_index(drop=True)


def _threshold_and_tests(predictions: pd.DataFrame) -> tuple[float, list[tuple[str, pd.DataFrame]]]:
    """The threshold that validation chooses, and (name, predictions) of `pooled` and each site's test set."""
    validation = predictions[predictions["set"] == "validation"]
    tests = predictions[predictions["set"] != "validation"]
    if validation.empty or tests.empty:
        raise UserError("predictions: no rows of the validation set or of a test set")
    threshold = choose_threshold(validation["label"].to_numpy(float), validation["probability"].to_numpy())
    return threshold, [("pooled", tests), *tests.groupby("set", sort=False)]


class Models:
    """The chosen models of one cohort on one test set: aligned over seeds and sites, with one set of drawn patients."""

    def __init__(self, chosen: pd.DataFrame, predictions: pd.DataFrame, test_set: str, replicates: int, seed: int):
        """`chosen` and `predictions` of one cohort; raises UserError if two runs were not asked the same images."""
        self.keys, self.test_set = {}, test_set
        groups = dict(list(predictions.groupby("path", sort=False)))
        for _, run in chosen.sort_values("seed", kind="stable").iterrows():
            threshold, tests = _threshold_and_tests(groups.get(run["path"], predictions[:0]))
            part = dict(tests)[test_set]
            known = self.keys.setdefault((run["mode"], run["site"]), ([], []))
            known[0].append(part["probability"].to_numpy())
            known[1].append(threshold)
            if not hasattr(self, "images"):
                self.images, self.labels = list(part["image"]), part["label"].to_numpy(float)
                self.patients = part["patient"].to_numpy(str)
            elif self.images != list(part["image"]):
                raise UserError(f"predictions: {run['path']} was asked other images than the other models")
        self.weights = patient_weights(self.patients, replicates, stream(seed, "bootstrap", test_set))

    def estimate(self, model: tuple[str, str], confidence: float) -> dict[str, Difference]:
        """Each metric of one model, pooled over seeds."""
        probabilities, thresholds = (np.array(part) for part in self.keys[model])
        return estimates(self.labels, self.patients, probabilities, thresholds, self.weights, confidence)

    def difference(self, a: tuple[str, str], b: tuple[str, str], confidence: float) -> dict[str, Difference]:
        """Each metric of `a` minus that of `b`, paired over images and seeds, pooled over seeds."""
        (ours, our_cuts), (theirs, their_cuts) = ([np.array(part) for part in self.keys[model]] for model in (a, b))
        return differences(self.labels, self.patients, ours, theirs, our_cuts, their_cuts, self.weights, confidence)


def every_models(chosen: pd.DataFrame, predictions: pd.DataFrame, replicates: int, seed: int) -> Iterator:
    """(cohort, `Models`) for each cohort and test set, pooled first."""
    for cohort, runs in chosen.groupby("cohort", sort=False):
        own = predictions[predictions["path"].isin(runs["path"])]
        sets = [name for name in own["set"].unique() if name != "validation"]
        for test_set in ("pooled", *sets):
            yield cohort, Models(runs, own, test_set, replicates, seed)


def summarise(chosen: pd.DataFrame, predictions: pd.DataFrame, replicates: int, confidence: float, seed: int):
    """One row per cohort, model, test set and metric, pooled over seeds: estimate, low, high, se, df, seeds, images."""
    rows = []
    for cohort, models in every_models(chosen, predictions, replicates, seed):
        for mode, site in models.keys:
            names = {"cohort": cohort, "mode": mode, "site": site, "test_set": models.test_set}
            for metric, value in models.estimate((mode, site), confidence).items():
                rows.append(names | {"metric": metric} | _columns(value) | {"images": len(models.images)})
    return pd.DataFrame(rows).drop(columns="p")


def contrast(
    chosen: pd.DataFrame, predictions: pd.DataFrame, replicates: int, confidence: float, seed: int, margin: float
):
    """One row per cohort, comparison and metric: federated minus central, and minus each site alone.

    Against central on the pooled test set; against a site alone on that and on the site's own. p values are adjusted
    (Holm) over all comparisons of a metric; AUROC is the primary one, and has a verdict of non-inferiority to central.
    """
    found = []
    for cohort, models in every_models(chosen, predictions, replicates, seed):
        for mode, site in models.keys:
            pooled, own = models.test_set == "pooled", models.test_set == site
            if (mode == "central" and pooled) or (mode == "alone" and (pooled or own)):
                values = models.difference(("federated", "pooled"), (mode, site), confidence)
                found += [((cohort, mode, site, models.test_set), value) for value in values.values()]
    rows = []
    for metric in METRICS:
        family = [(names, value) for names, value in found if value.metric == metric]
        adjusted = holm(np.array([value.p for _, value in family]))
        for ((cohort, mode, site, test_set), value), p in zip(family, adjusted, strict=True):
            limit = margin if metric == PRIMARY and mode == "central" else None
            row = {"cohort": cohort, "against": mode, "site": site, "test_set": test_set, "metric": metric}
            row |= _columns(value) | {"p_adjusted": p}
            row["noninferior"] = "" if limit is None else str(noninferior(value, limit)).lower()
            row["sentence"] = sentence(value, "federated", model_name(mode, site), p, limit, test_set)
            rows.append(row)
    return pd.DataFrame(rows)


def cross_site(found: dict, comparison: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    """One row per cohort, seed, site and metric: the value `through_federation` and the one computed `here`.

    `found` is {cohort: {"seed=S": {site: {metric: value}}}} of `fedxray.flare.engine.evaluate`. Raises UserError if
    two differ by more than `tolerance`, which would mean that a site has other data or other code.
    """
    federated = comparison[comparison["mode"] == "federated"].set_index(["cohort", "seed", "test_set"])
    rows = []
    for cohort, models in found.items():
        for name, sites in models.items():
            seed = int(name.removeprefix("seed="))
            for site, values in sites.items():
                for metric in METRICS:
                    here = float(federated.at[(cohort, seed, site), metric])
                    if not (abs(values[metric] - here) <= tolerance or (np.isnan(values[metric]) and np.isnan(here))):
                        raise UserError(
                            f"cross-site evaluation: {metric} of seed {seed} at {site} is {values[metric]!r} there and "
                            f"{here!r} here; has the site other data, or another version of fedxray?"
                        )
                    keys = {"cohort": cohort, "seed": seed, "site": site, "metric": metric}
                    rows.append(keys | {"through_federation": values[metric], "here": here})
    return pd.DataFrame(rows)


def across_sites(chosen: pd.DataFrame, found: dict, thresholds: dict[str, float]) -> pd.DataFrame:
    """One row per chosen run and test set, as in `compare`, of metrics that the sites have computed themselves.

    `found` is {path: {site: {metric: value}}}, `thresholds` {path: value}, of `fedxray.flare.engine.evaluate`. There
    are no intervals, and no row of the pooled test set: for both the predictions would have to leave the sites.
    """
    rows = []
    for _, run in chosen.iterrows():
        point = {name: run[name] for name in (*MODEL, *point_columns(chosen), "seed", "path")}
        for site, values in found[run["path"]].items():
            row = point | {"test_set": site, "threshold": thresholds[run["path"]]}
            rows.append(row | {metric: values[metric] for metric in METRICS} | {name: run[name] for name in COST})
    return pd.DataFrame(rows).astype({"rounds": "Int64", "local_epochs": "Int64"})


def means_at_sites(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `across_sites` as those of `summarise`: one per model, test set and metric, the mean over seeds."""
    long = table.melt([*MODEL, "test_set"], list(METRICS), "metric", "estimate")
    return long.groupby([*MODEL, "test_set", "metric"], sort=False, as_index=False)["estimate"].mean()


def fairness(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per model, of one cohort's AUROC rows of `summary`: on each test set, the worst site's, their spread."""
    names = [model_name(mode, site) for mode, site in zip(rows["mode"], rows["site"], strict=True)]
    matrix = rows.assign(model=names).pivot(index="model", columns="test_set", values="estimate")
    matrix = matrix.loc[list(dict.fromkeys(names)), list(dict.fromkeys(rows["test_set"]))]
    sites = matrix.drop(columns="pooled", errors="ignore")  # which a remote federation has not
    return matrix.assign(**{"worst site": sites.min(axis=1), "spread": sites.max(axis=1) - sites.min(axis=1)})


def by_aetiology(
    predictions: pd.DataFrame, threshold: float, replicates: int, confidence: float, seed: int
) -> pd.DataFrame:
    """One row per aetiology of one model's pooled test set: AUROC against normal, and the share called pneumonia.

    Each with its interval by bootstrap over patients; AUROC is NaN for `none`, the normal images themselves.
    """
    tests = predictions[predictions["set"] != "validation"]
    rows, tail = [], (1 - confidence) / 2
    for aetiology, images in tests.groupby("aetiology"):
        part = tests[tests["aetiology"].isin(["none", aetiology])]
        own, labels = (part["aetiology"] == aetiology).to_numpy(), part["label"].to_numpy(float)
        probabilities, patients = part["probability"].to_numpy(), part["patient"].to_numpy(str)
        drawn = patient_weights(patients, replicates, stream(seed, "aetiology", aetiology))
        values = []
        for weights in (np.ones(len(part)), *drawn):
            called = np.average(probabilities[own] >= threshold, weights=weights[own]) if weights[own].any() else np.nan
            values.append((auroc(labels, probabilities, weights), called))
        row = {"aetiology": aetiology, "images": len(images), "patients": images["patient"].nunique()}
        for name, column in zip(("auroc", "called_pneumonia"), np.array(values).T, strict=True):
            defined = column[1:][~np.isnan(column[1:])]
            low, high = np.quantile(defined, [tail, 1 - tail]) if len(defined) else (np.nan, np.nan)
            row |= {name: column[0], f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def _columns(value: Difference) -> dict:
    names = ("estimate", "low", "high", "se", "se_within", "se_between", "df", "p", "seeds")
    return {name: getattr(value, name) for name in names}


def model_name(mode: str, site: str) -> str:
    """How figures, tables and sentences call a model."""
    return f"{site} alone" if mode == "alone" else mode


def summary_text(summary: pd.DataFrame, contrasts: pd.DataFrame, confidence: float) -> str:
    """The pooled test set and the conclusions as text for a terminal."""
    pooled = summary[summary["test_set"] == "pooled"]
    shown = ["auroc", "accuracy", "sensitivity", "specificity"]
    lines = [f"Pooled test set, with {confidence:.0%} intervals by patient".ljust(50)]
    lines.append(" " * 26 + "".join(f"{'AUROC' if name == 'auroc' else name:<24}" for name in shown))
    for (cohort, mode, site), rows in pooled.groupby(MODEL, sort=False):
        values = rows.set_index("metric")
        cells = [
            f"{values.at[name, 'estimate']:.3f} [{values.at[name, 'low']:.3f}, {values.at[name, 'high']:.3f}]"
            for name in shown
        ]
        name = " ".join(filter(None, [model_name(mode, site), cohort]))
        lines.append(f"{name:<26}" + "".join(f"{cell:<24}" for cell in cells).rstrip())
    primary = contrasts[(contrasts["metric"] == PRIMARY) & (contrasts["against"] == "central")]
    for _, row in primary.iterrows():
        lines.append(f"{row['cohort']}: {row['sentence']}" if row["cohort"] else row["sentence"])
    return "\n".join(lines)
