"""An experiment: its cohorts, models and runs, from its configuration alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, get_type_hints

from fedxray.core.files import read_json
from fedxray.experiment.cohorts import Cohort, cohort_of
from fedxray.experiment.settings import Settings
from fedxray.experiment.sweep import COHORT_AXES, FEDERATION_AXES, Point, leaves, name_of, points

MODES = ("federated", "central", "alone")
KINDS = get_type_hints(Settings)
POOLED = "pooled"  # the `site` of a model that is trained on all hospitals' images; and their common test set


@dataclass(frozen=True)
class Model:
    """One of the models that are compared. For each, one point is chosen by the validation set."""

    cohort: Cohort
    mode: str  # federated | central | alone
    site: str  # `pooled`, or the site that is trained alone

    @property
    def name(self) -> str:
        """The model's name in figures, tables and sentences."""
        return model_name(self.mode, self.site)


def model_name(mode: str, site: str) -> str:
    """The name of a model of this mode and site in figures, tables and sentences."""
    return f"{site} alone" if mode == "alone" else mode


@dataclass(frozen=True)
class Run:
    """One model to train: with one point and one seed."""

    model: Model
    point: dict[str, Any] = field(hash=False)  # by name, as the mode has it: a federation has rounds, the others epochs
    seed: int

    @cached_property
    def job(self) -> str:
        """The folder below `runs/<mode>/` that one job of the workflow writes: a run's, or that of all hospitals alone.

        Its name is the point, such as lr=0.003,rounds=20,local_epochs=1,seed=1; if there are several cohorts, it lies
        in a folder of the cohort's name. So a new value of a sweep adds runs and moves none.
        """
        point = ",".join(f"{name}={value}" for name, value in (*self.point.items(), ("seed", self.seed)))
        return "/".join(filter(None, [self.model.cohort.folder, point]))

    @cached_property
    def path(self) -> str:
        """The run's folder below `runs/`."""
        site = [self.model.site] if self.model.mode == "alone" else []
        return "/".join([self.model.mode, self.job, *site])


@dataclass(frozen=True)
class Experiment:
    """The part of a configuration that says which runs there are."""

    config: Mapping = field(repr=False)
    has_external: bool = False  # tests, which change no run and so are not in `config`

    @classmethod
    def from_config(cls, config: Mapping) -> "Experiment":
        """The experiment of a whole configuration. It keeps only the parts that decide which runs there are."""
        parts = {key: config[key] for key in ("sites", "image_size", "split", "model", "training", "seeds", "sweep")}
        federation = {key: config["federation"][key] for key in ("where", "rounds", "local_epochs")}
        return cls(parts | {"federation": federation}, bool(config["dataset"]["external"]))

    @classmethod
    def read(cls, path: Path) -> "Experiment":
        """The experiment in the file that the rule `record_experiment` writes."""
        return cls(read_json(path))

    @cached_property
    def modes(self) -> tuple[str, ...]:
        """The modes of training; a federation of other machines has no central one, which would need all images."""
        return MODES if self.config["federation"]["where"] == "here" else ("federated", "alone")

    @cached_property
    def points(self) -> list[Point]:
        """Every point of the sweep; of an experiment without one, a single empty one."""
        return points(self.config)

    @cached_property
    def cohorts(self) -> list[Cohort]:
        """Every cohort, each once."""
        return list(dict.fromkeys(cohort_of(point, self.config) for point in self.points))

    @cached_property
    def runs(self) -> list[Run]:
        """Every run of every point: federated, central, and each site alone, for each seed; each path once."""
        cohorts = {cohort: cohort for cohort in self.cohorts}
        runs = {}
        for mode, point, seed in product(self.modes, self.points, self.config["seeds"]):
            cohort, run_point = cohorts[cohort_of(point, self.config)], self._point(mode, point)
            for site in cohort.sites if mode == "alone" else [POOLED]:
                run = Run(Model(cohort, mode, site), run_point, seed)
                runs.setdefault(run.path, run)
        return list(runs.values())

    @cached_property
    def is_swept(self) -> bool:
        """Whether any model has several points to choose from."""
        return len({(run.model.mode, run.job) for run in self.runs}) > (
            len(self.cohorts) * len(self.config["seeds"]) * len(self.modes)
        )

    def settings(self, run: Run) -> Settings:
        """The training settings of a run: those of the configuration, with the values of its point."""
        values = self._common | run.point | {"seed": run.seed}
        if run.model.mode == "federated":
            values["epochs"] = values.pop("rounds") * values.pop("local_epochs")
        return Settings(**{name: KINDS[name](value) for name, value in values.items()})

    @cached_property
    def _common(self) -> dict[str, Any]:
        """The settings that the configuration gives to every run."""
        values = {name_of(key): value for key, value in leaves({"training": self.config["training"]})}
        values |= {"model": self.config["model"]["name"], "image_size": self.config["image_size"]}
        return values | {"class_weights": self.config["split"]["balance"] == "weighted_loss"}

    def _point(self, mode: str, point: Point) -> dict[str, Any]:
        """A point by name as `mode` has it: a federation has rounds of local epochs, the others as many epochs."""
        federation = {name_of(key): point.get(key, self.config["federation"][name_of(key)]) for key in FEDERATION_AXES}
        budget = {"epochs": federation["rounds"] * federation["local_epochs"]}
        further = {key: value for key, value in point.items() if key not in (*COHORT_AXES, *FEDERATION_AXES)}
        lr = float(further.pop("training.lr", self.config["training"]["lr"]))
        named = {name_of(key): value for key, value in further.items()}
        return {"lr": lr} | (federation if mode == "federated" else budget) | named
