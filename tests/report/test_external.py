"""Figures and pages of an experiment with external tests, and that no other figure or page knows of them."""

import html
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from helpers.analysis import DRAW, SITES, chosen_models

from fedxray.analysis.comparison import compare, summarise
from fedxray.analysis.contrasts import contrast
from fedxray.core.files import read_table, write_array, write_table
from fedxray.data.site import SiteFolder, make_site
from fedxray.experiment.cohorts import Cohort
from fedxray.experiment.experiment import Experiment
from fedxray.experiment.folder import Folder
from fedxray.report.contents import figures
from fedxray.report.figures import results as of_results
from fedxray.report.pages import Results, render

ROOT = Path(__file__).parents[2]
COHORT = Cohort("", SITES, {})
NAMES = ["nih", "other-1"]


@pytest.fixture(scope="module")
def tested(results, config, tmp_path_factory):
    """(configuration, folder) of the same experiment with two external tests of 60 images of 20 patients."""
    root = tmp_path_factory.mktemp("tested") / "made-up"
    folder = linked(results, root)
    chosen, predictions = chosen_models(NAMES)
    chosen, predictions = (table.assign(path="run-" + table["path"]) for table in (chosen, predictions))
    tables = {
        folder.predictions: predictions,
        folder.comparison: compare(chosen, predictions, *DRAW, NAMES),
        folder.summary: summarise(chosen, predictions, *DRAW, NAMES),
        folder.differences: contrast(chosen, predictions, *DRAW, 0.02, "central", NAMES),
    }
    for path, table in tables.items():
        path.unlink()
        write_table(path, table)
    for name in NAMES:
        at, rows = folder.external(name), predictions[(predictions["path"] == "run-0") & (predictions["set"] == name)]
        write_table(
            at.split, rows[["image", "label", "aetiology", "patient"]].assign(split="test", site=name, hospital=name)
        )
        write_array(at.pixels, np.zeros((len(rows), 16, 16), np.uint8))
        make_site(at.split, [at.pixels], name, at.site, {"synthetic": False, "patients_known": name == "nih"})
        at.summary.write_bytes((results.root / "data" / "catalogue.json").read_bytes())
    images = {"folder": {"folder": str(root)}}
    external = [{"nih": {"archive": str(root)}}, images | {"site": "other-1"}]
    return config | {"dataset": config["dataset"] | {"external": external}}, folder


@pytest.fixture
def summary(tested):
    yield read_table(tested[1].summary)
    plt.close("all")


def text_of(page):
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


def test_there_is_a_figure_where_there_is_an_external_test(tested, config):
    with_external, without = (figures(Experiment.from_config(values), "plot_results") for values in (tested[0], config))
    assert [name for name in with_external if name != "external"] == without
    assert "external" in with_external


def test_the_figure_has_a_line_for_each_model_on_each_test_set(summary):
    figure = of_results.external(summary, NAMES)
    models = ["federated", "central", "us alone", "asia alone"]
    left = figure.axes[0]
    assert [label.get_text() for label in left.get_yticklabels()] == [
        *("pooled test set", *models),
        *("nih (external)", *models),
        *("other-1 (external)", *models),
    ]
    assert [axis.get_title() for axis in figure.axes] == [
        "AUROC",
        "sensitivity, at validation's threshold",
        "specificity, at validation's threshold",
    ]
    assert [len(axis.lines) for axis in figure.axes] == [2 * 4 * 3] * 3  # an interval and its middle
    rows = summary.set_index(["mode", "site", "test_set", "metric"])
    row = rows.loc[("central", "pooled", "other-1", "sensitivity")]
    at = [label.get_text() for label in left.get_yticklabels()].index("other-1 (external)") + 2
    interval, middle = (line for line in figure.axes[1].lines if line.get_ydata()[0] == at)
    assert list(interval.get_xdata()) == [row["low"], row["high"]]
    assert middle.get_xdata()[0] == row["estimate"]


def test_the_figure_has_a_row_of_panels_for_each_cohort(summary):
    both = pd.concat([summary.assign(cohort=name) for name in ("partition=iid", "partition=dirichlet,alpha=0.1")])
    figure = of_results.external(both, NAMES)
    assert [axis.get_ylabel() for axis in figure.axes[::3]] == ["partition=iid", "partition=dirichlet, alpha=0.1"]


def test_the_conclusions_have_the_external_tests_in_a_section_of_their_own(tested, results, config):
    told, before = Results(*tested).conclusions(), Results(config, results).conclusions()
    for name in ("primary", "secondary", "pooled", "fairness", "chosen"):
        assert told[name] == before[name], name
    assert len(told["outside"]) == 6
    assert all("(external, no hospital trained on it)" in line for line in told["outside"])
    assert told["outside_sets"] == [
        {"test": "nih", "source": "NIH ChestX-ray14, radiographs of mostly adults"} | told["outside_sets"][0],
        {"test": "other-1"} | told["outside_sets"][1],
    ]
    assert [(row["images"], row["patients"], row["prevalence"]) for row in told["outside_sets"]] == [
        (60, 20, 0.5),
        (60, "unknown: each image counts as one", 0.5),
    ]
    assert [(row["test"], row["model"]) for row in told["outside_table"]][:5] == [
        *(("nih", name) for name in ("federated", "central", "us alone", "asia alone")),
        ("other-1", "federated"),
    ]
    page = text_of(render(*tested, "")["conclusions"])
    assert "External tests No hospital trained on these images." in page
    assert "On nih (external, no hospital trained on it) the AUROC of federated is" in page


def test_the_model_card_has_the_external_tests_apart_from_the_hospitals(tested, results, config):
    told, before = Results(*tested).model_card(), Results(config, results).model_card()
    assert told["by_site"] == before["by_site"]
    assert told["by_aetiology"] == before["by_aetiology"]
    assert [(row["test set"], row["images"], row["patients"]) for row in told["by_external"]] == [
        ("nih", 60, 20),
        ("other-1", 60, 20),
    ]
    comparison = read_table(tested[1].comparison)
    auroc = comparison["auroc"][(comparison["seed"] == 1) & (comparison["test_set"] == "nih")].iloc[0]  # federated
    assert told["by_external"][0]["AUROC"].startswith(f"{auroc:.3f}\u00a0[")


def test_pages_without_external_tests_do_not_speak_of_them(results, config):
    for name, page in render(config, results, "").items():
        assert "xternal test" not in page, name


def test_every_other_figure_is_the_same_bytes(tested, results, tmp_path):
    names = ["roc", "differences", "cross_site"]
    draw = ["--replicates", "20", "--confidence", "0.95", "--seed", "1", "--margin", "0.02"]
    drawn = []
    for folder, more, external in ((results, [], []), (tested[1], ["external"], ["--external", *NAMES])):
        at = linked(folder, tmp_path / str(len(drawn)))
        run("plot_results", "--figures", *names, *more, "--results", at.root, *draw, *external)
        drawn.append({path.name: path.read_bytes() for path in at.figures.glob("*.svg")})
    before, after = drawn
    assert set(after) - set(before) == {"external.svg"}
    assert [name for name in before if before[name] != after[name]] == []
    assert [b"patients unknown" in after[name] for name in ("external.svg", "roc.svg")] == [True, False]


def test_no_mistake_is_shown_of_an_external_test(results, tmp_path):
    """The script would not find its image, and would end, though these are the most confident mistakes of all."""
    at = linked(results, tmp_path / "made-up")
    at.predictions.unlink()
    images = [read_table(SiteFolder(results.site(COHORT, site)).table).assign(set=site) for site in SITES]
    tests = pd.concat(images).query("split == 'test'").assign(path="run-0")
    tests["probability"] = np.linspace(0.2, 0.8, len(tests))
    outside = tests[:4].assign(set="nih", image="elsewhere", probability=1 - tests["label"][:4])
    write_table(at.predictions, pd.concat([outside, tests]))
    run("plot_mistakes", "--results", at.root)
    assert (at.figures / "mistakes.svg").exists()


def linked(folder, root):
    """Another folder of the same results, whose figures and tables may be replaced."""
    root.mkdir()
    for path in folder.root.iterdir():
        (root / path.name).symlink_to(path)
    return Folder(root)


def run(script, *words):
    command = [sys.executable, ROOT / "scripts" / f"{script}.py", *words]
    subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
