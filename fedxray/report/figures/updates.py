"""The figure of strategies for a second wave of patients."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fedxray.analysis.statistics import PRIMARY
from fedxray.report.figures import STYLE

MARKERS = {"all": "o", "new": "s", "anew": "^"}
NAMES = {"all": "go on with all", "new": "go on with new alone", "anew": "start anew with all"}


def updates(table: pd.DataFrame) -> Figure:
    """The change of AUROC on new patients (across) and on old ones (upwards) of each strategy and mode: updates.csv.

    A panel for each test set, a row of panels for each cohort.
    """
    table = table[table["metric"] == PRIMARY]
    keys = ["cohort", "mode", "method", "site", "strategy", "test_set"]
    values = ["estimate", "low", "high"]
    pairs = table[table["question"] == "new"].merge(
        table[table["question"] == "old"], on=keys, suffixes=("_new", "_old")
    )[[*keys, *(f"{value}_{question}" for question in ("new", "old") for value in values)]]
    cohorts, sets = list(pairs.groupby("cohort", sort=False)), list(dict.fromkeys(pairs["test_set"]))
    size = (2.4 + 2.9 * len(sets), 0.9 + 2.9 * len(cohorts))
    figure, axes = plt.subplots(len(cohorts), len(sets), figsize=size, layout="constrained", squeeze=False)
    for line, (_, rows) in zip(axes, cohorts, strict=True):
        for axis, test_set in zip(line, sets, strict=True):
            axis.axhline(0, color="#BBBBBB", linewidth=1)
            axis.axvline(0, color="#BBBBBB", linewidth=1)
            for row in rows[rows["test_set"] == test_set].itertuples():
                color = STYLE[row.mode]["color"]
                axis.plot([row.low_new, row.high_new], [row.estimate_old] * 2, color=color, linewidth=1)
                axis.plot([row.estimate_new] * 2, [row.low_old, row.high_old], color=color, linewidth=1)
                axis.plot(row.estimate_new, row.estimate_old, MARKERS[row.strategy], color=color, markersize=7)
            axis.set_title(test_set, fontsize=11)
            axis.tick_params(labelsize=9)
    modes = [Line2D([], [], color=STYLE[mode]["color"], label=mode) for mode in dict.fromkeys(pairs["mode"])]
    marks = [
        Line2D([], [], color="black", marker=MARKERS[name], linestyle="", label=NAMES[name])
        for name in dict.fromkeys(pairs["strategy"])
    ]
    figure.legend(handles=[*modes, *marks], loc="outside right upper", fontsize=9)
    figure.supxlabel("AUROC on new patients, minus the old model's", fontsize=10)
    figure.supylabel("on old patients", fontsize=10)
    return figure
