"""The cohorts of an experiment: which hospitals there are, and how patients come to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fedxray.experiment.sweep import COHORT_AXES, KNOBS, Point, name_of


@dataclass(frozen=True)
class Cohort:
    """Which patients are in which split and at which site. Cohorts of the same name are equal."""

    name: str  # its swept axes, such as partition=dirichlet,alpha=0.1; empty if the sweep varies no cohort
    sites: tuple[str, ...] = field(compare=False)
    split: Mapping[str, Any] = field(compare=False)  # the settings by which it is drawn, as in config.yaml

    @property
    def folder(self) -> str:
        """The name of its folders: without commas, at which Snakemake splits what it hands to a cluster's node."""
        return self.name.replace(",", "+")


def cohort_of(point: Point, config: Mapping) -> Cohort:
    """The cohort of a point: its swept axes, without those that its partition does not use.

    If `sites` is swept, its value N means the first N of the configuration's.
    """
    used = [key for key in COHORT_AXES if key in point]
    if "split.partition" in point:
        used = [key for key in used if key not in KNOBS.values() or key == KNOBS.get(str(point["split.partition"]))]
    split = config["split"] | {name_of(key): point[key] for key in used if key != "sites"}
    sites = config["sites"][: point.get("sites", len(config["sites"]))]
    return Cohort(",".join(f"{name_of(key)}={point[key]}" for key in used), tuple(sites), split)
