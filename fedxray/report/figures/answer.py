"""The figure that carries the answer: what the federation changes over all patients and at each hospital."""

import textwrap

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from fedxray.experiment.experiment import POOLED, model_name
from fedxray.report.figures import MARGIN, STYLE

WIDTH = 4.4  # inches, so that letters can be read where the page is as narrow as a telephone
LETTERS = 50  # of a label, in a line of this width
LINE = 0.4  # between two lines of a label, in rows


def answer(table: pd.DataFrame, margin: float) -> Figure:
    """The gain in AUROC with its interval, a row for each model, from methods.csv; a part for each cohort.

    Over all test patients it is the shared model that validation chose, against the reference; at each hospital that
    model and the one that the hospital's own validation chose, against the hospital alone. The margin is dashed.
    """
    rows = rows_of(table)
    heads = sum(row["head"] != "" for row in rows)
    labels = [textwrap.wrap(row["label"], LETTERS) for row in rows]
    high = len(rows) + LINE * sum(len(lines) - 1 for lines in labels)
    figure, axis = plt.subplots(figsize=(WIDTH, 1.0 + 0.46 * high + 0.36 * heads), layout="constrained")
    y = 0.0
    place = axis.get_yaxis_transform()
    for row, lines in zip(rows, labels, strict=True):
        if row["head"]:
            axis.text(0.0, y, row["head"], transform=place, fontsize=10, fontweight="bold", va="center")
            y += 0.8
        style = STYLE[row["mode"]]
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        for number, line in enumerate(lines):
            y += LINE if number else 0.0
            said = axis.text(0.0, y, line, transform=place, fontsize=10, va="center", bbox=box)
            said.set_in_layout(False)  # or a long label would make the axis narrow
        axis.plot([row["low"], row["high"]], [y + 0.4, y + 0.4], color=style["color"], linewidth=2.5)
        axis.plot(row["estimate"], y + 0.4, style["marker"], color=style["color"], markersize=7)
        y += 1.0
    axis.axvline(0, color="#555555", linewidth=1, zorder=0)
    axis.axvline(-margin, color=MARGIN, linewidth=1.2, linestyle="--", zorder=0)
    axis.set(ylim=(y - 0.1, -0.5), yticks=[], xlabel="change of the AUROC (to the right: better)")
    axis.margins(x=0.06)
    axis.xaxis.set_major_locator(plt.MaxNLocator(5))
    axis.tick_params(axis="x", labelsize=10)
    axis.grid(visible=False, axis="y")
    axis.spines["left"].set_visible(False)
    return figure


def rows_of(table: pd.DataFrame) -> list[dict]:
    """The rows of the figure: head (of a new part, else empty), label, mode, estimate, low and high."""
    found: list[dict] = []
    for cohort, models in table.groupby("cohort", sort=False):
        shared = models[(models["hospital"] == POOLED) & models["chosen"]]
        for hospital, of_hospital in models.groupby("hospital", sort=False):
            same = (of_hospital["mode"] == "federated") & of_hospital["method"].isin(shared["method"])
            for row in of_hospital[(of_hospital["chosen"] | same) & of_hospital["gain_low"].notna()].to_dict("records"):
                name = model_name(row["mode"], row["method"], row["site"])
                first = not any(other["cohort"] == cohort for other in found)
                head = str(cohort).replace(",", ", ") if first else ""
                values = {"estimate": row["gain"], "low": row["gain_low"], "high": row["gain_high"]}
                label = f"{hospital}: {name}"
                if hospital == POOLED:
                    label = f"all patients: {name}, against {row['against']}"
                found.append({"cohort": cohort, "head": head, "label": label, "mode": row["mode"], **values})
    return found
