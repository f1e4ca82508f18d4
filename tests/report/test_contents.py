import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from fedxray.experiment.experiment import Experiment
from fedxray.report.contents import ITEMS, PARTS, REMOTE_PARTS, TEMPLATES, VENDORED, category, figures, texts

REPOSITORY = Path(__file__).parents[2]
ALWAYS = [
    "answer",
    "learning_curves",
    "roc",
    "metrics",
    "gain",
    "differences",
    "cross_site",
    "calibration",
    "communication",
]


@pytest.fixture
def experiment():
    """The default experiment, with other values of `federation.where` and the sweep's grid."""

    def make(where="here", **grid):
        config = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
        config["federation"]["where"] = where
        config["sweep"]["grid"] = {key.replace("__", "."): values for key, values in grid.items()}
        return Experiment.from_config(config)

    return make


def test_each_item_has_a_caption_and_each_caption_an_item():
    captions = {path.stem for path in (REPOSITORY / "report").glob("*.rst")}
    assert captions - {"workflow"} == {item.name for item in ITEMS}  # workflow.rst introduces the whole report


def test_each_item_is_written_by_a_script_that_there_is():
    for item in ITEMS:
        scripts = {item.here, item.remote} - {""}
        assert scripts, item.name
        assert all((REPOSITORY / "scripts" / f"{script}.py").exists() for script in scripts), item.name


def test_names_are_unique():
    assert len({item.name for item in ITEMS}) == len(ITEMS)


def test_an_experiment_has_the_figures_of_where_it_runs_and_what_it_sweeps(experiment):
    assert figures(experiment()) == [*ALWAYS, "mistakes", "sites", "gallery"]
    assert figures(experiment(), "plot_results") == ALWAYS
    assert figures(experiment(), "plot_data") == ["sites", "gallery"]
    assert figures(experiment(training__lr=[0.1, 0.2]), "plot_results") == [*ALWAYS, "sweep"]
    assert figures(experiment(sites=[2, 3]), "plot_results") == [*ALWAYS, "cohorts"]
    both = experiment(sites=[2, 3], training__lr=[0.1, 0.2])
    assert figures(both, "plot_results") == [*ALWAYS, "sweep", "cohorts"]
    assert figures(experiment("remote")) == ["learning_curves", "cross_site", "communication"]
    assert figures(experiment("remote", training__lr=[0.1, 0.2]), "plot_remote")[-1] == "sweep"
    assert figures(experiment("remote"), "plot_results") == []
    assert figures(replace(experiment(), is_audited=True), "audit_model") == ["inversion"]
    assert "utility" in figures(experiment(privacy__dp=["none", "sites"]), "plot_results")


def test_the_page_is_the_first_entry_and_each_part_of_it_has_a_template():
    assert ITEMS[0].name == "the_page"
    assert [category(name) for name in ("the_page", "sites", "points")] == ["1. The answer", "3. Data", "4. Tables"]
    assert [item.name for item in ITEMS if item.category == "1. The answer"] == ["the_page"]
    names = {path.stem for path in TEMPLATES.glob("*.html")}
    assert names - {"index", "part", "table", "figure", "explore"} == set(PARTS)
    assert set(REMOTE_PARTS) < set(PARTS)


def test_the_page_is_written_again_if_one_of_its_texts_changes():
    captions = (REPOSITORY / "report").glob("*.rst")
    assert set(texts()) == {*TEMPLATES.iterdir(), *VENDORED.iterdir(), *captions, REPOSITORY / "config" / "config.yaml"}


def test_the_list_is_read_without_what_is_heavy():
    heavy = ["torch", "pandas", "matplotlib", "jinja2", "scipy", "nvflare"]
    code = f"import sys; import fedxray.report.contents; sys.exit(any(name in sys.modules for name in {heavy}))"
    subprocess.run([sys.executable, "-c", code], check=True)
