"""An experiment: its cohorts, models and runs, from its configuration alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations, product
from pathlib import Path
from typing import Any, get_type_hints

from fedxray.core.files import read_json
from fedxray.experiment.cohorts import Cohort, cohort_of
from fedxray.experiment.method import PLAIN, Method
from fedxray.experiment.privacy import Privacy, privacy_of
from fedxray.experiment.settings import Settings
from fedxray.experiment.sweep import (
    COHORT_AXES,
    FEDERATION_AXES,
    METHOD_AXES,
    PRIVACY_AXES,
    PRIVATE,
    Point,
    leaves,
    method_at,
    name_of,
    points,
)

# What is no part of a point as every mode has it.
NOT_IN_POINTS = (*COHORT_AXES, *FEDERATION_AXES, *METHOD_AXES, *PRIVACY_AXES, "federation.budget")
# federated: a federation's one model. central: trained on all images. alone: by each hospital by itself. personal: each
# hospital's own model of a federation. coalition: federated among some of the hospitals.
MODES = ("federated", "central", "alone", "personal", "coalition")
KINDS = get_type_hints(Settings)
POOLED = "pooled"  # the `site` of a model that is trained on all hospitals' images; and their common test set


@dataclass(frozen=True)
class Model:
    """One of the models that are compared. For each, one point is chosen by validation."""

    cohort: Cohort
    mode: str  # one of `MODES`
    method: str  # what tells it from the experiment's others of this mode: a method's slug; empty if there are none
    site: str  # `pooled`, or the site whose model it is; of a coalition its sites, joined by +

    @property
    def name(self) -> str:
        """The model's name in figures, tables and sentences."""
        return model_name(self.mode, self.method, self.site)


def model_name(mode: str, method: str, site: str) -> str:
    """The name of a model in figures, tables and sentences."""
    of_method = f" ({method})" if method else ""
    if mode == "central":
        return f"central{of_method}"
    if mode in ("alone", "coalition"):
        return f"{site} {'alone' if mode == 'alone' else 'together'}{of_method}"
    if mode == "personal":
        return f"{method or 'personal model'} of {site}"
    return method or mode


def mode_name(mode: str, method: str) -> str:
    """The name of the models of a mode and method at all hospitals."""
    if mode in ("alone", "central"):
        return ("central" if mode == "central" else "each hospital alone") + (f" ({method})" if method else "")
    return method or {"personal": "personal models"}.get(mode, mode)


@dataclass(frozen=True)
class Run:
    """One model to train: with one point and one seed."""

    model: Model
    point: dict[str, Any] = field(hash=False)  # by name, as the mode has it
    method: Method = field(hash=False)  # of a federation; else `PLAIN`
    folder: str  # of the method, with its swept numbers; empty if it is no federation's
    privacy: Privacy = field(hash=False)
    budget: str  # passes | steps
    seed: int

    @cached_property
    def job(self) -> str:
        """The folder below `runs/<mode>/` that one job of the workflow writes.

        Its name is the point, such as lr=0.003,epochs=20,round=1.0,seed=1, of a federation in a folder of its method;
        if there are several cohorts, it lies in a folder of the cohort's name. So a new value of a sweep adds runs and
        moves none.
        """
        point = ",".join(f"{name}={value}" for name, value in (*self.point.items(), ("seed", self.seed)))
        return "/".join(filter(None, [self.model.cohort.folder, self.folder, point]))

    @property
    def goes_on_from(self) -> str:
        """The folder, as `job`, of the run of this point and seed whose model it begins with; empty if none."""
        cohort = self.model.cohort
        if not cohort.before:
            return ""
        return replace(self, model=replace(self.model, cohort=replace(cohort, name=cohort.before))).job

    @property
    def trained_as(self) -> str:
        """The mode whose job trains it: personal models are trained with the federated one."""
        return "federated" if self.model.mode == "personal" else self.model.mode

    @cached_property
    def path(self) -> str:
        """The run's folder below `runs/`."""
        within = {"personal": ["personal", self.model.site]}
        within |= {mode: [self.model.site] for mode in ("alone", "coalition")}
        return "/".join([self.trained_as, self.job, *within.get(self.model.mode, [])])


@dataclass(frozen=True)
class Experiment:
    """The part of a configuration that says which runs there are."""

    config: Mapping = field(repr=False)
    has_external: bool = False  # tests, which change no run and so are not in `config`
    is_audited: bool = False  # nor does an attack on the models

    @classmethod
    def from_config(cls, config: Mapping) -> "Experiment":
        """The experiment of a whole configuration. It keeps only the parts that decide which runs there are."""
        keys = ("sites", "image_size", "split", "trouble", "model", "training", "algorithm")
        keys += ("privacy", "seeds", "sweep", "update")
        parts = {key: config[key] for key in keys}
        parts["privacy"] = {key: value for key, value in config["privacy"].items() if key != "audit"}
        federation = {key: config["federation"][key] for key in ("where", "round", "steps", "budget")}
        contributions = config["evaluation"]["contributions"]
        further = {"federation": federation, "evaluation": {"contributions": contributions}}
        return cls(parts | further, bool(config["dataset"]["external"]), config["privacy"]["audit"])

    @classmethod
    def read(cls, path: Path) -> "Experiment":
        """The experiment in the file that the rule `record_experiment` writes."""
        return cls(read_json(path))

    @cached_property
    def modes(self) -> tuple[str, ...]:
        """The modes that are trained; a remote federation has no central one, which would need all images."""
        if self.config["federation"]["where"] == "remote":
            return ("federated", "alone")
        return ("federated", "central", "alone") + ("coalition",) * any(
            coalitions(cohort.sites) for cohort in self._coalesced
        )

    @cached_property
    def points(self) -> list[Point]:
        """Every point of the sweep; of an experiment without one, a single empty one."""
        return points(self.config)

    @cached_property
    def cohorts(self) -> list[Cohort]:
        """Every cohort, each once."""
        return list(dict.fromkeys(cohort_of(point, self.config) for point in self.points))

    @cached_property
    def jobs(self) -> list[Run]:
        """Every run that is trained, of each point: federated, central, each site alone, and coalitions; each once.

        A federated run with a personal method is one of them, and trains the models of all its sites.
        """
        cohorts = {cohort: cohort for cohort in self.cohorts}
        runs = {}
        for mode, point, seed in product(self.modes, self.points, self.config["seeds"]):
            cohort = cohorts[cohort_of(point, self.config)]
            names = {"alone": cohort.sites, "coalition": coalitions(cohort.sites)}.get(mode, [POOLED])
            for site in names:
                run = self._run(mode, cohort, point, site, seed)
                runs.setdefault(run.path, run)
        return list(runs.values())

    @cached_property
    def runs(self) -> list[Run]:
        """Every run whose model is compared: `jobs`, but the sites' own models in place of a personal method's."""
        runs = []
        for run in self.jobs:
            if run.trained_as == "federated" and run.method.is_personal:
                runs += [
                    replace(run, model=replace(run.model, mode="personal", site=site))
                    for site in run.model.cohort.sites
                ]
            else:
                runs.append(run)
        return sorted(runs, key=lambda run: MODES.index(run.model.mode))

    @cached_property
    def is_swept(self) -> bool:
        """Whether any model has several points to choose from."""
        return len(self.runs) > len({run.model for run in self.runs}) * len(self.config["seeds"])

    @cached_property
    def methods(self) -> list[str]:
        """The slugs of its federated and personal methods, each once, with their budget."""
        return list(dict.fromkeys(self._slug(point) for point in self.points))

    @cached_property
    def global_methods(self) -> list[str]:
        """Of several `methods` those whose model is one for all hospitals; a single method needs no name."""
        if len(self.methods) == 1:
            return []
        found = (self._slug(point) for point in self.points if not method_at(self.config, point).is_personal)
        return list(dict.fromkeys(found))

    def settings(self, run: Run) -> Settings:
        """The training settings of a run: those of the configuration, with the values of its point and its privacy."""
        values = self._common | {name: value for name, value in run.point.items() if name in KINDS}
        values |= run.privacy.training | {"seed": run.seed}
        return Settings(**{name: KINDS[name](value) for name, value in values.items()})

    @property
    def is_updated(self) -> bool:
        """Whether strategies for a second wave of patients are compared."""
        return any(cohort.strategy for cohort in self.cohorts)

    @property
    def _coalesced(self) -> list[Cohort]:
        """The cohorts whose coalitions are trained."""
        return self.cohorts if self.config["evaluation"]["contributions"] else []

    @cached_property
    def _common(self) -> dict[str, Any]:
        """The settings that the configuration gives to every run."""
        values = {name_of(key): value for key, value in leaves({"training": self.config["training"]})}
        model = self.config["model"]
        values |= {"model": model["name"], "norms": model["norms"], "standardise": model["standardise"]}
        values |= {"image_size": self.config["image_size"]}
        return values | {"class_weights": self.config["split"]["balance"] == "weighted_loss"}

    def _run(self, mode: str, cohort: Cohort, point: Point, site: str, seed: int) -> Run:
        """The run of a point, with of the point what the mode uses."""
        budget = point.get("federation.budget", self.config["federation"]["budget"])
        method = method_at(self.config, point)
        further = {name_of(key): value for key, value in point.items() if key not in NOT_IN_POINTS}
        values = {name: further.pop(name, self.config["training"][name]) for name in ("lr", "epochs")}
        privacy = self._privacy(point)
        values["lr"], folder, name = float(privacy.training.get("lr", values["lr"])), "", ""
        if mode in ("federated", "coalition"):
            rounds = {name_of(key): point.get(key, self.config["federation"][name_of(key)]) for key in FEDERATION_AXES}
            values |= {"round": float(rounds["round"])} | ({"steps": rounds["steps"]} if self._has_steps else {})
            swept = {key.partition(".")[2] for key in point if key in METHOD_AXES}
            numbers = {name: value for name, value in method.numbers.items() if name in swept}
            folder = "+".join([method.slug, *(f"{name}={value}" for name, value in numbers.items())])
            folder += f"+{privacy.slug}" * bool(privacy.slug)
            name = self._slug(point) if len(self.methods) > 1 else ""
        else:
            method, privacy = PLAIN, privacy.by_itself
            name = privacy.spent if len(self.levels) > 1 else ""
            if mode == "alone" and budget == "steps" and len(self._budgets) > 1:
                name = budget
            if self.levels != {""}:
                values["epsilon"] = privacy.spent.removeprefix("epsilon=") or "none"
        if privacy.dp != "none":
            further |= {PRIVATE[key]: point[key] for key in PRIVATE if key in point}
        if mode == "central":
            budget = "passes"
        elif len(self._budgets) > 1:
            values["budget"] = budget
        return Run(Model(cohort, mode, name, site), values | further, method, folder, privacy, budget, seed)

    @cached_property
    def levels(self) -> set[str]:
        """The privacy of a run that is no federation's, of every point."""
        return {self._privacy(point).spent for point in self.points}

    @cached_property
    def _has_steps(self) -> bool:
        """Whether a round of any point is so many local steps."""
        return any(point.get("federation.steps", self.config["federation"]["steps"]) for point in self.points)

    @cached_property
    def _budgets(self) -> set[str]:
        """The budgets that the sweep varies."""
        return {point.get("federation.budget", self.config["federation"]["budget"]) for point in self.points}

    def _privacy(self, point: Point) -> Privacy:
        """The privacy of a point."""
        own = {name_of(key): value for key, value in point.items() if key in PRIVACY_AXES}
        return privacy_of(self.config["privacy"] | own)

    def _slug(self, point: Point) -> str:
        """What a point's federated method is called."""
        budget = point.get("federation.budget", self.config["federation"]["budget"])
        private = self._privacy(point).slug
        return method_at(self.config, point).slug + f"+{private}" * bool(private) + "+steps" * (budget == "steps")


def coalitions(sites: Sequence[str]) -> list[str]:
    """The coalitions of sites that are neither one site nor all, each joined by +; none of over four sites."""
    if len(sites) > 4:
        return []
    sizes = range(2, len(sites))
    return ["+".join(members) for size in sizes for members in combinations(sites, size)]
