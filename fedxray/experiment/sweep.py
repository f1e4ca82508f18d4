"""The sweep: which points an experiment has, and which runs, from its configuration alone.

A point is one value for each axis: a setting of training, federation or model, or of the cohort (who is at which site).
Its name in paths says what it is: `lr=0.003,rounds=20,local_epochs=1,seed=1`; the axes of a cohort come before it, as a
folder, and only if they are swept, because other points share its data.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from fedxray.core.errors import UserError

MODES = ("federated", "central", "alone")
# The parameter that each way of bringing patients to sites has, and no other uses.
KNOBS = {"dirichlet": "split.alpha", "quantity": "split.power", "aetiology": "split.viral_share"}
COHORT_AXES = ("sites", "split.partition", *KNOBS.values())
FEDERATION_AXES = ("federation.rounds", "federation.local_epochs")
FIXED = tuple(f"training.{key}" for key in ("device", "mixed_precision", "compile", "threads"))  # how, not what


@dataclass(frozen=True)
class Run:
    """One model to train: `path` is its folder below `runs/`, `values` its point by name, without the seed."""

    mode: str
    cohort: str  # the folder of its cohort below `cohort/` and `sites/`, with a slash at its end, or ""
    site: str  # `pooled`, or the site trained alone
    values: dict
    seed: int
    path: str

    @property
    def folder(self) -> str:
        """The folder of its point: `path`, or what the hospitals trained alone share of it."""
        return self.path.removesuffix(f"/{self.site}")


def name_of(axis: str) -> str:
    """The name of an axis in paths and tables: the last part of its key (of `model.name`, `model`)."""
    return axis.removesuffix(".name").rpartition(".")[2]


def axes(config: dict) -> list[str]:
    """The keys that the sweep varies, in the order of the configuration."""
    sweep = config["sweep"]
    keys = dict.fromkeys([*sweep["grid"], *(key for point in sweep["points"] for key in point)])
    return [key for key in _sweepable(config) if key in keys]


def points(config: dict) -> list[dict]:
    """Every point as {axis: value}, each once, in order: the grid crossed, then the further points, less exclusions.

    Raises UserError for a key that cannot be swept, and for a sweep that leaves no point.
    """
    sweep, possible = config["sweep"], _sweepable(config)
    for part, entries in (("grid", [sweep["grid"]]), ("points", sweep["points"]), ("exclude", sweep["exclude"])):
        for key in (key for entry in entries for key in entry if key not in possible):
            raise UserError(f"config: sweep.{part}: {key} cannot be swept; these can: {', '.join(possible)}")
    base = {key: possible[key] for key in axes(config)}
    crossed = [dict(zip(sweep["grid"], values, strict=True)) for values in product(*sweep["grid"].values())]
    listed = (crossed if sweep["grid"] or not sweep["points"] else []) + sweep["points"]
    typed = [{key: _typed(value, base[key]) for key, value in {**base, **point}.items()} for point in listed]
    kept = [point for point in typed if not any(_matches(point, rule, base) for rule in sweep["exclude"])]
    unique = list({tuple(point.items()): point for point in kept}.values())
    if not unique:
        raise UserError("config: sweep.exclude leaves no point; remove one of its entries")
    return unique


def modes(config: dict) -> tuple[str, ...]:
    """The modes of training: a federation of other machines has no central one, which would need all their images."""
    return MODES if config["federation"]["where"] == "here" else ("federated", "alone")


def runs(config: dict) -> list[Run]:
    """Every run of every point: federated, central, and each site alone, for each seed; each path once."""
    found = {}
    for mode, point, seed in product(modes(config), points(config), config["seeds"]):
        cohort, values = cohort_of(point), _values(mode, point, config)
        name = ",".join(f"{key}={value}" for key, value in (values | {"seed": seed}).items())
        sites = sites_of(cohort, config) if mode == "alone" else ["pooled"]
        for site in sites:
            path = f"{mode}/{cohort}{name}" + (f"/{site}" if mode == "alone" else "")
            found[path] = Run(mode, cohort, site, values, seed, path)
    return list(found.values())


def cohort_of(point: dict) -> str:
    """The folder of a point's cohort: its swept axes, less those that its partition does not use; "" if none."""
    used = [key for key in COHORT_AXES if key in point]
    if "split.partition" in point:
        used = [key for key in used if key not in KNOBS.values() or key == KNOBS.get(point["split.partition"])]
    return ",".join(f"{name_of(key)}={point[key]}" for key in used) + ("/" if used else "")


def cohorts(config: dict) -> list[str]:
    """The folder of every cohort, each once."""
    return list(dict.fromkeys(cohort_of(point) for point in points(config)))


def cohort_settings(cohort: str, config: dict) -> dict:
    """The split's settings of the cohort in this folder: those of the configuration, with what the folder names."""
    named = dict(part.split("=", 1) for part in cohort.rstrip("/").split(",") if part)
    split = config["split"]
    return split | {key: _typed(value, split[key]) for key, value in named.items() if key in split}


def sites_of(cohort: str, config: dict) -> list[str]:
    """The sites of the cohort in this folder: the first N of the configuration's if the sweep has `sites: [N, ...]`."""
    named = dict(part.split("=", 1) for part in cohort.rstrip("/").split(",") if part)
    return config["sites"][: int(named.get("sites", len(config["sites"])))]


def space(mode: str, runs: Iterable[Run]) -> list[dict]:
    """The points of `mode`, with their seeds and without their cohorts, each once: the rows of a Paramspace."""
    rows = [run.values | {"seed": run.seed} for run in runs if run.mode == mode]
    return list({tuple(row.items()): row for row in rows}.values())


def settings(point: dict, config: dict) -> dict:
    """The fields of `fedxray.experiment.settings.Settings` of a row of `space`: the configuration's, with what the point says."""
    fields = {name_of(key): value for key, value in _leaves({"training": config["training"]})}
    fields |= {"model": config["model"]["name"], "image_size": config["image_size"]}
    fields |= {"class_weights": config["split"]["balance"] == "weighted_loss"}
    budget = point.get("epochs") or point["rounds"] * point["local_epochs"]
    return (
        fields
        | {key: value for key, value in point.items() if key not in map(name_of, FEDERATION_AXES)}
        | {"epochs": budget}
    )


def _values(mode: str, point: dict, config: dict) -> dict:
    """The point by name as `mode` knows it: a federation has rounds of local epochs, the others as many epochs."""
    federation = {name_of(key): point.get(key, config["federation"][name_of(key)]) for key in FEDERATION_AXES}
    budget = federation if mode == "federated" else {"epochs": federation["rounds"] * federation["local_epochs"]}
    own = {key: value for key, value in point.items() if key not in (*COHORT_AXES, *FEDERATION_AXES, "training.lr")}
    lr = float(point.get("training.lr", config["training"]["lr"]))
    return {"lr": lr} | budget | {name_of(key): value for key, value in own.items()}


def _sweepable(config: dict) -> dict:
    """Every key that can be swept, with its value in the configuration."""
    found = {"sites": len(config["sites"]), "model.name": config["model"]["name"]}
    found |= {f"split.{name_of(key)}": config["split"][name_of(key)] for key in COHORT_AXES[1:]}
    found |= {key: value for key, value in _leaves({"training": config["training"]}) if key not in FIXED}
    return found | {key: config["federation"][name_of(key)] for key in FEDERATION_AXES}


def _leaves(tree: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _typed(value, base):
    """A whole number where the configuration has a fraction is that fraction, so that a point has one name."""
    return float(value) if isinstance(base, float) else value


def _matches(point: dict, rule: dict, base: dict) -> bool:
    return all(key in point and point[key] == _typed(value, base[key]) for key, value in rule.items())
