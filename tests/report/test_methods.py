"""Figures and pages of an experiment of several methods, personal ones and two budgets among them."""

import html
import re
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import yaml
from helpers.analysis import DRAW, METHODS, SITES, chosen_models

from fedxray.analysis.adaptation import adapt
from fedxray.analysis.answer import VERDICTS
from fedxray.analysis.choice import MODEL_KEY, global_curves, leading, of_models
from fedxray.analysis.comparison import compare, summarise
from fedxray.analysis.contrasts import contrast
from fedxray.analysis.methods import table_of_methods
from fedxray.core.files import read_table, write_json, write_table
from fedxray.experiment.experiment import Experiment
from fedxray.experiment.folder import Folder
from fedxray.experiment.method import PLAIN
from fedxray.report import algorithms
from fedxray.report.contents import figures
from fedxray.report.figures import methods as of_methods
from fedxray.report.figures import results as of_results
from fedxray.report.figures import sweep
from fedxray.report.pages import Results, render

POINTS = [{"algorithm.name": name} for name in ("fedavg", "scaffold", "ditto")]
POINTS.append({"algorithm.name": "fedavg", "federation.budget": "steps"})
KINDS = [kind for kind in METHODS if kind[0][0] != "coalition"]


@pytest.fixture(scope="module")
def several(results, config, tmp_path_factory):
    """(configuration, folder) of such an experiment, with the runs of the small one in the folders of its runs."""
    folder = Folder(tmp_path_factory.mktemp("several") / "made-up")
    folder.root.mkdir()
    for name in ("sites", "cohort", "data", "model", "agreement.csv"):
        (folder.root / name).symlink_to(results.root / name)
    chosen, predictions = (table.assign(path="run-" + table["path"]) for table in chosen_models(kinds=KINDS))
    methods = {"ditto": replace(PLAIN, name="ditto", attraction=0.1), "scaffold": replace(PLAIN, name="scaffold")}
    federated = chosen["method"].where(~chosen["mode"].isin(["central", "alone"]), "")
    for path, method in zip(chosen["path"], federated, strict=True):
        run, given = folder.run(path), results.run("run-0")
        write_json(run.record, given.read_record() | {"method": vars(methods.get(method, PLAIN)) if method else None})
        run.curves.symlink_to(given.curves)
    summary, contrasts = summarise(chosen, predictions, *DRAW), contrast(chosen, predictions, *DRAW, 0.02, "central")
    tables = {
        folder.points: chosen.drop(columns="threshold"),
        folder.chosen: chosen,
        folder.predictions: predictions,
        folder.comparison: compare(chosen, predictions, *DRAW),
        folder.summary: summary,
        folder.differences: contrasts,
        folder.methods: table_of_methods(chosen, predictions, summary, contrasts),
        folder.own_thresholds: adapt(chosen, predictions),
    }
    for path, table in tables.items():
        write_table(path, table)
    return config | {"sweep": config["sweep"] | {"points": POINTS}}, folder


@pytest.fixture
def lead(several):
    """(chosen.csv, summary.csv) of the models that figures of few lines show."""
    chosen = leading(read_table(several[1].chosen))
    yield chosen, of_models(read_table(several[1].summary), chosen, MODEL_KEY)
    plt.close("all")


def text_of(page):
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


def labels(axis):
    return [label.get_text() for label in axis.get_yticklabels()]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].texts]


def test_there_is_a_figure_where_there_are_several_methods(several, config):
    assert "method_gain" in figures(Experiment.from_config(several[0]), "plot_results")
    assert "method_gain" not in figures(Experiment.from_config(config))
    three = config | {"sites": [*SITES, "europe"], "evaluation": config["evaluation"] | {"contributions": True}}
    assert figures(Experiment.from_config(three), "plot_results")[:2] == ["answer", "contributions"]


def test_the_gain_of_each_method_is_a_row_in_each_hospitals_panel(several):
    table = read_table(several[1].methods)
    figure = of_methods.method_gain(table, 0.02)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["pooled", *SITES, "megabytes sent", "seconds"]
    assert labels(figure.axes[0]) == [
        *("fedavg", "fedavg+steps", "scaffold", "ditto", "central"),
        *("each hospital alone", "each hospital alone (steps)"),
    ]
    for axis, hospital in zip(figure.axes, ("pooled", *SITES), strict=False):
        ringed = [line.get_xdata()[0] for line in axis.lines if line.get_markerfacecolor() == "none"]
        assert ringed == list(table["gain"][(table["hospital"] == hospital) & table["chosen"]])
        assert [line.get_xdata()[0] for line in axis.lines[-2:]] == [0, -0.02]
    assert figure.axes[3].get_xscale() == "linear"  # all send about the same
    table.loc[table["method"] == "scaffold", "bytes_sent"] *= 30
    assert of_methods.method_gain(table, 0.02).axes[3].get_xscale() == "log"
    plt.close("all")


def test_many_hospitals_and_cohorts_have_their_panels_below_one_another(several):
    table = read_table(several[1].methods)
    more = [table, *(table[table["hospital"] == "us"].assign(hospital=f"us{number}") for number in range(4))]
    both = pd.concat([pd.concat(more).assign(cohort="alpha=1"), table.assign(cohort="alpha=9")], ignore_index=True)
    figure = of_methods.method_gain(both, 0.02)
    assert [axis.get_title() for axis in figure.axes if axis.axison] == [
        *("pooled", *SITES, *(f"us{number}" for number in range(4)), "megabytes sent", "seconds"),
        *("pooled", *SITES, "megabytes sent", "seconds"),
    ]
    plt.close("all")


def test_figures_of_few_lines_show_the_method_that_validation_chose(several, lead):
    _, folder = several
    chosen, summary = lead
    curves = of_results.learning_curves(global_curves(chosen, folder))
    assert legend(curves) == ["fedavg+steps", "central", "each hospital alone (steps)", "ditto"]
    assert len(curves.axes[0].lines) == 6  # federated, central, two alone, two personal
    gain = of_results.gain(summary)
    assert legend(gain) == ["alone", "fedavg+steps", "ditto", "central"]
    assert len(gain.axes[0].lines) == 2 * 4 * len(SITES)
    modes = {"alpha=1": ("alone", "personal"), "alpha=9": ("alone", "federated")}  # each cohort has a lead of its own
    both = [summary[summary["mode"].isin(kept)].assign(cohort=cohort) for cohort, kept in modes.items()]
    apart = of_results.gain(pd.concat(both))
    assert legend(apart) == ["alone", "ditto", "fedavg+steps"]
    assert [len(axis.lines) for axis in apart.axes] == [2 * 2 * len(SITES)] * 2
    roc = of_results.roc_curves(chosen, read_table(folder.predictions), summary, *DRAW)
    names = [text.get_text().split(":")[0] for text in roc.axes[0].get_legend().texts]
    assert names == ["fedavg+steps", "central", "us alone (steps)", "asia alone (steps)"]
    matrix = of_results.cross_site(summary).axes[0]
    assert labels(matrix) == ["fedavg+steps", "central", "us alone (steps)", "asia alone (steps)", "ditto"]
    assert [text.get_text() for text in matrix.texts].count("-") == 1  # a personal method has no pooled test set
    shown = of_results.calibration(chosen, read_table(folder.predictions))
    assert [axis.get_title() for axis in shown.axes] == [
        *("fedavg+steps", "central", "each hospital alone (steps)", "ditto"),
    ]
    contrasts = of_models(read_table(folder.differences), chosen, MODEL_KEY[:3])
    rows = labels(of_results.differences(contrasts[contrasts["question"] != "methods"], 0.02).axes[0])
    assert rows[0] == "fedavg+steps minus central"
    assert rows[-1] == "ditto minus asia alone, asia's test set"
    unlike = {"label_divergence": 0.01, "aetiology_divergence": 0.02, "size_ratio": 1.5, "sites": {}}
    assert legend(sweep.cohorts(summary, {"": unlike})) == ["fedavg+steps", "central", "each hospital alone (steps)"]


def test_the_contributions_are_a_row_for_each_hospital():
    rows = [(who, to, what) for what in ("shapley", "leave_one_out") for to in ("pooled", *SITES) for who in SITES]
    table = pd.DataFrame(rows, columns=["hospital", "test_set", "what"])
    table = table.assign(cohort="", estimate=0.1, low=0.05, high=0.15)
    figure = of_methods.contributions(table)
    assert [axis.get_title() for axis in figure.axes] == ["to all", "to us", "to asia"]
    assert labels(figure.axes[0]) == ["us brings", "asia brings"]
    assert legend(figure) == ["Shapley value", "leave-one-out"]
    assert [len(axis.lines) for axis in figure.axes] == [2 * 2 * 2 + 1] * 3
    plt.close("all")


def test_the_conclusions_have_every_model_that_a_hospital_could_use(several):
    config, folder = several
    page = text_of(render(config, folder, "")["conclusions"])
    methods = read_table(folder.methods)
    assert "No method was chosen on test data." in page
    told = Results(config, folder).conclusions()
    assert [hospital["name"] for hospital in told["hospitals"]] == list(SITES)
    us = methods[methods["hospital"] == "us"].reset_index(drop=True)
    assert [row["chosen by validation"] for row in told["hospitals"][0]["models"]] == [
        "yes" if chosen else "" for chosen in us["chosen"]
    ]
    assert [row["model"] for row in told["hospitals"][0]["models"]][-1] == "ditto of us"
    ditto = told["hospitals"][0]["models"][-1]
    assert (ditto["over"], ditto["verdict"]) == ("us alone", VERDICTS[us["verdict"].iloc[-1]])
    assert len(told["primary"]) == 3
    # Sentences about single methods would be too many: the one that validation chose, and the personal one.
    assert len(told["secondary"]) == 2 + 2 + 2
    assert [(row["hospital"], row["model"]) for row in told["own_thresholds"]] == [
        (site, model) for model in ("fedavg+steps", "central") for site in SITES
    ]
    assert re.fullmatch(r"0\.\d{3} to 0\.\d{3}", told["own_thresholds"][0]["accuracy"])


def test_the_conclusions_have_what_each_hospital_brings_if_it_was_measured(several):
    config, folder = several
    values = {"estimate": 0.1, "low": 0.05, "high": 0.15, "se": 0.02, "p": 0.0001, "p_adjusted": 0.0002}
    rows = [{"cohort": "", "hospital": who, "test_set": "pooled", "what": "shapley"} | values for who in SITES]
    write_table(folder.contributions, pd.DataFrame(rows))
    of_pages = Results(config, folder)
    assert of_pages.conclusions()["contributions"] == []
    of_pages.has_contributions = True
    first = of_pages.conclusions()["contributions"][0]
    cells = {"hospital": "us", "brings to": "pooled", "shapley": "0.100\u00a0[0.050,\u00a00.150]"}
    assert first == cells | {"p (shapley)": "<\u00a00.001"}


def test_the_methods_page_says_what_each_method_is_by_which_paper(several):
    told = Results(*several).methods()
    rows = {row["method"]: row for row in told["federated"]}
    assert set(rows) == {"fedavg", "fedavg+steps", "scaffold", "ditto"}
    assert "Karimireddy et al. 2020" in rows["scaffold"]["what it does"]
    assert rows["ditto"]["numbers"] == "attraction 0.1"
    assert rows["fedavg"]["schedule"] == "4 rounds of 1 local epoch"
    assert told["budget"] == ["passes", "steps"]
    assert "names with +steps" in text_of(render(*several, "")["methods"])


def test_every_method_of_the_configuration_has_words():
    schema = yaml.safe_load(Path("config/schema.yaml").read_text())["properties"]["algorithm"]["properties"]
    assert set(algorithms.ALGORITHMS) == set(schema["name"]["enum"])
    assert set(algorithms.MEANS) == set(schema["mean"]["enum"]) - {"weighted"}
    assert set(algorithms.MOMENTS) == set(schema["moments"]["enum"]) - {"fresh"}
    tuned = algorithms.described(replace(PLAIN, finetune=3, finetune_stop="validation", mean="median"), {})
    assert "the last 3 epochs are trained by each hospital by itself" in tuned
    assert tuned.endswith("the best of them by its own validation")
    private = {"dp": "sum", "epsilon": 2.996, "unit": "patient"}
    noisy = algorithms.described(replace(PLAIN, secure_aggregation=True, moments="averaged"), private)
    assert "the noise is in the sum" in noisy
    assert "epsilon at most 3 for each patient; the server learns the sum" in noisy
    assert "moments" not in noisy  # the steps are the server's
    assert "moments" in algorithms.described(replace(PLAIN, moments="averaged"), private | {"dp": "sites"})
    assert "secure aggregation" in algorithms.described(replace(PLAIN, secure_aggregation=True), {})
    assert "half precision" in algorithms.described(replace(PLAIN, precision="float16"), {})
    assert "half precision" not in algorithms.described(PLAIN, {})
    assert algorithms.scheduled({"rounds": 9, "round": 0.333333, "steps": 5}) == "9 rounds of 5 local steps"
    assert algorithms.scheduled({"rounds": 9, "round": 0.25, "steps": 0}) == "9 rounds of 0.25 local epoch"
