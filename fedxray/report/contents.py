"""What the report has: the one list of its figures, pages and tables, which rules, scripts and captions read.

Each item has a caption in report/<name>.rst. Imports nothing heavy, because the Snakefile imports it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedxray.experiment.experiment import Experiment

TEMPLATES = Path(__file__).parent / "templates"  # of the pages
VENDORED = Path(__file__).parent / "vendored"  # code of others that the page carries
CAPTIONS = Path(__file__).parents[2] / "report"  # of what Snakemake's report shows
DEFAULTS = Path(__file__).parents[2] / "config" / "config.yaml"
ANSWER, RESULTS, DATA, TABLES = "1. The answer", "2. Results", "3. Data", "4. Tables"
# The folded parts of the page, each a template; and those of a remote federation, whose data stay at the hospitals.
PARTS = ("conclusions", "methods", "datasheet", "model_card", "privacy", "configuration", "environment")
REMOTE_PARTS = ("privacy", "configuration", "environment")


@dataclass(frozen=True)
class Item:
    """A figure, page or table of the report."""

    name: str
    kind: str  # figure | page | table
    category: str  # of Snakemake's report
    here: str = ""  # the script that writes it where the federation is here; empty: none does
    remote: str = ""  # the same where the federation is remote
    # always | swept: models have several points | cohorts, methods: there are several | external: tests | contributions
    # updates: strategies for a second wave of patients are compared
    # privacy: levels of differential privacy are compared | audit: privacy.audit is true
    when: str = "always"


ITEMS = (
    Item("the_page", "page", ANSWER, "render_pages", "render_pages"),
    Item("answer", "figure", RESULTS, "plot_results"),
    Item("method_gain", "figure", RESULTS, "plot_results", when="methods"),
    Item("updates", "figure", RESULTS, "plot_results", when="updates"),
    Item("contributions", "figure", RESULTS, "plot_results", when="contributions"),
    Item("learning_curves", "figure", RESULTS, "plot_results", "plot_remote"),
    Item("roc", "figure", RESULTS, "plot_results"),
    Item("metrics", "figure", RESULTS, "plot_results"),
    Item("gain", "figure", RESULTS, "plot_results"),
    Item("differences", "figure", RESULTS, "plot_results"),
    Item("external", "figure", RESULTS, "plot_results", when="external"),
    Item("cross_site", "figure", RESULTS, "plot_results", "plot_remote"),
    Item("calibration", "figure", RESULTS, "plot_results"),
    Item("communication", "figure", RESULTS, "plot_results", "plot_remote"),
    Item("sweep", "figure", RESULTS, "plot_results", "plot_remote", "swept"),
    Item("cohorts", "figure", RESULTS, "plot_results", when="cohorts"),
    Item("mistakes", "figure", RESULTS, "plot_mistakes"),
    Item("utility", "figure", RESULTS, "plot_results", when="privacy"),
    Item("inversion", "figure", RESULTS, "audit_model", when="audit"),
    Item("sites", "figure", DATA, "plot_data"),
    Item("gallery", "figure", DATA, "plot_data"),
    Item("account", "table", DATA, "catalogue_images"),
    Item("points", "table", TABLES, "choose_points", "choose_points"),
    Item("confirmed", "table", TABLES, "confirm_federated"),  # where federation.engine is inprocess
    Item("comparison", "table", TABLES, "compare_runs"),
    Item("differences_table", "table", TABLES, "contrast_models"),
    Item("methods_table", "table", TABLES, "contrast_models"),
    Item("contributions_table", "table", TABLES, "measure_contributions"),  # where evaluation.contributions is true
    Item("updates_table", "table", TABLES, "compare_updates"),  # where update.strategy is swept
    Item("own_thresholds", "table", TABLES, "adapt_thresholds"),
    Item("audit", "table", TABLES, "audit_model"),  # where privacy.audit is true
    Item("gate", "table", TABLES, "judge_model", "judge_remote"),  # where promotion.predecessor names a model
    Item("at_sites", "table", TABLES, remote="evaluate_remote"),
)


def figures(experiment: "Experiment", script: str = "") -> list[str]:
    """The names of the figures of an experiment, or of those that one script draws."""
    there_is = {"always": True, "swept": experiment.is_swept, "cohorts": len(experiment.cohorts) > 1}
    there_is |= {"external": experiment.has_external, "methods": len(experiment.methods) > 1}
    there_is |= {"audit": experiment.is_audited, "privacy": len(experiment.levels) > 1}
    there_is["updates"] = experiment.is_updated
    there_is["contributions"] = "coalition" in experiment.modes
    where = experiment.config["federation"]["where"]
    drawn = {item.name: getattr(item, where) for item in _items("figure") if there_is[item.when]}
    return [name for name, by in drawn.items() if by and script in ("", by)]


def category(name: str) -> str:
    """Where Snakemake's report shows an item."""
    return next(item.category for item in ITEMS if item.name == name)


def texts() -> list[Path]:
    """The files that the page is made from: its templates, code of others, captions, and the default configuration."""
    return [DEFAULTS, *sorted([*TEMPLATES.iterdir(), *VENDORED.iterdir(), *CAPTIONS.glob("*.rst")])]


def _items(kind: str) -> Iterable[Item]:
    return (item for item in ITEMS if item.kind == kind)
