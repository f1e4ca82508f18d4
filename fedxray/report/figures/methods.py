"""Figures of methods: what each gains over all and for each hospital, at what cost, and what each hospital brings."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from fedxray.experiment.experiment import mode_name
from fedxray.report.figures import MARGIN, STYLE

DECADE = 10.0  # how many times the least the most must be for a scale of powers
ORDER = ("federated", "personal", "central", "alone")  # of rows


def method_gain(table: pd.DataFrame, margin: float) -> Figure:
    """The gain in AUROC of each method (row), pooled and for each hospital (panels), with its megabytes and seconds.

    `table` is methods.csv. A hospital's gain is over itself alone with the same budget, the pooled one over
    the reference; the model that validation chose is ringed. A cohort's panels follow one another, at most six side by
    side.
    """
    cohorts = list(table.groupby("cohort", sort=False))
    counts = [rows["hospital"].nunique() + 2 for _, rows in cohorts]
    across = min(6, max(counts))
    lines = [-(-count // across) for count in counts]
    most = max(rows.groupby(["mode", "method"]).ngroups for _, rows in cohorts)
    size = (2.2 + 2.4 * across, sum(lines) * (1.1 + 0.3 * most) + 0.4)
    figure, axes = plt.subplots(sum(lines), across, figsize=size, layout="constrained", squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    start = 0
    for (cohort, rows), count, down in zip(cohorts, counts, lines, strict=True):
        used = list(axes[start : start + down].flat)[:count]
        order = rows.assign(rank=rows["mode"].map(ORDER.index)).sort_values("rank", kind="stable")
        places = {key: y for y, (key, _) in enumerate(order.groupby(["mode", "method"], sort=False))}
        for axis, (hospital, part) in zip(used, rows.groupby("hospital", sort=False), strict=False):
            _gains(axis, part, places, margin)
            axis.set_title(hospital, fontsize=11, fontweight="bold" if hospital == "pooled" else "normal")
        _costs(used[-2], used[-1], rows, places)
        for number, axis in enumerate(used):
            axis.axis("on")
            axis.set(yticks=range(len(places)), ylim=(len(places) - 0.5, -0.5))
            axis.set_yticklabels([mode_name(*key) for key in places] if number % across == 0 else [])
            axis.tick_params(axis="x", labelsize=9)
        used[0].set_ylabel(cohort.replace(",", "\n"), fontsize=9)
        start += down
    figure.supxlabel(
        "pooled: over the reference; a hospital: over itself alone with the same budget, on its own test patients\n"
        "ring: chosen by validation; dashed: the margin of non-inferiority",
        fontsize=10,
    )
    return figure


def _gains(axis, rows: pd.DataFrame, places: dict, margin: float) -> None:
    """The gains of one hospital's models over what is at 0; the margin of non-inferiority is dashed."""
    for row in rows.itertuples():
        y, style = places[row.mode, row.method], STYLE[row.mode]
        gain = 0.0 if np.isnan(row.gain) else row.gain
        axis.plot([row.gain_low, row.gain_high], [y, y], color=style["color"], linewidth=2)
        axis.plot(gain, y, style["marker"], color=style["color"], markersize=6)
        if row.chosen:
            axis.plot(gain, y, "o", markersize=13, markerfacecolor="none", markeredgecolor="black")
    axis.axvline(0, color="#555555", linewidth=1)
    axis.axvline(-margin, color=MARGIN, linewidth=1.2, linestyle="--")
    axis.margins(x=0.1)
    axis.xaxis.set_major_locator(plt.MaxNLocator(4))
    axis.set_xlabel("gain in AUROC", fontsize=9)


def _costs(megabytes, seconds, rows: pd.DataFrame, places: dict) -> None:
    """Megabytes sent, on a scale of powers if they differ much, and seconds of training, of each method."""
    cost = rows.groupby(["mode", "method"], sort=False)[["bytes_sent", "seconds"]].median()
    for key, row in cost.iterrows():
        style = STYLE[key[0]]
        if row["bytes_sent"] > 0:
            megabytes.plot(row["bytes_sent"] / 1e6, places[key], style["marker"], color=style["color"], markersize=6)
        seconds.plot(row["seconds"], places[key], style["marker"], color=style["color"], markersize=6)
    sent = cost["bytes_sent"][cost["bytes_sent"] > 0]
    if len(sent) and sent.max() > DECADE * sent.min():
        megabytes.set_xscale("log")
        megabytes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=5))
        megabytes.xaxis.set_minor_formatter(NullFormatter())
    else:
        megabytes.xaxis.set_major_locator(plt.MaxNLocator(3))
    megabytes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    megabytes.set_title("megabytes sent", fontsize=11)
    seconds.set_xlim(left=0)
    seconds.set_title("seconds", fontsize=11)


def contributions(table: pd.DataFrame) -> Figure:
    """What each hospital (row) brings, pooled and to each hospital's own patients (panels): contributions.csv.

    Shapley values are filled, leave-one-out values are open; a row of panels for each cohort.
    """
    cohorts = list(table.groupby("cohort", sort=False))
    across = max(rows["test_set"].nunique() for _, rows in cohorts)
    most = table["hospital"].nunique()
    size = (1.4 + 2.7 * across, len(cohorts) * (1.1 + 0.55 * most) + 0.6)
    figure, axes = plt.subplots(len(cohorts), across, figsize=size, layout="constrained", squeeze=False)
    colour = STYLE["coalition"]["color"]
    looks = {"shapley": ("Shapley value", -0.15, "full"), "leave_one_out": ("leave-one-out", 0.15, "none")}
    for line, (cohort, rows) in zip(axes, cohorts, strict=True):
        hospitals = list(rows["hospital"].unique())
        for axis in line[rows["test_set"].nunique() :]:
            axis.axis("off")
        for axis, (test_set, part) in zip(line, rows.groupby("test_set", sort=False), strict=False):
            for row in part.itertuples():
                label, offset, fill = looks[row.what]
                y = hospitals.index(row.hospital) + offset
                axis.plot([row.low, row.high], [y, y], color=colour, linewidth=2)
                axis.plot(row.estimate, y, "o", color=colour, fillstyle=fill, markersize=7, label=label)
            axis.axvline(0, color="#555555", linewidth=1)
            axis.set(yticks=range(len(hospitals)), ylim=(len(hospitals) - 0.5, -0.5))
            axis.set_yticklabels([f"{name} brings" for name in hospitals] if axis is line[0] else [])
            axis.xaxis.set_major_locator(plt.MaxNLocator(4))
            axis.tick_params(axis="x", labelsize=9)
            axis.set_xlabel("rise of the AUROC", fontsize=9)
            named = "to all" if test_set == "pooled" else f"to {test_set}"
            axis.set_title(named, fontsize=11, fontweight="bold" if test_set == "pooled" else "normal")
        line[0].set_ylabel(cohort.replace(",", "\n"), fontsize=9)
    named = dict(zip(*axes[0, 0].get_legend_handles_labels()[::-1], strict=True))
    figure.legend(named.values(), named, loc="outside lower center", ncols=2)
    return figure
