"""The cohorts of an experiment: which hospitals there are, and how patients come to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedxray.experiment.sweep import COHORT_AXES, GOING_ON, KNOBS, STRATEGIES, TROUBLES, Point, name_of


@dataclass(frozen=True)
class Cohort:
    """Which patients are in which split and at which site. Cohorts of the same name are equal."""

    name: str  # its swept axes, such as partition=dirichlet,alpha=0.1; empty if the sweep varies no cohort
    sites: tuple[str, ...] = field(compare=False)
    split: Mapping[str, Any] = field(compare=False)  # the settings by which it is drawn, as in config.yaml
    # What is made wrong on purpose: `kind`, `site`, and `share` if the kind has one; empty if nothing is.
    trouble: Mapping[str, Any] = field(compare=False, default_factory=dict)
    strategy: str = field(compare=False, default="")  # what is done about a second wave of patients; empty: nothing
    kept: str = field(compare=False, default="")  # of a strategy: the name of the cohort that keeps the old models

    @property
    def before(self) -> str:
        """The name of the cohort from whose models its own go on; empty if they begin anew."""
        return self.kept if self.strategy in GOING_ON else ""

    @property
    def waves(self) -> tuple[int, ...]:
        """The waves of its training patients; empty: all."""
        return STRATEGIES.get(self.strategy, ())

    @property
    def folder(self) -> str:
        """The name of its folders: without commas, at which Snakemake splits what it hands to a cluster's node."""
        return self.name.replace(",", "+")


def cohort_of(point: Point, config: Mapping) -> Cohort:
    """The cohort of a point: its swept axes, without those that its partition or kind of trouble does not use.

    If `sites` is swept, its value N means the first N of the configuration's.
    """
    kind = str(point.get("trouble.kind", config["trouble"]["kind"]))
    unused = {"trouble.site", "trouble.share"} - {*TROUBLES[kind]}
    if "split.partition" in point:
        unused |= {*KNOBS.values()} - {KNOBS.get(str(point["split.partition"]))}
    used = [key for key in COHORT_AXES if key in point and key not in unused]
    split = config["split"] | {name_of(key): point[key] for key in used if key.startswith("split.")}
    sites = config["sites"][: point.get("sites", len(config["sites"]))]
    knobs = {name_of(key): point.get(key, config["trouble"][name_of(key)]) for key in TROUBLES[kind]}
    trouble, strategy = {"kind": kind} | knobs if knobs else {}, point.get("update.strategy", "")
    kept = _name(used, point | {"update.strategy": "keep"}) if strategy else ""
    return Cohort(_name(used, point), tuple(sites), split, trouble, strategy, kept)


def _name(used: Sequence[str], point: Point) -> str:
    """The name of the cohort of a point, which has these axes."""
    return ",".join(f"{name_of(key)}={point[key]}" for key in used)
