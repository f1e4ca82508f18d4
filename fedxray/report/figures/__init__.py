"""The figures: each is a function from tables to a matplotlib figure. This module has what they share."""

import textwrap
from collections.abc import Iterable
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from fedxray.core.files import atomic
from fedxray.training.metrics import LOWER_IS_BETTER, METRICS, words

# Okabe & Ito's colours, and for each mode its own marker and line: one can read them colour-blind, and in grey.
STYLE = {
    "federated": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "central": {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    "alone": {"color": "#009E73", "marker": "^", "linestyle": ":"},
    "personal": {"color": "#CC79A7", "marker": "D", "linestyle": "-."},
    "coalition": {"color": "#E69F00", "marker": "v", "linestyle": "-"},
}
METADATA = {"svg": {"Date": None}, "png": {"Software": None}}  # without these a figure is the same bytes each time
MARGIN = "#9A4F7A"  # of the line at the margin of non-inferiority
NAMES = {metric: words(metric) + (" (lower is better)" if metric in LOWER_IS_BETTER else "") for metric in METRICS}
plt.rcParams.update(
    {
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.hashsalt": "fedxray",
        "svg.fonttype": "none",  # text stays text: it can be read, searched and copied
        "axes.grid": True,
        "grid.color": "#E5E5E5",
        "axes.axisbelow": True,
        "legend.frameon": False,
        "figure.dpi": 100,
        "savefig.dpi": 150,
    }
)


def save(figure: Figure, files: Iterable[tuple[str, Path]], note: str = "") -> None:
    """Write a figure to `files`, each (svg or png, path), the same bytes each time, with `note` (if any) on top."""
    if note:
        lines = textwrap.fill(note, int(9 * figure.get_figwidth()))
        figure.suptitle(lines, color="#B00000", fontsize=11, fontweight="bold")
    for kind, path in files:
        with atomic(path) as temporary:
            figure.savefig(temporary, format=kind, metadata=METADATA[kind])
    plt.close(figure)


def panels(count: int, width: float, height: float, columns: int = 3, **options):
    """(figure, axes) of one panel for each cohort, `width` x `height` inches each, at most `columns` side by side."""
    across = min(count, columns)
    down = -(-count // across)
    size = (width * across, height * down)
    figure, axes = plt.subplots(down, across, figsize=size, layout="constrained", squeeze=False, **options)
    for axis in axes.flat[count:]:
        axis.axis("off")
    return figure, list(axes.flat[:count])


def title(axis, cohort: str) -> None:
    """Name the cohort of a panel, where there are several."""
    if cohort:
        axis.set_title(cohort.replace(", ", ",").replace(",", ", "), fontsize=10)


def whisker(axis, row, mode: str, y: float, label: str | None = None) -> None:
    """`row`'s estimate at height `y` with its interval, in the style of `mode`."""
    style = STYLE[mode]
    axis.plot([row["low"], row["high"]], [y, y], color=style["color"], linewidth=2)
    axis.plot(row["estimate"], y, style["marker"], color=style["color"], markersize=7, label=label)
