"""The figures: each a function from tables to a matplotlib figure; `save` writes SVG and PNG."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from fedxray.files import atomic, read_json, read_table
from fedxray.metrics import roc, roc_band
from fedxray.seeds import stream

# Okabe & Ito's colours, with a marker and a line of its own for each mode: readable in colour blindness and in grey.
STYLE = {
    "federated": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "central": {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    "local": {"color": "#009E73", "marker": "^", "linestyle": ":"},
}
AETIOLOGY = {"none": "#BBBBBB", "virus": "#56B4E9", "bacteria": "#E69F00", "unknown": "#CC79A7"}
NAMES = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "f1": "F1",
    "brier": "Brier score (lower is better)",
    "calibration_error": "calibration error (lower is better)",
}
plt.rcParams.update(
    {
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.hashsalt": "fedxray",
        "axes.grid": True,
    }
    | {"grid.color": "#E5E5E5", "axes.axisbelow": True, "legend.frameon": False, "figure.dpi": 100, "savefig.dpi": 150}
)


def save(figure: Figure, svg: Path, png: Path, note: str = "") -> None:
    """Write the figure as SVG and PNG, the same bytes each time, with `note` (if not empty) as a line above it."""
    if note:
        figure.suptitle(note, color="#B00000", fontsize=11, fontweight="bold")
    for path, options in ((svg, {"metadata": {"Date": None}}), (png, {"metadata": {"Software": None}})):
        with atomic(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:], **options)
    plt.close(figure)


def learning_curves(runs: list[Path]) -> Figure:
    """Validation AUROC and loss over epochs of data seen: federated and central, and each site alone."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    curves = []
    for run in runs:
        record, metrics = read_json(run / "record.json"), read_table(run / "metrics.csv")
        curves.append(metrics[metrics["series"] == "global"].assign(mode=record["mode"], site=record["site"]))
    table = pd.concat(curves)
    for axis, column in zip(axes, ("validation_auroc", "validation_loss"), strict=True):
        for mode in reversed(STYLE):
            for number, (_, rows) in enumerate(table[table["mode"] == mode].groupby("site", sort=False)):
                points = rows.groupby("epoch")[column].agg(["mean", "min", "max"])
                label = "each hospital alone" if mode == "local" else mode
                thin = {"linewidth": 1.2, "markersize": 3} if mode == "local" else {"linewidth": 2, "markersize": 5}
                axis.plot(points.index, points["mean"], **STYLE[mode], **thin, label="_" * (number > 0) + label)
                axis.fill_between(points.index, points["min"], points["max"], color=STYLE[mode]["color"], alpha=0.15)
        axis.set(xlabel="epochs of data seen", ylabel=column.replace("_", " ").replace("auroc", "AUROC"))
        axis.xaxis.get_major_locator().set_params(integer=True)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=3)
    return figure


def roc_curves(runs: list[Path], replicates: int, confidence: float, seed: int) -> Figure:
    """ROC on the pooled test set, with pointwise bands and the operating point; the first seed of each mode."""
    figure, axis = plt.subplots(figsize=(6.4, 6.4), layout="constrained")
    grid, seen = np.linspace(0, 1, 201), set()
    for run in sorted(runs, key=lambda run: read_json(run / "record.json")["mode"] != "local"):
        record, evaluation = read_json(run / "record.json"), read_table(run / "evaluation.csv")
        mode, pooled = record["mode"], evaluation[evaluation["test_set"] == "pooled"].iloc[0]
        if (mode, record["site"]) in seen:
            continue
        seen.add((mode, record["site"]))
        rows = read_table(run / "predictions.csv").query("set != 'validation'")
        data = rows["label"].to_numpy(float), rows["probability"].to_numpy()
        negative, positive, _ = roc(*data)
        style = STYLE[mode] | {"marker": ""}
        name = f"{record['site']} alone" if mode == "local" else mode
        label = f"{name}: {pooled['auroc']:.3f} [{pooled['auroc_low']:.3f}, {pooled['auroc_high']:.3f}]"
        width = 1 if mode == "local" else 2
        axis.plot(negative / negative[-1], positive / positive[-1], **style, linewidth=width, label=label)
        if mode == "local":
            continue
        patients = rows["patient"].to_numpy(str)
        band = roc_band(*data, patients, grid, replicates, confidence, stream(seed, "roc"))
        axis.fill_between(grid, *band, color=STYLE[mode]["color"], alpha=0.15, linewidth=0)
        point = 1 - pooled["specificity"], pooled["sensitivity"]
        axis.plot(*point, STYLE[mode]["marker"], color=STYLE[mode]["color"], markersize=9, markeredgecolor="black")
    axis.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    axis.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1), ylim=(0, 1.01), aspect="equal")
    handles, labels = axis.get_legend_handles_labels()
    axis.legend(handles[::-1], labels[::-1], loc="lower right", title=f"AUROC [{confidence:.0%} interval]")
    return figure


def metric_intervals(comparison: pd.DataFrame) -> Figure:
    """Every metric with its interval on the pooled test set, models side by side; one panel a metric."""
    pooled = comparison[comparison["test_set"] == "pooled"].reset_index(drop=True)
    height = 2 + 0.25 * len(pooled)
    figure, axes = plt.subplots(3, 3, figsize=(11, 3 * height), layout="constrained", sharey=True)
    names = [_model_name(row, pooled["seed"].nunique() > 1) for _, row in pooled.iterrows()]
    for axis, (metric, title) in zip(axes.flat, NAMES.items(), strict=True):
        for position, (_, row) in enumerate(pooled.iterrows()):
            _whisker(axis, row, metric, len(pooled) - position)
        axis.set(title=title, yticks=range(len(pooled), 0, -1), yticklabels=names, ylim=(0.5, len(pooled) + 0.5))
    return figure


def gain(comparison: pd.DataFrame) -> Figure:
    """AUROC of each hospital's own test set by three models: its own, the federated and the central one."""
    rows = comparison[comparison["test_set"] != "pooled"]
    rows = rows[(rows["mode"] != "local") | (rows["site"] == rows["test_set"])]
    means = rows.groupby(["test_set", "mode"], sort=False)[["auroc", "auroc_low", "auroc_high"]].mean().reset_index()
    sites = list(dict.fromkeys(means["test_set"]))
    figure, axis = plt.subplots(figsize=(8, 1.8 + 0.8 * len(sites)), layout="constrained")
    for number, site in enumerate(sites):
        for offset, mode in zip((-0.22, 0, 0.22), ("local", "federated", "central"), strict=True):
            row = means[(means["test_set"] == site) & (means["mode"] == mode)].iloc[0]
            _whisker(axis, row, "auroc", number + offset, "alone" if mode == "local" else mode, number == 0)
    axis.set(yticks=range(len(sites)), yticklabels=sites, xlabel="AUROC on the hospital's own test set")
    axis.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def site_data(cards: list[dict]) -> Figure:
    """Training and test images of each site by aetiology, with the prevalence of pneumonia."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 1.8 + 0.5 * len(cards)), layout="constrained", sharey=True)
    for axis, split in zip(axes, ("train", "test"), strict=True):
        for number, card in enumerate(cards):
            left, counts = 0, card["splits"][split]["aetiologies"]
            for aetiology, colour in AETIOLOGY.items():
                if count := counts.get(aetiology, 0):
                    label = ("_" if number else "") + {"none": "normal"}.get(aetiology, aetiology)
                    axis.barh(number, count, left=left, color=colour, edgecolor="white", label=label)
                    left += count
            axis.text(left, number, f"  {card['splits'][split]['prevalence']:.0%} pneumonia", va="center", fontsize=9)
        axis.set(title=split, xlabel="images", yticks=range(len(cards)), yticklabels=[card["site"] for card in cards])
        axis.margins(x=0.35)
        axis.grid(False)
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def gallery(sites: list[Path], columns: int = 4) -> Figure:
    """The first training images of each class at each site, in catalogue order."""
    figure, axes = plt.subplots(
        len(sites), 2 * columns, figsize=(2.6 * columns, 1.5 * len(sites)), layout="constrained", squeeze=False
    )
    for line, site in zip(axes, sites, strict=True):
        table, images = read_table(site / "images.csv"), np.load(site / "images.npy", mmap_mode="r")
        train = table[table["split"] == "train"].drop_duplicates("patient")
        for label in (0, 1):
            chosen = train.index[train["label"] == label][:columns]
            for axis, row in zip(line[label * columns :], chosen, strict=False):
                axis.imshow(images[row], cmap="gray", vmin=0, vmax=255)
        for axis in line:
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
        line[0].set_ylabel(site.name)
    axes[0, 0].set_title("normal", loc="left")
    axes[0, columns].set_title("pneumonia", loc="left")
    return figure


def _whisker(axis, row: pd.Series, metric: str, y: float, name: str = "", labelled: bool = False) -> None:
    """One value with its interval; the value itself can lie outside a percentile interval."""
    style = STYLE[row["mode"]]
    axis.plot([row[f"{metric}_low"], row[f"{metric}_high"]], [y, y], color=style["color"], linewidth=2)
    axis.plot(row[metric], y, style["marker"], color=style["color"], markersize=7, label=name if labelled else None)


def _model_name(row: pd.Series, seeds: bool) -> str:
    name = f"{row['site']} alone" if row["mode"] == "local" else row["mode"]
    return f"{name}, seed {row['seed']}" if seeds else name
