"""Figures of the chosen models: how they learned, how good they are, where, and how they differ."""

from collections.abc import Collection

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fedxray.analysis.bootstrap import patient_weights
from fedxray.analysis.choice import MODEL_KEY, OWN
from fedxray.analysis.comparison import fairness
from fedxray.analysis.sentences import with_interval
from fedxray.analysis.statistics import PRIMARY, reliability
from fedxray.core.seeds import stream
from fedxray.experiment.experiment import mode_name, model_name
from fedxray.report.figures import NAMES, STYLE, panels, title, whisker
from fedxray.training.metrics import roc

GRID = np.linspace(0, 1, 201)  # of 1 - specificity


def learning_curves(curves: pd.DataFrame, alone: str = "each hospital alone") -> Figure:
    """Validation AUROC and loss over epochs of data seen, of the chosen points; a row for each cohort.

    `curves` has the columns of `metrics.csv` for the compared models, with `MODEL_KEY` and seed. The line is the mean
    over seeds, the band their range. `alone` is the label of the hospitals' own models.
    """
    cohorts = list(curves.groupby("cohort", sort=False))
    figure, axes = plt.subplots(
        len(cohorts), 2, figsize=(10, 0.6 + 3.6 * len(cohorts)), layout="constrained", squeeze=False
    )
    for line, (cohort, table) in zip(axes, cohorts, strict=True):
        for axis, column in zip(line, ("validation_auroc", "validation_loss"), strict=True):
            for mode in reversed(STYLE):
                models = table[table["mode"] == mode].groupby(["method", "site"], sort=False)
                for number, ((method, _), rows) in enumerate(models):
                    points = rows.groupby("epoch")[column].agg(["mean", "min", "max"])
                    label = alone if mode == "alone" and not method else mode_name(mode, method)
                    thin = {"linewidth": 1.2, "markersize": 3} if mode in OWN else {"linewidth": 2, "markersize": 5}
                    axis.plot(points.index, points["mean"], **STYLE[mode], **thin, label="_" * (number > 0) + label)
                    colour = STYLE[mode]["color"]
                    axis.fill_between(points.index, points["min"], points["max"], color=colour, alpha=0.12, linewidth=0)
            axis.set(xlabel="epochs of data seen", ylabel=column.replace("_", " ").replace("auroc", "AUROC"))
            axis.xaxis.get_major_locator().set_params(integer=True)
            title(axis, cohort)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=3)
    return figure


def roc_curves(
    chosen: pd.DataFrame,
    predictions: pd.DataFrame,
    summary: pd.DataFrame,
    replicates: int,
    confidence: float,
    seed: int,
) -> Figure:
    """ROC on the pooled test set, averaged over seeds at each specificity, a panel for each cohort.

    Bands are pointwise percentile intervals by the bootstrap over patients; marked is the operating point.
    """
    cohorts = list(chosen.groupby("cohort", sort=False))
    figure, axes = panels(len(cohorts), 6.4, 6.4)
    tests = dict(list(predictions[predictions["set"] != "validation"].groupby("path", sort=False)))
    for axis, (cohort, runs) in zip(axes, cohorts, strict=True):
        pooled = runs[runs["mode"] != "personal"]  # whose models know one hospital's test set alone
        for model, models in reversed(list(pooled.groupby(MODEL_KEY[1:], sort=False))):
            mode, parts = model[0], [tests[path] for path in models["path"]]
            same = (summary[MODEL_KEY] == [cohort, *model]).all(axis=1)
            rows = summary[same & (summary["test_set"] == "pooled")]
            values = rows.set_index("metric")
            auroc = values.loc["auroc"]
            label = f"{model_name(*model)}: {with_interval(auroc['estimate'], auroc['low'], auroc['high'])}"
            style, width = STYLE[mode] | {"marker": ""}, 1 if mode == "alone" else 2
            axis.plot(GRID, _mean_curve(parts), **style, linewidth=width, label=label)
            if mode == "alone":
                continue
            patients, rng = parts[0]["patient"].to_numpy(str), stream(seed, "roc")
            drawn = [_mean_curve(parts, weights) for weights in patient_weights(patients, replicates, rng)]
            tail = (1 - confidence) / 2
            band = np.nanquantile(np.array(drawn), [tail, 1 - tail], axis=0)
            axis.fill_between(GRID, *band, color=STYLE[mode]["color"], alpha=0.15, linewidth=0)
            point = 1 - values.at["specificity", "estimate"], values.at["sensitivity", "estimate"]
            axis.plot(*point, STYLE[mode]["marker"], color=STYLE[mode]["color"], markersize=9, markeredgecolor="black")
        axis.plot([0, 1], [0, 1], color="#999999", linewidth=1)
        axis.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1), ylim=(0, 1.01), aspect="equal")
        handles, labels = axis.get_legend_handles_labels()
        axis.legend(handles[::-1], labels[::-1], loc="lower right", title=f"AUROC [{confidence:.0%} interval]")
        title(axis, cohort)
    return figure


def _mean_curve(parts: list[pd.DataFrame], weights: np.ndarray | None = None) -> np.ndarray:
    """Sensitivity at each of `GRID`, the mean of one model's seeds; NaN if a class is absent."""
    curves = []
    for part in parts:
        negative, positive, _ = roc(part["label"].to_numpy(float), part["probability"].to_numpy(), weights)
        if not (negative[-1] and positive[-1]):
            return np.full(len(GRID), np.nan)
        curves.append(np.interp(GRID, negative / negative[-1], positive / positive[-1]))
    return np.mean(curves, axis=0)


def metric_intervals(summary: pd.DataFrame) -> Figure:
    """Every metric with its interval on the pooled test set, models side by side; one panel a metric."""
    pooled = summary[summary["test_set"] == "pooled"]
    models = list(pooled.groupby(MODEL_KEY, sort=False))
    height = 0.9 + 0.28 * len(models)
    figure, axes = plt.subplots(3, 3, figsize=(11, 3 * height), layout="constrained", sharey=True)
    names = [", ".join(filter(None, [model_name(*model), cohort])) for (cohort, *model), _ in models]
    places = range(len(models), 0, -1)
    for axis, (metric, name) in zip(axes.flat, NAMES.items(), strict=True):
        for y, ((_, mode, *_), rows) in zip(places, models, strict=True):
            whisker(axis, rows.set_index("metric").loc[metric], mode, y)
        axis.set(title=name, yticks=places, yticklabels=names, ylim=(0.5, len(models) + 0.5))
    return figure


def gain(summary: pd.DataFrame) -> Figure:
    """AUROC on each hospital's own test set by its own model, the federated, the central and, if any, its personal."""
    rows = summary[(summary["test_set"] != "pooled") & (summary["metric"] == PRIMARY)]
    rows = rows[(rows["mode"] != "alone") | (rows["site"] == rows["test_set"])]
    cohorts = list(rows.groupby("cohort", sort=False))
    most = max(table["test_set"].nunique() for _, table in cohorts)
    modes = [mode for mode in ("alone", "federated", "personal", "central") if mode in set(rows["mode"])]
    figure, axes = panels(len(cohorts), 8 if len(cohorts) == 1 else 5, 1.6 + 0.7 * most)
    for axis, (cohort, table) in zip(axes, cohorts, strict=True):
        sites = list(table["test_set"].unique())
        for offset, mode in zip(np.linspace(-0.22, 0.22, len(modes)), modes, strict=True):
            of_mode = table[table["mode"] == mode].set_index("test_set")
            if of_mode.empty:
                continue  # another cohort has it
            for number, site in enumerate(sites):
                name = "alone" if mode == "alone" else mode_name(mode, of_mode.at[site, "method"])
                whisker(axis, of_mode.loc[site], mode, number + offset, ("_" if number else "") + name)
        axis.set(yticks=range(len(sites)), yticklabels=sites, xlabel="AUROC on the hospital's own test set")
        axis.invert_yaxis()
        title(axis, cohort)
    named = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named, loc="outside lower center", ncols=len(modes))
    return figure


COMPARISON = ["cohort", "mode", "method", "against", "against_method", "site", "test_set"]


def differences(table: pd.DataFrame, margin: float) -> Figure:
    """Forest plot of the rows of `contrast`, one for each comparison, with intervals and adjusted p values."""
    shown = ("auroc", "balanced_accuracy", "brier")
    rows = list(table[table["metric"] == PRIMARY].groupby(COMPARISON, sort=False))
    figure, axes = plt.subplots(
        1, len(shown), figsize=(13, 1.7 + 0.34 * len(rows)), layout="constrained", sharey=True, width_ratios=[5, 4, 4]
    )
    names, several = [], table[["mode", "method"]].drop_duplicates().shape[0] > 1
    for cohort, mode, method, *other, test_set in (key for key, _ in rows):
        where = f", {test_set}'s test set" if test_set != "pooled" else ""
        of = f"{mode_name(mode, method)} " * several
        named = [f"{of}minus {model_name(*other)}{where}", cohort.replace(",", ", ")]
        names.append(", ".join(filter(None, named)))
    for axis, metric in zip(axes, shown, strict=True):
        values = table[table["metric"] == metric].set_index(COMPARISON)
        for y, (key, _) in enumerate(rows):
            row = values.loc[key]
            whisker(axis, row, key[3], y)
            if metric == PRIMARY and not np.isnan(row["p_adjusted"]):
                p = "p < 0.001" if row["p_adjusted"] < 0.001 else f"p = {row['p_adjusted']:.3f}"
                axis.text(1.0, y, p, transform=axis.get_yaxis_transform(), ha="right", va="center", fontsize=8)
        axis.axvline(0, color="#555555", linewidth=1)
        axis.set(xlabel=f"difference in {NAMES[metric].replace(' (', chr(10) + '(')}", yticks=range(len(rows)))
        axis.set_yticklabels(names)
    axes[0].axvline(-margin, color="#CC79A7", linewidth=1.2, linestyle="--")
    axes[0].text(-margin, -0.75, f"margin {margin:g}", color="#9A4F7A", fontsize=8, ha="center", va="bottom")
    axes[0].margins(x=0.3)
    axes[0].set_ylim(len(rows) - 0.5, -0.9)
    first = "the federation's model" if several else "federated"
    figure.supxlabel(f"{first} minus the other: right of 0 is better for AUROC and balanced accuracy, left for Brier")
    return figure


def external(summary: pd.DataFrame, names: Collection[str]) -> Figure:
    """AUROC, sensitivity and specificity with intervals on the pooled test set and on each external one (`names`).

    A group of lines for each test set, in it one for each model; a row of panels for each cohort.
    """
    shown = ("auroc", "sensitivity", "specificity")
    cohorts = list(summary[summary["test_set"].isin(["pooled", *names])].groupby("cohort", sort=False))
    heights = [1 + table.groupby(["test_set", *MODEL_KEY]).ngroups + len(names) for _, table in cohorts]
    figure, axes = plt.subplots(
        len(cohorts),
        len(shown),
        figsize=(11, 0.8 + 0.26 * sum(heights) + 0.6 * len(cohorts)),
        layout="constrained",
        squeeze=False,
        sharex="col",
        height_ratios=heights,
    )
    for line, (cohort, table) in zip(axes, cohorts, strict=True):
        labels: list[str] = []
        headings: list[int] = []
        for test_set, rows in table.groupby("test_set", sort=False):
            models = list(rows.groupby(MODEL_KEY[1:], sort=False))
            headings.append(len(labels))
            labels.append("pooled test set" if test_set == "pooled" else f"{test_set} (external)")
            for axis, metric in zip(line, shown, strict=True):
                axis.axhspan(headings[-1] - 0.5, headings[-1] + 0.5, color="#F0F0F0", linewidth=0)
                for y, ((mode, *_), values) in enumerate(models, len(labels)):
                    whisker(axis, values.set_index("metric").loc[metric], mode, y)
            labels += [model_name(*model) for model, _ in models]
        for axis, metric in zip(line, shown, strict=True):
            axis.set(yticks=range(len(labels)), ylim=(len(labels) - 0.5, -0.5))
            axis.set_yticklabels(labels if axis is line[0] else [])
            axis.set_title(NAMES[metric] + ("" if metric == PRIMARY else ", at validation's threshold"), fontsize=10)
        for heading in headings:
            line[0].get_yticklabels()[heading].set_fontweight("bold")
        line[0].set_ylabel(cohort.replace(",", ", "))
    return figure


def cross_site(summary: pd.DataFrame) -> Figure:
    """AUROC of every model (row) on every site's test set (column), with each model's worst site and spread."""
    rows = summary[summary["metric"] == PRIMARY]
    cohorts = list(rows.groupby("cohort", sort=False))
    most = max(len(fairness(table)) for _, table in cohorts)
    figure, axes = panels(len(cohorts), 2.6 + 0.85 * most, 1.4 + 0.5 * most, columns=2)
    for axis, (cohort, table) in zip(axes, cohorts, strict=True):
        matrix = fairness(table)
        image = axis.imshow(matrix.iloc[:, :-1], cmap="cividis", vmin=max(0.5, rows["estimate"].min() - 0.02), vmax=1)
        for (y, x), value in np.ndenumerate(matrix.to_numpy()):
            dark = x < matrix.shape[1] - 1 and image.norm(value) < 0.6
            axis.text(
                x,
                y,
                "-" if np.isnan(value) else f"{value:.3f}",
                ha="center",
                va="center",
                fontsize=9,
                color="white" if dark else "black",
            )
        axis.set(xticks=range(matrix.shape[1]), yticks=range(len(matrix)), xlim=(-0.5, matrix.shape[1] - 0.5))
        axis.set_xticklabels(matrix.columns, rotation=30, ha="right")
        axis.set_yticklabels(matrix.index)
        axis.set_xlabel("test set; worst and spread: over the sites")
        axis.grid(False)
        title(axis, cohort)
    figure.colorbar(image, ax=axes, label="AUROC", shrink=0.8)
    return figure


def calibration(chosen: pd.DataFrame, predictions: pd.DataFrame) -> Figure:
    """Reliability: observed share of pneumonia over the probability, a line for each seed.

    On the pooled test set; of a personal model on its hospital's.
    """
    cohorts = list(chosen.groupby("cohort", sort=False))
    modes = [mode for mode in STYLE if mode in set(chosen["mode"])]
    size = (3.67 * len(modes), 0.5 + 3.6 * len(cohorts))
    figure, axes = plt.subplots(
        len(cohorts), len(modes), figsize=size, layout="constrained", squeeze=False, sharey=True
    )
    tests = dict(list(predictions[predictions["set"] != "validation"].groupby("path", sort=False)))
    for line, (cohort, runs) in zip(axes, cohorts, strict=True):
        for axis, mode in zip(line, modes, strict=True):
            of_mode = runs[runs["mode"] == mode]
            for path in of_mode["path"]:
                labels, probabilities = tests[path]["label"].to_numpy(float), tests[path]["probability"].to_numpy()
                predicted, observed, count = reliability(labels, probabilities)
                alpha = 0.55 if mode in OWN else 0.9
                axis.plot(predicted, observed, **STYLE[mode], markersize=4, linewidth=1.2, alpha=alpha)
                axis.bar(np.arange(0.05, 1, 0.1), 0.25 * count / count.sum(), 0.1, color="#BBBBBB", alpha=0.3, zorder=0)
            axis.plot([0, 1], [0, 1], color="#999999", linewidth=1)
            axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability", aspect="equal")
            named = "" if of_mode.empty else mode_name(mode, of_mode["method"].iloc[0])
            title(axis, ", ".join(filter(None, [named, cohort])))
        line[0].set_ylabel("observed share of pneumonia")
    return figure
