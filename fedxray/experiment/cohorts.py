"""The cohorts of an experiment: which hospitals there are, and how patients come to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fedxray.experiment.sweep import COHORT_AXES, KNOBS, TROUBLES, Point, name_of


@dataclass(frozen=True)
class Cohort:
    """Which patients are in which split and at which site. Cohorts of the same name are equal."""

    name: str  # its swept axes, such as partition=dirichlet,alpha=0.1; empty if the sweep varies no cohort
    sites: tuple[str, ...] = field(compare=False)
    split: Mapping[str, Any] = field(compare=False)  # the settings by which it is drawn, as in config.yaml
    # What is made wrong on purpose: `kind`, `site`, and `share` if the kind has one; empty if nothing is.
    trouble: Mapping[str, Any] = field(compare=False, default_factory=dict)

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
    name = ",".join(f"{name_of(key)}={point[key]}" for key in used)
    return Cohort(name, tuple(sites), split, {"kind": kind} | knobs if knobs else {})
