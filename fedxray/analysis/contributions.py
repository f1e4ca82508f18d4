"""What each hospital brings to a federation: Shapley and leave-one-out values over the coalitions of hospitals."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations
from math import factorial

import numpy as np
import pandas as pd

from fedxray.analysis.comparison import ModelsOnTestSet, on_each_test_set
from fedxray.analysis.external import apart
from fedxray.analysis.statistics import combined, holm, placements

WHAT = ("shapley", "leave_one_out")
COLUMNS = ["cohort", "hospital", "test_set", "what", "estimate", "low", "high", "se", "p", "p_adjusted"]
Coalition = frozenset[str]


def contribute(
    chosen: pd.DataFrame, predictions: pd.DataFrame, confidence: float, external: Collection[str] = ()
) -> pd.DataFrame:
    """One row per cohort, hospital, test set (`pooled` and the hospitals') and each of `WHAT`, pooled over seeds.

    The value of a coalition is the AUROC of the model that it trains together: of one hospital that which it trained
    alone, of all the federated one, of none 0.5. Values are linear in AUROCs of the same images, so that their variance
    is that of `statistics.covariance`. p values are adjusted (Holm) over all rows of one of `WHAT`.
    """
    models = chosen[chosen["mode"].isin(["federated", "alone", "coalition"])]
    of_hospitals, rows = apart(predictions, external)[0], []
    for cohort, on_set in on_each_test_set(models, of_hospitals, replicates=0, seed=0):  # no bootstrap is drawn
        placed = dict(_placed(on_set))
        hospitals = sorted(frozenset().union(*placed), key=_order(models))
        for what, weights in ((what, weigh(hospitals)) for what, weigh in WEIGHTS.items()):
            for hospital in hospitals:
                value = np.sum([weight * placed[members] for members, weight in weights[hospital].items()], axis=0)
                found = combined(on_set.labels, on_set.patients, value, confidence)
                row = {"cohort": cohort, "hospital": hospital, "test_set": on_set.test_set, "what": what}
                rows.append(row | {name: getattr(found, name) for name in ("estimate", "low", "high", "se", "p")})
    table = pd.DataFrame(rows).assign(p_adjusted=np.nan)
    for _, family in table.groupby("what"):
        table.loc[family.index, "p_adjusted"] = holm(family["p"].to_numpy())
    return table[COLUMNS]


def _order(models: pd.DataFrame):
    """The order of hospitals: as they are trained alone."""
    return list(models["site"][models["mode"] == "alone"]).index


def _placed(on_set: ModelsOnTestSet) -> Iterator[tuple[Coalition, np.ndarray]]:
    """The placement values (seeds, n) of each coalition's model; those of none are 0.5, as its AUROC."""
    names = [site for mode, _, site in on_set.models if mode == "alone"]
    for (mode, _, site), (probabilities, _) in on_set.models.items():
        yield (
            frozenset(names if mode == "federated" else site.split("+")),
            placements(on_set.labels, np.array(probabilities)),
        )
    seeds = max(len(probabilities) for probabilities, _ in on_set.models.values())
    yield frozenset(), np.full((seeds, len(on_set.labels)), 0.5)


def shapley_weights(hospitals: Sequence[str]) -> Mapping[str, Mapping[Coalition, float]]:
    """Of each hospital the weight of each coalition's value in its Shapley value (Shapley 1953).

    The mean, over all orders of joining, of what the value rises by when the hospital joins.
    """
    weights = {}
    for hospital in hospitals:
        others, of_hospital = [other for other in hospitals if other != hospital], {}
        for size in range(len(hospitals)):
            weight = factorial(size) * factorial(len(others) - size) / factorial(len(hospitals))
            for members in map(frozenset, combinations(others, size)):
                of_hospital |= {members: -weight, members | {hospital}: weight}
        weights[hospital] = of_hospital
    return weights


def leave_one_out_weights(hospitals: Sequence[str]) -> Mapping[str, Mapping[Coalition, float]]:
    """Of each hospital the weights of what the value of all others rises by when it joins them."""
    everyone = frozenset(hospitals)
    return {hospital: {everyone: 1.0, everyone - {hospital}: -1.0} for hospital in hospitals}


WEIGHTS = dict(zip(WHAT, (shapley_weights, leave_one_out_weights), strict=True))
