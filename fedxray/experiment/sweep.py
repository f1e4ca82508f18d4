"""The points of a sweep, from the configuration alone.

A point is one value for each axis: a setting of training, federation or model, or of the cohort (who is at which site).
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from fedxray.core.errors import UserError
from fedxray.experiment.method import KEYS as METHOD_KEYS
from fedxray.experiment.method import Method, method_of

# The parameter of each way of bringing patients to sites; no other way uses it.
KNOBS = {"dirichlet": "split.alpha", "quantity": "split.power", "aetiology": "split.viral_share"}
# What each kind of trouble on purpose uses of the section `trouble`.
TROUBLES = {
    "none": (),
    "labels": ("trouble.site", "trouble.share"),
    "inverted": ("trouble.site",),
    "clipped": ("trouble.site", "trouble.share"),
    "noise": ("trouble.site",),
}
# What becomes of a model when a second wave of patients has come: the waves whose patients it is trained on then.
# all and new go on from the model that keep has (GOING_ON).
STRATEGIES = {"keep": (1,), "all": (1, 2), "new": (2,), "anew": (1, 2)}
GOING_ON = ("all", "new")
COHORT_AXES = ("sites", "split.partition", *KNOBS.values(), "trouble.kind", "trouble.site", "trouble.share")
COHORT_AXES += ("update.strategy",)
FEDERATION_AXES = ("federation.round", "federation.steps")  # of federated runs alone
METHOD_AXES = tuple(f"algorithm.{name}" for name in METHOD_KEYS)  # the same
# What the numbers of private training are called in a run's name, beside `lr`; `steps` are local ones of a round.
PRIVATE = {"privacy.clip": "clip", "privacy.patients_per_step": "patients_per_step", "privacy.steps": "private_steps"}
PRIVACY_AXES = ("privacy.dp", "privacy.epsilon", "privacy.lr", *PRIVATE)
# How a run computes, not what.
FIXED = tuple(f"training.{key}" for key in ("device", "mixed_precision", "compile", "threads"))

Point = dict[str, Any]  # {axis: value}


def name_of(axis: str) -> str:
    """The name of an axis in paths and tables: the last part of its key (of `model.name`, `model`; so with `kind`)."""
    return axis.removesuffix(".name").removesuffix(".kind").rpartition(".")[2]


def axes(config: Mapping) -> list[str]:
    """The keys that the sweep varies, in the order of the configuration."""
    sweep = config["sweep"]
    keys = dict.fromkeys([*sweep["grid"], *(key for point in sweep["points"] for key in point)])
    return [key for key in _sweepable(config) if key in keys]


def points(config: Mapping) -> list[Point]:
    """Every point, each once, in order: the grid crossed, then the further points, without the excluded ones.

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
    included = [point for point in typed if not any(_matches(point, rule, base) for rule in sweep["exclude"])]
    unique = list({tuple(point.items()): point for point in included}.values())
    if not unique:
        raise UserError("config: sweep.exclude leaves no point; remove one of its entries")
    return unique


def method_at(config: Mapping, point: Point) -> Method:
    """The method of a point."""
    own = {key.partition(".")[2]: point[key] for key in METHOD_AXES if key in point}
    return method_of(config["algorithm"] | own, config["privacy"])


def leaves(tree: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """(dotted key, value) of every value of a tree of mappings."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _sweepable(config: Mapping) -> Point:
    """Every key that can be swept, with its value in the configuration."""
    values = {"sites": len(config["sites"]), "model.name": config["model"]["name"]}
    for section, _, key in (axis.partition(".") for axis in COHORT_AXES[1:]):
        values[f"{section}.{key}"] = config[section][key]
    values |= {key: value for key, value in leaves({"training": config["training"]}) if key not in FIXED}
    values |= {key: config["federation"][name_of(key)] for key in (*FEDERATION_AXES, "federation.budget")}
    values |= {key: value for key, value in leaves({"algorithm": config["algorithm"]})}
    return values | {key: config["privacy"][name_of(key)] for key in PRIVACY_AXES}


def _typed(value, base):
    """`value` as a float if the configuration has a float, so that 1 and 1.0 give one point of one name."""
    return float(value) if isinstance(base, float) else value


def _matches(point: Point, rule: Mapping, base: Point) -> bool:
    return all(key in point and point[key] == _typed(value, base[key]) for key, value in rule.items())
