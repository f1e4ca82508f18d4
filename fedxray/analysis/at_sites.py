"""What the sites compute themselves, by cross-site evaluation: checked against what was computed here, or alone."""

import numpy as np
import pandas as pd

from fedxray.analysis.choice import COST, MODEL_KEY, counted, point_columns
from fedxray.core.errors import UserError
from fedxray.training.metrics import METRICS


def agreement(evaluated: dict, chosen: pd.DataFrame, comparison: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    """One row per federated run, site and metric: the value `through_federation` and the one computed `here`.

    `evaluated` is {path: {site: {metric: value}}}, of an engine's `evaluate`, and `chosen` has which run each path is.
    Raises UserError if two values differ by more than `tolerance`, which would mean that a site has other data or other
    code.
    """
    names = ["cohort", "method", "seed"]
    federated = comparison[comparison["mode"] == "federated"].set_index([*names, "test_set"])
    runs, rows = chosen.set_index("path"), []
    for path, sites in evaluated.items():
        cohort, method, seed = key = tuple(runs.loc[path, names])
        for site, values in sites.items():
            for metric in METRICS:
                here = float(federated.at[(*key, site), metric])
                if not (abs(values[metric] - here) <= tolerance or (np.isnan(values[metric]) and np.isnan(here))):
                    raise UserError(
                        f"cross-site evaluation: {metric} of seed {seed} at {site} is {values[metric]!r} there and "
                        f"{here!r} here; has the site other data, or another version of fedxray?"
                    )
                row = {"cohort": cohort, "method": method, "seed": seed, "site": site, "metric": metric}
                rows.append(row | {"through_federation": values[metric], "here": here})
    return pd.DataFrame(rows, columns=[*names, "site", "metric", "through_federation", "here"])


def thresholds_at(evaluated: dict, thresholds: dict[str, float]) -> dict[str, float]:
    """{path: threshold} of each run: the server's, or of a personal model that of its site.

    `evaluated` is {path: {site: {metric: value}}}, with `threshold` among the metrics of a personal model, and
    `thresholds` {path: value} of the others, chosen on the shared validation set.
    """
    own = {
        path: values["threshold"]
        for path, sites in evaluated.items()
        for values in sites.values()
        if path not in thresholds
    }
    return thresholds | own


def across_sites(chosen: pd.DataFrame, evaluated: dict, thresholds: dict[str, float]) -> pd.DataFrame:
    """One row per chosen run and test set, as in `comparison.compare`, of metrics that the sites computed themselves.

    `evaluated` is {path: {site: {metric: value}}}, and `thresholds` {path: value} of `thresholds_at`. A personal model
    has its own site's row alone. A threshold is the one that the metrics are at, if the site says it. There are no
    intervals, and no row of the pooled test set: for both the predictions would have to leave the sites.
    """
    rows = []
    for _, run in chosen.iterrows():
        point = {name: run[name] for name in (*MODEL_KEY, *point_columns(chosen), "seed", "path")}
        for site, values in evaluated[run["path"]].items():
            if run["mode"] == "personal" and site != run["site"]:
                continue
            row = point | {"test_set": site, "threshold": values.get("threshold", thresholds[run["path"]])}
            rows.append(row | {metric: values[metric] for metric in METRICS} | {name: run[name] for name in COST})
    return counted(pd.DataFrame(rows))


def means_at_sites(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `across_sites` as those of `summarise`: one per model, test set and metric, the mean over seeds."""
    long = table.melt([*MODEL_KEY, "test_set"], list(METRICS), "metric", "estimate")
    return long.groupby([*MODEL_KEY, "test_set", "metric"], sort=False, as_index=False)["estimate"].mean()
