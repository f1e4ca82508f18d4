import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from helpers.analysis import DRAW, SITES

from fedxray.analysis.choice import federated_curves, global_curves
from fedxray.analysis.cohorts import cohorts_of
from fedxray.analysis.explanations import confident_mistakes
from fedxray.analysis.statistics import PRIMARY
from fedxray.core.files import read_json, read_table
from fedxray.data.site import SiteFolder
from fedxray.experiment.folder import Folder
from fedxray.report.figures import data, privacy, save, sweep
from fedxray.report.figures import results as of_results
from fedxray.report.figures.inversion import inversion
from fedxray.report.figures.mistakes import mistakes
from fedxray.report.figures.sweep import communication, swept_axes
from fedxray.training.exported import load_exported
from fedxray.training.metrics import METRICS


@pytest.fixture(autouse=True)
def _closed():
    """No figure stays open, or matplotlib warns of many."""
    yield
    plt.close("all")


@pytest.fixture
def tables(results):
    """The tables of the experiment by name."""
    names = ("points", "chosen", "predictions", "summary", "differences")
    return {name: read_table(getattr(results, name)) for name in names}


def words_of(figure):
    """Every text that is drawn, with those of legends and axes."""
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")) if text.get_text()]


def test_curves_have_a_line_for_each_model_and_a_band_for_its_seeds(tables, results):
    figure = of_results.learning_curves(global_curves(tables["chosen"], results))
    left, right = figure.axes
    assert len(left.lines) == len(left.collections) == len(right.lines) == 4
    assert list(left.lines[-1].get_xdata()) == [1, 2, 3, 4]
    assert [text.get_text() for text in figure.legends[0].texts] == ["federated", "central", "each hospital alone"]
    named = of_results.learning_curves(global_curves(tables["chosen"], results), "each alone (us: own)")
    assert "each alone (us: own)" in words_of(named)


def test_roc_curves_say_each_models_auroc_and_mark_its_operating_point(tables):
    figure = of_results.roc_curves(tables["chosen"], tables["predictions"], tables["summary"], *DRAW)
    (axis,) = figure.axes
    rows = tables["summary"].set_index(["mode", "site", "test_set", "metric"])
    value = rows.loc[("federated", "pooled", "pooled", "auroc")]
    label = f"federated: {value['estimate']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
    assert axis.get_legend().texts[0].get_text() == label
    marked = [line for line in axis.lines if len(line.get_xdata()) == 1]
    assert len(marked) == len(axis.collections) == 2  # federated and central, not the hospitals alone
    sensitivity = rows.at[("federated", "pooled", "pooled", "sensitivity"), "estimate"]
    assert [line.get_ydata()[0] for line in marked][-1] == sensitivity


def test_every_metric_has_a_panel_with_an_interval_for_each_model(tables):
    figure = of_results.metric_intervals(tables["summary"])
    assert len(figure.axes) == len(METRICS)
    assert [len(axis.lines) for axis in figure.axes] == [2 * 4] * len(METRICS)  # an interval and its middle
    assert figure.axes[-1].get_title() == "calibration error (lower is better)"


def test_the_gain_of_each_hospital_is_of_three_models_on_its_own_test_set(tables):
    (axis,) = of_results.gain(tables["summary"]).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == list(SITES)
    assert len(axis.lines) == 2 * 3 * len(SITES)


def test_differences_are_a_row_for_each_comparison_with_the_margin(tables):
    figure = of_results.differences(tables["differences"], 0.02)
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == [
        *("minus central", "minus us alone", "minus asia alone"),
        *("minus us alone, us's test set", "minus asia alone, asia's test set"),
    ]
    assert "margin 0.02" in words_of(figure)
    assert [line.get_xdata()[0] for line in axis.lines[-2:]] == [0, -0.02]


def test_every_model_on_every_test_set_is_a_cell(tables):
    figure = of_results.cross_site(tables["summary"])
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["pooled", *SITES, "worst site", "spread"]
    assert len(axis.texts) == 4 * 5
    rows = tables["summary"]
    first = rows[(rows["metric"] == PRIMARY) & (rows["test_set"] == "pooled")]["estimate"].iloc[0]
    assert axis.texts[0].get_text() == f"{first:.3f}"


def test_calibration_has_a_line_for_each_model_and_seed(tables):
    figure = of_results.calibration(tables["chosen"], tables["predictions"])
    assert [axis.get_title() for axis in figure.axes] == ["federated", "central", "each hospital alone"]
    assert [len(axis.lines) - 1 for axis in figure.axes] == [2, 2, 4]  # and the diagonal


def test_communication_is_over_rounds_and_megabytes(tables, results):
    figure = communication(federated_curves(tables["points"], results))
    assert [list(axis.lines[0].get_xdata()) for axis in figure.axes] == [[1, 2, 3, 4], [0.001, 0.002, 0.003, 0.004]]
    assert "lr=0.1,round=1.0 (chosen)" in words_of(figure)


def test_the_map_of_a_sweep_frames_the_chosen_cell():
    rows = [(lr, epochs, lr + epochs / 100) for lr in (0.1, 0.2) for epochs in (4, 8)]
    table = pd.DataFrame(rows, columns=["lr", "epochs", "validation_auroc"]).assign(rounds=lambda rows: rows["epochs"])
    table = table.assign(cohort="", mode="federated", method="", site="pooled", round=1.0, seed=1)
    table["chosen"] = table["validation_auroc"] == table["validation_auroc"].max()
    figure = sweep.sweep_map(table)
    axis = figure.axes[0]
    (frame,) = axis.patches
    assert (frame.get_x() + 0.47, frame.get_y() + 0.47) == (1, 1)  # the higher rate and the longer run
    assert [text.get_text() for text in axis.texts] == ["0.140", "0.180", "0.240", "0.280"]


def test_a_hospital_with_a_validation_set_of_its_own_is_named_in_the_map(tables):
    points = tables["points"].assign(lr=np.where(tables["points"]["seed"] == 1, 0.1, 0.2), chosen=True)
    titles = [axis.get_title() for axis in sweep.sweep_map(points, ["us"]).axes]
    assert titles[:4] == ["federated", "central", "us alone (validated on own images)", "asia alone"]


def test_cohorts_are_named_with_how_unlike_their_sites_are(tables, results):
    summary = pd.concat([tables["summary"].assign(cohort=name) for name in ("alpha=1", "alpha=9")])
    unlike = read_json(results.cohort(cohorts_of(results)[""]).heterogeneity)
    (axis,) = sweep.cohorts(summary, {"alpha=1": unlike, "alpha=9": unlike}).axes
    ticks = [label.get_text() for label in axis.get_xticklabels()]
    assert ticks[1] == "alpha=9\n2 sites\nlabels 0.01 bits\naetiologies 0.02 bits\nsizes 1:1.5"


def test_the_data_of_each_site_are_counted_and_shown(results):
    cohort = cohorts_of(results)[""]
    sites = {site: SiteFolder(results.site(cohort, site)) for site in cohort.sites}
    cards = {"": [read_json(site.card) for site in sites.values()]}
    figure = data.site_data(cards)
    assert [axis.get_title() for axis in figure.axes] == ["train", "test"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(SITES)
    assert sum(bar.get_width() for bar in figure.axes[0].patches) == 48
    assert words_of(figure).count("  50% pneumonia") == 4
    shown = data.gallery(sites, columns=2)
    assert [len(axis.images) for axis in shown.axes] == [1] * 8
    assert [shown.axes[row].get_ylabel() for row in (0, 4)] == list(SITES)


def test_mistakes_are_shown_beside_where_the_model_looked(results):
    model, config = load_exported(results.model)
    cohort = cohorts_of(results)[""]
    table = read_table(SiteFolder(results.site(cohort, "us")).table)
    tests = table[table["split"] == "test"][:3].assign(set="us", probability=[0.9, 0.1, 0.8])  # of labels 0, 1, 0
    wrong = confident_mistakes(tests, config["threshold"])
    figure = mistakes(model, wrong, results, cohort)
    assert [len(axis.images) for axis in figure.axes[:6]] == [1, 2] * 3
    assert figure.axes[0].get_title(loc="left") == "normal\nprobability 0.90, us"
    none = mistakes(model, wrong[:0], results, cohort)
    assert "no test image is on the wrong side of the threshold" in words_of(none)


def test_what_an_attacker_sees_is_beside_the_true_image():
    ramp = np.linspace(-1, 1, 64).reshape(8, 8)
    figure = inversion(
        [
            {"true": ramp, "in clear": 3 * ramp + 5, "masked": -ramp},
            {"true": ramp, **dict.fromkeys(("in clear", "masked"), ramp.T)},
        ]
    )
    assert [axis.get_title() for axis in figure.axes[:3]] == ["true phantom image", "in clear", "masked"]
    assert [axis.get_xlabel() for axis in figure.axes[:3]] == ["", "correlation 1.00", "correlation -1.00"]
    assert [len(axis.images) for axis in figure.axes] == [1] * 6


def points(**columns):
    base = {"cohort": "", "mode": "federated", "method": "", "site": "pooled", "lr": 0.1, "epochs": 4, "round": 1.0}
    return pd.DataFrame(base | columns)


@pytest.mark.parametrize(
    ("columns", "axes"),
    [
        ({"lr": [0.1, 0.2, 0.1, 0.2], "epochs": [4, 4, 8, 8], "rounds": [4, 4, 8, 8]}, ("lr", "epochs")),
        ({"epochs": [20, 20, 10], "round": [0.25, 1.0, 2.0], "rounds": [80, 20, 5]}, ("epochs", "round")),
        ({"lr": [0.1, 0.2], "batch_size": [8, 16]}, ("lr", "batch_size")),
    ],
)
def test_the_map_is_over_what_is_swept(columns, axes):
    assert swept_axes(points(**columns)) == axes


def test_a_figure_is_the_same_bytes_each_time_and_carries_its_note(tmp_path):
    curves = pd.DataFrame({"cohort": "", "name": "a", "chosen": True, "round": [1, 2], "bytes": [1e6, 2e6]})
    curves["validation_auroc"] = [0.5, 0.6]
    for folder in ("one", "two"):
        figure = communication(curves)
        save(figure, Folder(tmp_path / folder).figure("x"), "Synthetic phantom data")
        assert "Synthetic phantom data" in words_of(figure)
    for kind in ("svg", "png"):
        assert (tmp_path / f"one/figures/x.{kind}").read_bytes() == (tmp_path / f"two/figures/x.{kind}").read_bytes()


def test_what_privacy_costs_is_a_line_for_each_place_of_the_noise_and_one_without_it():
    rows, levels = [], {}
    for mode, method, place, epsilon, value in (
        ("federated", "fedavg", "", 0.0, 0.95),
        ("central", "", "", 0.0, 0.96),
        ("federated", "fedavg+sum+epsilon=1", "sum", 1.0, 0.85),
        ("federated", "fedavg+sum+epsilon=8", "sum", 7.9987, 0.93),
        ("federated", "fedavg+sites+epsilon=8", "sites", 7.9987, 0.8),
        ("central", "epsilon=8", "sites", 7.9987, 0.94),
    ):
        row = {"cohort": "", "mode": mode, "method": method, "site": "pooled", "test_set": "pooled", "metric": "auroc"}
        rows.append(row | {"estimate": value, "low": value - 0.02, "high": value + 0.02})
        if place:
            levels["", mode, method, "pooled"] = (place, epsilon)
    figure = privacy.utility(pd.DataFrame(rows), levels)
    (axis,) = figure.axes
    named = {line.get_label(): line for line in axis.get_lines() if not line.get_label().startswith("_")}
    assert list(named["federated, noise in the sum"].get_ydata()) == [0.85, 0.93]
    assert list(named["federated, noise at each hospital"].get_ydata()) == [0.8]
    assert list(named["central, with noise"].get_ydata()) == [0.94]
    assert {text.get_text() for text in axis.texts} == {"federated, no noise", "central, no noise"}
    assert [text.get_text() for text in axis.get_xticklabels()] == ["1", "8"]


def test_numbers_that_are_all_missing_leave_the_figures_of_a_sweep_empty_and_write_no_nan(tables, results, tmp_path):
    """Of a validation set or a tiny test set in which no metric is defined."""
    of_points = pd.DataFrame(
        {"lr": [0.1, 0.2, 0.1, 0.2], "epochs": [4, 4, 8, 8], "chosen": [True, False, False, False]}
    )
    of_points = points(**of_points, rounds=of_points["epochs"], seed=1, validation_auroc=np.nan)
    curves = federated_curves(tables["points"], results).assign(validation_auroc=np.nan)
    rows = tables["summary"].assign(estimate=np.nan, low=np.nan, high=np.nan)
    unlike = read_json(results.cohort(cohorts_of(results)[""]).heterogeneity)
    level = {("", "federated", "", "pooled"): ("sum", 1.0)}
    figures = {
        "sweep": sweep.sweep_map(of_points),
        "communication": communication(curves),
        "cohorts": sweep.cohorts(rows, {"": unlike}),
        "utility": privacy.utility(rows, level),
        "calibration": of_results.calibration(tables["chosen"], tables["predictions"].assign(label=0)),
    }
    for name, figure in figures.items():
        save(figure, {"svg": tmp_path / f"{name}.svg"}.items(), "Synthetic phantom data")
        assert not re.search(r"\bnan\b", (tmp_path / f"{name}.svg").read_text(), re.IGNORECASE), name
