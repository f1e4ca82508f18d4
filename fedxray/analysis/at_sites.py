"""What the sites compute themselves, by cross-site evaluation: checked against what was computed here, or alone."""

import numpy as np
import pandas as pd

from fedxray.analysis.choice import COST, COUNTS, MODEL_KEY, point_columns
from fedxray.core.errors import UserError
from fedxray.training.metrics import METRICS


def agreement(evaluated: dict, comparison: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    """One row per cohort, seed, site and metric: the value `through_federation` and the one computed `here`.

    `evaluated` is {cohort: {"seed=S": {site: {metric: value}}}}, of an engine's `evaluate`. Raises UserError if two
    values differ by more than `tolerance`, which would mean that a site has other data or other code.
    """
    federated = comparison[comparison["mode"] == "federated"].set_index(["cohort", "seed", "test_set"])
    rows = []
    for cohort, models in evaluated.items():
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


def across_sites(chosen: pd.DataFrame, evaluated: dict, thresholds: dict[str, float]) -> pd.DataFrame:
    """One row per chosen run and test set, as in `comparison.compare`, of metrics that the sites computed themselves.

    `evaluated` is {path: {site: {metric: value}}} and `thresholds` {path: value}, of an engine's `evaluate`. There are
    no intervals, and no row of the pooled test set: for both the predictions would have to leave the sites.
    """
    rows = []
    for _, run in chosen.iterrows():
        point = {name: run[name] for name in (*MODEL_KEY, *point_columns(chosen), "seed", "path")}
        for site, values in evaluated[run["path"]].items():
            row = point | {"test_set": site, "threshold": thresholds[run["path"]]}
            rows.append(row | {metric: values[metric] for metric in METRICS} | {name: run[name] for name in COST})
    return pd.DataFrame(rows).astype(COUNTS)


def means_at_sites(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `across_sites` as those of `summarise`: one per model, test set and metric, the mean over seeds."""
    long = table.melt([*MODEL_KEY, "test_set"], list(METRICS), "metric", "estimate")
    return long.groupby([*MODEL_KEY, "test_set", "metric"], sort=False, as_index=False)["estimate"].mean()
