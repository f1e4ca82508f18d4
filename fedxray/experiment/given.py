"""What the user gave, and what of it nothing uses: each such value is a fault, because who gives it believes in it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from fedxray.experiment import privacy
from fedxray.experiment.method import MEAN_NUMBERS, NUMBERS
from fedxray.experiment.sweep import KNOBS, METHOD_AXES, TROUBLES, axes, leaves, method_at, name_of, points

# {a number of a method: which ones use it}
OWNERS = {
    name: ", ".join(owner for table in (NUMBERS, MEAN_NUMBERS) for owner, names in table.items() if name in names)
    for names in (*NUMBERS.values(), *MEAN_NUMBERS.values())
    for name in names
} | {"finetune_stop": "finetune"}
At = Callable[[str], Any]  # the value of a key at a point


class Use(NamedTuple):
    """Keys, whether a point uses them, and what to say if none does."""

    keys: tuple[str, ...]
    used: Callable[[At], bool]
    why: str


AUGMENTATION = tuple(f"training.augmentation.{name}" for name in ("shift", "rotate", "scale", "contrast", "flip"))
# What a private run has values of its own for, or has not (`Privacy.training`).
PUBLIC = tuple(f"training.{name}" for name in ("lr", "epochs", "optimizer", "weight_decay", "schedule", "compile"))
USES = (
    *(
        Use((key,), lambda at, way=way: at("split.partition") == way, f"only split.partition: {way} uses it")
        for way, key in KNOBS.items()
    ),
    Use(("split.test_fraction",), lambda at: at("split.test") == "redraw", "split.test: official has its own test set"),
    Use(
        ("trouble.share",),
        lambda at: "trouble.share" in TROUBLES[at("trouble.kind")],
        "only trouble.kind: labels and clipped use it",
    ),
    Use(
        ("training.momentum",),
        lambda at: at("training.optimizer") == "sgd" or at("privacy.dp") != "none",
        "only training.optimizer: sgd uses it",
    ),
    Use(
        (*PUBLIC, *AUGMENTATION),
        lambda at: at("privacy.dp") == "none",
        "with privacy.dp nothing uses it, and privacy.lr and privacy.steps are in place of rate and epochs",
    ),
    Use(("federation.round",), lambda at: not at("federation.steps"), "federation.steps is in its place"),
    Use(
        ("federation.round", "federation.steps", "algorithm.moments"),
        lambda at: at("privacy.dp") != "sum",
        "with privacy.dp: sum each round is one step, which the server takes",
    ),
    Use(
        ("split.conflicts",),
        lambda at: at("split.partition") == "acquisition" or at("split.test") == "official",
        "only split.partition: acquisition and split.test: official can have conflicts",
    ),
    Use(
        ("federation.patience_s",),
        lambda at: at("federation.where") == "remote",
        "only federation.where: remote uses it",
    ),
    Use(
        ("evaluation.margin",),
        lambda at: at("federation.where") == "here",
        "hospitals elsewhere send no predictions, so no difference is judged",
    ),
    Use(
        ("evaluation.confidence", "evaluation.seed"),
        lambda at: at("federation.where") == "here" or bool(at("promotion.predecessor")),
        "hospitals elsewhere send no predictions, so nothing is drawn without a gate (promotion.predecessor)",
    ),
    Use(
        ("federation.admin_kit",),
        lambda at: at("federation.where") == "remote" or not at("federation.admin_kit"),
        "only federation.where: remote uses it",
    ),
    Use(
        ("federation.absent",),
        lambda at: at("federation.engine") == "nvflare" or at("federation.absent") == "fail",
        "nobody is absent in federation.engine: inprocess",
    ),
    Use(
        ("evaluation.reference",),
        lambda at: at("federation.where") == "here" or at("evaluation.reference") == "central",
        "hospitals elsewhere are compared with themselves alone",
    ),
    Use(
        ("promotion.margin", "promotion.calibration", "promotion.epsilon"),
        lambda at: bool(at("promotion.predecessor")),
        "there is no gate while promotion.predecessor is empty",
    ),
    Use(
        ("promotion.epsilon",),
        lambda at: (
            not (at("promotion.predecessor") and at("promotion.epsilon"))
            or (at("privacy.dp") != "none" and at("privacy.noise") == "secret")
        ),
        "without privacy.dp and noise: secret nothing bounds what training spends, and the gate could never hold",
    ),
)


def unlike(config: Mapping, defaults: Mapping) -> dict:
    """The values of a configuration that are not the defaults', in the same sections."""
    found = {}
    for key, value in config.items():
        default = defaults.get(key)
        if isinstance(value, dict) and isinstance(default, dict):
            value = unlike(value, default)
            default = {}
        if key not in defaults or value != default:
            found[key] = value
    return found


def given_of(config: Mapping, defaults: Mapping) -> dict:
    """What the user gave of a configuration. Of a section that has every key of the defaults', and so is a copy of
    theirs, it is the values that are not the defaults'.
    """
    found, copied = {}, not set(defaults) - set(config)
    for key, value in config.items():
        if isinstance(value, dict) and isinstance(defaults.get(key), dict):
            value = given_of(value, defaults[key])
            if value:
                found[key] = value
        elif not (copied and key in defaults and value == defaults[key]):
            found[key] = value
    return found


def faults_of(config: Mapping, given: Mapping) -> Iterator[str]:
    """Each value of a valid `config` that nothing uses: `key: what; what to do`. `given` is the user's part of it."""
    yield from _of_uses(config, given)
    yield from _of_methods(config, given)
    yield from _of_privacy(config, given)
    yield from _of_phantoms(config, given)
    yield from _of_exclusions(config)
    if config["federation"]["where"] == "remote":
        yield from _of_data(config, given)


def _of_uses(config: Mapping, given: Mapping) -> Iterator[str]:
    """Faults of the keys of `USES`, given or swept."""
    values, every, swept = dict(leaves(config)), points(config), axes(config)
    asked = {*swept, *(key for key, _ in leaves(given))}
    for use in USES:
        keys = [key for key in use.keys if key in asked]
        if keys and not any(use.used(lambda key, point=point: point.get(key, values[key])) for point in every):
            for key in keys:
                yield f"{'sweep: ' * (key in swept)}{key}: {use.why}; remove it, or change that"


def _of_methods(config: Mapping, given: Mapping) -> Iterator[str]:
    """Faults of numbers that no method uses."""
    sweep = config["sweep"]
    methods = [method_at(config, point) for point in points(config)]
    named = {f"algorithm.{name}": name for name in given.get("algorithm", {})}
    named |= {f"sweep.grid.{key}": key.partition(".")[2] for key in sweep["grid"] if key in METHOD_AXES}
    for where, name in named.items():
        if name in OWNERS and not any(name in method.numbers for method in methods):
            yield f"{where}: no method here uses it; it is a number of {OWNERS[name]}: remove it, or choose that"
    for entry in sweep["points"]:
        method = method_at(config, entry)
        for key in entry:
            name = key.partition(".")[2]
            if key in METHOD_AXES and name in OWNERS and name not in method.numbers:
                yield f"sweep.points: {key}: {method.slug} does not use it; it is a number of {OWNERS[name]}: remove it"


def _of_privacy(config: Mapping, given: Mapping) -> Iterator[str]:
    """Faults of what was given for private training where nothing is private: who asks for an epsilon wants it."""
    sweep, base = config["sweep"], config["privacy"]["dp"]
    entries = [("privacy", {f"privacy.{name}": name for name in given.get("privacy", {})}, points(config))]
    entries += [("sweep.grid", sweep["grid"], points(config))]
    entries += [("sweep.points", entry, [entry]) for entry in sweep["points"]]
    for where, keys, of_points in entries:
        places = {point.get("privacy.dp", base) for point in of_points}
        lead = "" if where == "privacy" else f"{where}: "
        for key in (key for key in keys if key.partition(".")[0] == "privacy" and name_of(key) in privacy.KEYS):
            if key != "privacy.dp" and places == {"none"}:
                yield f"{lead}{key}: nothing is private while privacy.dp is none; set it to sites or sum, or remove it"
            elif key == "privacy.colluders" and "sum" not in places:
                yield f"{lead}{key}: only privacy.dp: sum shares its noise out; remove it, or take sum"


def _of_phantoms(config: Mapping, given: Mapping) -> Iterator[str]:
    """Faults of a second wave of phantoms where none are drawn, and of a share of pneumonia of no patients."""
    base, said, sources = config["dataset"]["phantom"]["second"], given, config["dataset"]["sources"]
    for key in ("dataset", "phantom", "second"):
        said = said.get(key) if isinstance(said, Mapping) else None
    entries = [(entry.get("phantom") or {}).get("second", {}) for entry in sources]
    phantom = any("phantom" in entry for entry in sources) if sources else config["dataset"]["source"] == "phantom"
    if not phantom and (base["patients"] or (said and "pneumonia" in said)):
        yield "dataset.phantom.second: hospitals train on no phantom; remove it, or take dataset.source: phantom"
        return
    drawn = {number for number, second in enumerate(entries) if (base | second)["patients"]}
    wrong = [f"sources.{n}." for n, second in enumerate(entries) if "pneumonia" in second and n not in drawn]
    if isinstance(said, Mapping) and "pneumonia" in said and not (base["patients"] or drawn):
        wrong.append("")
    for where in wrong:
        yield f"dataset.{where}phantom.second.pneumonia: this wave has no patients; give some, or remove it"


def _of_exclusions(config: Mapping) -> Iterator[str]:
    """Faults of exclusions that can leave no point out."""
    for key in {key: None for rule in config["sweep"]["exclude"] for key in rule if key not in axes(config)}:
        yield f"sweep.exclude: {key}: is not swept, so no point is left out; sweep it, or remove it"


def _of_data(config: Mapping, given: Mapping) -> Iterator[str]:
    """Faults of what was given for the data of hospitals elsewhere. A phantom stands for no data of anybody's."""
    plain = ("dataset.phantom.patients", "dataset.phantom.seed", "split.balance")
    plain += ("dataset.source",) if config["dataset"]["source"] == "phantom" else ()
    for section in ("dataset", "split"):
        own = [key for key, _ in leaves({section: given.get(section, {})}) if key not in plain]
        if own:
            yield f"{own[0]}: hospitals elsewhere have the data that they have; remove it"
    if config["split"]["balance"] == "undersample":
        yield "split.balance: undersample is for data that are split here; take weighted_loss or none"
