"""Figures of the sweep: validation over the points, what accuracy costs in communication, and over the cohorts."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fedxray.analysis.choice import MODEL_KEY, point_columns, without_coalitions
from fedxray.analysis.statistics import PRIMARY
from fedxray.experiment.experiment import mode_name, model_name
from fedxray.report.figures import STYLE, title

MEGABYTE = 1e6


def sweep_map(points: pd.DataFrame, own_validation: Sequence[str] = ()) -> Figure:
    """Validation AUROC over the two widest swept axes, the mean over seeds; a panel for each model, the chosen marked.

    Where further axes are swept, a cell has the best over them. Each hospital alone has a panel. `own_validation` names
    the hospitals that validate on images of their own, so that their panels compare with no other.
    """
    points = without_coalitions(points)
    models = list(points.groupby(MODEL_KEY, sort=False))
    across = min(5, len(models))
    down = -(-len(models) // across)
    size = (3.4 * across, 3.4 * down)
    figure, axes = plt.subplots(down, across, figsize=size, layout="constrained", squeeze=False)
    means = points.groupby([*MODEL_KEY, *point_columns(points), "chosen"], dropna=False)["validation_auroc"].mean()
    means = means.reset_index()
    known = means["validation_auroc"].dropna()
    norm = plt.Normalize(known.min(), known.max()) if len(known) else plt.Normalize(0, 1)
    for axis, ((cohort, *model), table) in zip(axes.flat, models, strict=False):
        of_model = means[(means[MODEL_KEY] == [cohort, *model]).all(axis=1)]
        _heat(axis, of_model, *swept_axes(table), norm)
        alone = "(validated on own images)" if model[0] == "alone" and model[2] in own_validation else ""
        title(axis, ", ".join(filter(None, [f"{model_name(*model)} {alone}".strip(), cohort])))
    for axis in axes.flat[len(models) :]:
        axis.axis("off")
    figure.colorbar(plt.cm.ScalarMappable(norm, "cividis"), ax=axes, label="validation AUROC", shrink=0.8)
    return figure


def _heat(axis, means: pd.DataFrame, down: str, across: str, norm) -> None:
    """One model's means over two axes, each value written in its cell, the chosen one framed."""
    grid = means.pivot_table(index=down, columns=across, values="validation_auroc", aggfunc="max", dropna=False)
    axis.imshow(grid, cmap="cividis", norm=norm, origin="lower", aspect="auto")
    for (y, x), value in np.ndenumerate(grid.to_numpy()):
        if not np.isnan(value):
            colour = "white" if norm(value) < 0.6 else "black"
            axis.text(x, y, f"{value:.3f}", ha="center", va="center", fontsize=9, color=colour)
    best = means[means["chosen"]].iloc[0]
    x, y = list(grid.columns).index(best[across]), list(grid.index).index(best[down])
    axis.add_patch(plt.Rectangle((x - 0.47, y - 0.47), 0.94, 0.94, fill=False, edgecolor="#D55E00", linewidth=3))
    axis.set(xlabel=across.replace("_", " "), ylabel=down.replace("_", " "))
    axis.set_xticks(range(len(grid.columns)), [str(value) for value in grid.columns])
    axis.set_yticks(range(len(grid.index)), [str(value) for value in grid.index])
    axis.grid(False)


def swept_axes(table: pd.DataFrame) -> tuple[str, str]:
    """(down, across): the two point columns of one model's runs with the most values; learning rate goes down."""
    columns = point_columns(table)
    widest = sorted(columns, key=lambda name: -table[name].nunique())[:2]
    down, across = sorted(widest, key=lambda name: (name != "lr", columns.index(name)))
    return down, across


def communication(curves: pd.DataFrame) -> Figure:
    """Validation AUROC over rounds, and over megabytes sent; a line for each federated point, or for each method.

    `curves` has a row per federated run and round: cohort, name (of the point), chosen, round, bytes (sent so far) and
    validation_auroc. The mean over seeds; the chosen point is drawn thick.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained", sharey=True)
    groups = list(curves.groupby(["cohort", "name"], sort=False))
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(groups)))
    for colour, ((cohort, name), rows) in zip(colours, groups, strict=True):
        means = rows.groupby("round")[["bytes", "validation_auroc"]].mean()
        thick = {"linewidth": 3, "zorder": 3} if rows["chosen"].any() else {"linewidth": 1.2}
        label = ", ".join(filter(None, [name, cohort])) + (" (chosen)" if rows["chosen"].any() else "")
        for axis, x in zip(axes, (means.index, means["bytes"] / MEGABYTE), strict=True):
            marker = "o" if len(means) == 1 else ""
            axis.plot(x, means["validation_auroc"], color=colour, label=label, marker=marker, **thick)
    axes[0].set(xlabel="communication rounds", ylabel="validation AUROC of the global model")
    axes[0].xaxis.get_major_locator().set_params(integer=True)
    axes[1].set(xlabel="megabytes sent, all sites, both ways")
    if len(groups) <= 12:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return figure


def cohorts(summary: pd.DataFrame, heterogeneity: dict[str, dict]) -> Figure:
    """AUROC on the pooled test set over the cohorts, with each one's label divergence, size ratio and sites."""
    rows = summary[(summary["test_set"] == "pooled") & (summary["metric"] == PRIMARY)]
    names = list(heterogeneity)
    figure, axis = plt.subplots(figsize=(2.5 + 1.9 * len(names), 5), layout="constrained")
    modes = [mode for mode in STYLE if mode in set(rows["mode"])]
    for offset, mode in zip(np.linspace(-0.15, 0.15, len(modes)), modes, strict=True):
        style, methods = STYLE[mode], rows["method"][rows["mode"] == mode].unique()
        for x, cohort in enumerate(names):
            of_mode = rows[(rows["cohort"] == cohort) & (rows["mode"] == mode)]
            for _, row in of_mode.iterrows():
                axis.plot([x + offset] * 2, [row["low"], row["high"]], color=style["color"], linewidth=1.5, alpha=0.7)
                axis.plot(x + offset, row["estimate"], style["marker"], color=style["color"], markersize=7)
        label = mode_name(mode, methods[0]) if len(methods) == 1 else mode_name(mode, "")
        axis.plot([], [], style["marker"], color=style["color"], label=label)
    ticks = [
        f"{cohort.replace(',', chr(10))}\n{len(facts['sites'])} sites\nlabels {facts['label_divergence']:.2f} bits"
        f"\naetiologies {facts['aetiology_divergence']:.2f} bits\nsizes 1:{facts['size_ratio']:.1f}"
        for cohort, facts in heterogeneity.items()
    ]
    axis.set(xticks=range(len(names)), xticklabels=ticks, ylabel="AUROC on the pooled test set")
    axis.tick_params(axis="x", labelsize=9)
    figure.legend(loc="outside lower center", ncols=3)
    return figure
