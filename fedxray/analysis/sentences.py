"""What may be said of a difference, in plain words, and the conclusions as text for a terminal."""

import numpy as np
import pandas as pd

from fedxray.analysis.choice import MODEL_KEY
from fedxray.analysis.statistics import PRIMARY, ROUNDING, Difference, noninferior
from fedxray.experiment.experiment import model_name
from fedxray.training.metrics import LOWER_IS_BETTER, words

UNDEFINED = "(undefined)"  # in place of a number that these patients do not have, such as an AUROC of one class


def with_interval(estimate: float, low: float | None = None, high: float | None = None, sign: str = "") -> str:
    """An estimate with its interval, if it has one, to three decimals; `sign` is "+" for a difference."""
    if pd.isna(estimate):
        return UNDEFINED
    return f"{estimate:{sign}z.3f}" + ("" if pd.isna(low) else f" [{low:z.3f}, {high:z.3f}]")


def sentence(
    difference: Difference,
    a_name: str,
    b_name: str,
    adjusted_p: float,
    margin: float | None = None,
    where: str = "the pooled test set",
) -> str:
    """What the difference says, in plain words; adjusted_p is its p in `holm`, significant below 1 - confidence.

    `where` says on which images. Raises ValueError for a `margin` with a metric of which lower is better.
    """
    lead = f"On {where} the {words(difference.metric)}"
    if np.isnan(difference.estimate):
        return f"{lead} is undefined, so {a_name} and {b_name} cannot be compared by it."
    text = f"{lead} of {a_name} is {_apart(difference, b_name)}; {_verdict(difference, a_name, adjusted_p)}."
    if margin is not None:
        if noninferior(difference, margin):
            text += f" {a_name[0].upper()}{a_name[1:]} is non-inferior within the margin of {margin:g}."
        else:
            text += f" Non-inferiority within the margin of {margin:g} is not shown."
    if difference.seeds == 1 and difference.se > 0:
        text += " With one seed the interval does not include the variation between seeds."
    return text


def _apart(difference: Difference, b_name: str) -> str:
    """How far A is from B: a distance and a direction, with the interval of that distance."""
    size, low, high = difference.estimate, difference.low, difference.high
    if size < 0:
        size, low, high = -size, -high, -low  # "0.01 below" speaks of B minus A
    interval = "" if np.isnan(low) else f" [{low:z.4f}, {high:z.4f}]"
    if abs(difference.estimate) <= ROUNDING:
        return f"equal to that of {b_name}{interval}"
    return f"{size:.4f}{interval} {'above' if difference.estimate > 0 else 'below'} {b_name}"


def _verdict(difference: Difference, a_name: str, adjusted_p: float) -> str:
    if difference.low == difference.high:
        return "the two give the same predictions"
    if np.isnan(difference.low):
        return "it has too few patients, or too little variation between them, for an interval"
    if difference.low <= 0 <= difference.high:
        return "the interval includes 0, so this test set does not tell them apart"
    p = "p < 0.001" if adjusted_p < 0.001 else f"p = {adjusted_p:.3f}"
    if not adjusted_p < 1 - difference.confidence:
        return (
            f"the interval excludes 0, but adjusted for the number of comparisons ({p}) this does not tell them apart"
        )
    better = (difference.estimate > 0) != (difference.metric in LOWER_IS_BETTER)
    return f"the interval excludes 0: {a_name} is {'better' if better else 'worse'} ({p}, adjusted)"


def summary_text(summary: pd.DataFrame, contrasts: pd.DataFrame, confidence: float) -> str:
    """The pooled test set and the conclusions, those of external tests last, as text for a terminal."""
    pooled = summary[summary["test_set"] == "pooled"]
    shown = ["auroc", "accuracy", "sensitivity", "specificity"]
    lines = [f"Pooled test set, with {confidence:.0%} intervals by patient".ljust(50)]
    lines.append(" " * 26 + "".join(f"{'AUROC' if name == 'auroc' else name:<24}" for name in shown))
    for (cohort, *model), rows in pooled.groupby(MODEL_KEY, sort=False):
        values = rows.set_index("metric")
        cells = [with_interval(*(values.at[name, part] for part in ("estimate", "low", "high"))) for name in shown]
        name = " ".join(filter(None, [model_name(*model), cohort]))
        lines.append(f"{name:<26}" + "".join(f"{cell:<24}" for cell in cells).rstrip())
    said = contrasts["question"].eq("reference") | contrasts["question"].eq("external") & contrasts["against"].eq(
        "central"
    )
    primary = contrasts[(contrasts["metric"] == PRIMARY) & said]
    for _, row in primary.iterrows():
        lines.append(f"{row['cohort']}: {row['sentence']}" if row["cohort"] else row["sentence"])
    return "\n".join(lines)
