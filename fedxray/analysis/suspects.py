"""Which hospital of a federated run does not fit the others, by what the server knows: no image, and no test set.

A hospital that annotates in its own way or sends noise shows in the loss that it trains to, or in the loss of its model
on the shared validation set. A scanner of its own need not show: a network can learn its images beside the others'.
Whether data are wrong or only unlike, these cannot say: it is whom to ask.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from fedxray.experiment.folder import Folder

LEAST = 3  # hospitals, of which one can be told from the others
# How many times the others' median counts as not fitting. Where no data were wrong, on phantoms and on radiographs, of
# hospitals that are alike or skewed (Dirichlet 0.3, sizes, devices), the numbers were 1.7 at most. With 40 % of one
# hospital's labels flipped its training loss in the last of ten epochs was 3.2 to 12 times the others' (radiographs).
# Models that have learnt little show nothing: on 400 phantom patients, after 12 epochs, neither flipped labels nor
# noise nor inverted greys were told from honest hospitals by any of the three numbers. The distance does not count: it
# was 1.4 at most of honest hospitals, and no more of these.
LIMITS = {"validation_loss": 2.0, "train_loss": 2.0}
WORDS = {
    "validation_loss": "its model's loss on the shared validation set is {times} times the others'",
    "train_loss": "its training loss is {times} times the others'",
}
COLUMNS = ["site", "distance", *LIMITS, "suspect", "sentence"]


def suspects(distances: Sequence[Mapping], curves: pd.DataFrame) -> pd.DataFrame:
    """One row for each site of a federated run, sorted by name: site, distance, validation_loss, train_loss, suspect,
    sentence.

    `distances` is `rounds_at_sites` of the run's record: [{"round": int, "distance": {site: float}}], the L2 norm of a
    site's answer minus the median of all in each coordinate. `curves` is the run's `metrics.csv`. The three numbers are
    the site's over the median of the others': of its mean distance over rounds, its mean validation loss over the
    epochs that it has, and its training loss in the run's last epoch; NaN where it or all others have none. `suspect`
    is `yes` if a loss is above its limit (`LIMITS`), else `no`; empty if there are fewer than `LEAST` sites, or no
    losses, as of a private sum.
    """
    answered = pd.DataFrame([record["distance"] for record in distances], dtype=float)
    of_sites = curves[curves["series"] != "global"]
    rows, last = [], of_sites[of_sites["epoch"] == of_sites["epoch"].max()].set_index("series")
    for site in sorted({*answered.columns, *of_sites["series"]}):
        had = of_sites["epoch"].isin(of_sites["epoch"][of_sites["series"] == site])  # where it was absent, none counts
        means = {"validation_loss": of_sites[had].groupby("series")["validation_loss"].mean()}
        means["train_loss"] = last["train_loss"]
        values = pd.DataFrame({"distance": answered.mean(), **means}).sort_index().astype(float)
        others = values.drop(site).median() if len(values) > 1 else values.loc[site] * math.nan
        ratios = {name: _ratio(values.at[site, name], others[name]) for name in values}
        above = {name: ratios[name] for name, limit in LIMITS.items() if ratios[name] > limit}
        silent = all(math.isnan(ratios[name]) for name in LIMITS)
        verdict = "" if len(values) < LEAST or silent else "yes" if above else "no"
        sentence = _sentence(site, above, len(values), silent)
        rows.append({"site": site, **ratios, "suspect": verdict, "sentence": sentence})
    return pd.DataFrame(rows, columns=COLUMNS)


def said(runs: pd.DataFrame, folder: Folder) -> Iterator[str]:
    """What is said of the hospitals of the federated runs in `runs` (rows of chosen.csv): of each suspect one sentence.

    Of hospitals that fit there is one for all.
    """
    for cohort, of_cohort in runs[runs["mode"] == "federated"].groupby("cohort", sort=False):
        found: dict[str, str] = {}
        trained = [folder.run(path) for path in of_cohort["path"]]
        tables = [suspects(run.read_record()["rounds_at_sites"], run.read_curves()) for run in trained]
        for table in tables:
            odd = table[table["suspect"] != "no"]
            found |= {row["site"]: row["sentence"] for row in odd.to_dict("records") if row["site"] not in found}
        lead = f"{cohort}: " if cohort else ""
        if not len(tables[0]):
            yield f"{lead}With secure aggregation nobody sees what one hospital sends, so none can be called a suspect."
            continue
        count = len(tables[0])
        fits = f"By what the server sees, none of {count} hospitals stands out; this does not show that all are right."
        yield from (lead + text for text in found.values() or [fits])


def _ratio(value: float, others: float) -> float:
    """value / others; 1 if both are 0."""
    if value == others == 0:
        return 1.0
    with np.errstate(divide="ignore"):
        return float(np.divide(value, others))


def _sentence(site: str, above: Mapping[str, float], sites: int, silent: bool) -> str:
    if sites < LEAST:
        which = {
            1: "one hospital there is no other to compare it with",
            2: "two hospitals nobody can tell which is odd",
        }
        return f"With {which[sites]}: no verdict on {site}."
    if silent:
        return f"The server sees no loss of {site}: no verdict on it."
    if not above:
        return f"{site} fits the others."
    reasons = " and ".join(WORDS[name].format(times=f"{ratio:.1f}") for name, ratio in above.items())
    return f"{site} does not fit the others: {reasons}. Ask it to look at its labels and images."
