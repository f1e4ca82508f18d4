"""The figure of what differential privacy costs."""

import pandas as pd

from fedxray.analysis.choice import MODEL_KEY
from fedxray.analysis.statistics import PRIMARY
from fedxray.experiment.experiment import POOLED
from fedxray.report.figures import STYLE, panels, title, words

SERIES = {  # {(mode, where the noise is): (name, marker, line)}; the colour is the mode's
    ("federated", "sum"): ("federated, noise in the sum", "o", "-"),
    ("federated", "sites"): ("federated, noise at each hospital", "v", ":"),
    ("central", "sites"): ("central, with noise", "s", "--"),
}


def utility(summary: pd.DataFrame, levels: dict[tuple, tuple[str, float]]):
    """AUROC on the pooled test set over epsilon, with intervals: a panel for each cohort.

    `levels` is {(cohort, mode, method, site): (where the noise is, epsilon)} of the private models. Models without
    noise are horizontal lines.
    """
    rows = summary[(summary["metric"] == PRIMARY) & (summary["test_set"] == POOLED) & (summary["site"] == POOLED)]
    cohorts = list(dict.fromkeys(rows["cohort"]))
    figure, axes = panels(len(cohorts), 6.4, 4.4, sharey=True)
    for axis, cohort in zip(axes, cohorts, strict=True):
        lines: dict[tuple[str, str], list[tuple]] = {}
        for row in rows[rows["cohort"] == cohort].to_dict("records"):
            place, epsilon = levels.get(tuple(row[name] for name in MODEL_KEY), ("", 0.0))
            if place:
                lines.setdefault((row["mode"], place), []).append((epsilon, row["estimate"], row["low"], row["high"]))
            elif row["mode"] in ("federated", "central"):
                style = STYLE[row["mode"]]
                axis.axhline(row["estimate"], color=style["color"], linestyle=style["linestyle"], linewidth=1)
                axis.annotate(
                    f"{row['mode']}, no noise",
                    (1.01, row["estimate"]),  # beside the panel, where no interval is
                    xycoords=("axes fraction", "data"),
                    color=style["color"],
                    va="bottom" if row["mode"] == "central" else "top",
                    fontsize=9,
                )
        for number, ((mode, place), points) in enumerate(sorted(lines.items())):
            name, marker, line = SERIES[mode, place]
            epsilon, estimate, low, high = (list(values) for values in zip(*sorted(points), strict=True))
            beside = [value * (1 + 0.04 * (number - 1)) for value in epsilon]  # or intervals cover one another
            color = STYLE[mode]["color"]
            axis.plot(beside, estimate, marker + line, color=color, label=name)
            axis.vlines(beside, low, high, color=color, linewidth=2, linestyle="-")
        shown = sorted({epsilon for points in lines.values() for epsilon, *_ in points})
        axis.set_xscale("log")
        axis.set_xticks(shown, [f"{epsilon:.3g}" for epsilon in shown])
        axis.minorticks_off()
        axis.set_xlabel("epsilon of a patient (smaller is more private)")
        title(axis, cohort)
    axes[0].set_ylabel(f"{words(PRIMARY)}, pooled test set")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", fontsize=9)
    return figure
