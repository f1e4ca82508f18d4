"""Checks of the configuration, before any job: every fault as one line that names the key and what to do."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from fractions import Fraction
from itertools import islice
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from fedxray.core.errors import UserError
from fedxray.core.files import read_json
from fedxray.core.yaml_file import check_keys
from fedxray.experiment import given as users
from fedxray.experiment import privacy, start
from fedxray.experiment.experiment import Experiment
from fedxray.experiment.method import faults_of, quorum
from fedxray.experiment.sweep import COHORT_AXES, PRIVACY_AXES, TROUBLES, method_at, name_of, points

KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a section of keys",
    "null": "nothing",
}
PATHS = ("archive", "folder", "admin_kit", "initial", "predecessor")  # keys whose value is a path
SHOWN = 60  # characters of a value in a message
POINTS = 10_000  # of a sweep's grid; the plan of as many takes minutes
STEPPING = ("fedavgm", "fedadam", "fedyogi", "fednova")  # methods in which the server goes on from the mean
PARTS = (1, 0.5, 0.25, 0.2, 0.125, 0.1, 0.0625, 0.05, 0.04, 0.02, 0.01)  # of an epoch, for a message
# What to do about new patients at hospitals elsewhere, whose data are what they are.
ELSEWHERE = (
    "update.strategy: hospitals elsewhere have the data that they have; leave it out, and for a second wave set "
    "federation.waves to 2, model.initial to the run of wave 1 and promotion.predecessor to the model in use "
    "(docs/hospitals.md)"
)
# Of a file's name, in bytes. File systems take 255, and a log or a temporary file adds some to the name of its run.
NAME = 230


def check_config(config: dict, schema: dict, given: Mapping | None = None) -> None:
    """Raise UserError, a line for each fault, if `config` is not what `schema` and the experiment want.

    `given` is the part of it that the user gave (`given_of`): the rest are defaults.
    """
    faults = list(_unusable(config))
    if not faults:
        faults = [_fault(error) for error in Checker(schema).iter_errors(config)]
    if not faults:
        faults = _across(config) or _swept(config, schema)  # or one of all points were told of each value
    if faults:
        raise UserError("\n".join(f"config: {fault}" for fault in faults))
    faults = [*_of_trouble(config), *_of_methods(config), *_of_privacy(config), *_of_reference(config)]
    faults += [*_of_absence(config), *_of_promotion(config), *_of_update(config)]
    faults += users.faults_of(config, given or {})
    if faults := list(dict.fromkeys(faults)):
        raise UserError("\n".join(f"config: {fault}" for fault in faults))


def check_files(paths: Iterable[Path]) -> None:
    """Raise UserError, a line for each, if a configuration file gives a key twice: its reader keeps the last alone."""
    for path in paths:
        try:
            check_keys(path)
        except UserError as error:
            raise UserError("\n".join(f"config: {line}" for line in str(error).splitlines())) from error


def check_names(experiment: Experiment) -> None:
    """Raise UserError if a sweep gives a folder a longer name than a file system takes."""
    for name in dict.fromkeys(part for run in experiment.runs for part in run.job.split("/")):
        if len(name) > NAME:
            raise UserError(
                f"config: sweep: the folder {name} would have a name of {len(name)} letters; at most {NAME}, so sweep "
                "fewer keys at once, or write their values with fewer digits"
            )


def check_predecessor(config: dict) -> None:
    """Raise UserError if the model of `promotion.predecessor` is not there, takes other images than are here, or is one
    that this experiment writes: the gate would compare it with itself.
    """
    folder, own = Path(config["promotion"]["predecessor"]), Path("results", config["experiment"])
    if folder == Path():
        return
    if folder.resolve().is_relative_to(own.resolve()):
        raise UserError(
            f"config: promotion.predecessor: {folder} is of this experiment, which writes it again; take a new "
            "`experiment`, or give a version, such as models/1"
        )
    try:
        if not (folder / "model.safetensors").is_file():
            raise FileNotFoundError
        about = read_json(folder / "config.json")
        wanted = {key: config[key] for key in ("image_size", "fit")}
        other = [f"{key} is {about[key]}, here {value}" for key, value in wanted.items() if about[key] != value]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"config: promotion.predecessor: {folder} is no exported model (config.json, model.safetensors); give "
            "one such as models/1"
        ) from error
    if other:
        raise UserError(f"config: promotion.predecessor: it takes other images: {', '.join(other)}; make them equal")


def typed(value, schema: dict, whole: dict | None = None):
    """`value` in the types that the schema wants, because the command line gives nested values as text.

    The dotted keys of a sweep have their types in `whole`, of which `schema` is a part; at first it is all of it.
    """
    whole, kind = whole or schema, schema.get("type")
    if isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        others = others if isinstance(others, dict) else {}
        parts = {key: ("." in str(key) and _part(whole, key)) or properties.get(key, others) for key in value}
        return {key: typed(item, parts[key], whole) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item, schema.get("items", schema), whole) for item in value]
    if isinstance(value, str) and kind != "string" and "enum" not in schema:
        try:
            return yaml.safe_load(value)
        except (yaml.YAMLError, ValueError):
            return value  # which the schema then refuses
    return value


def _part(schema: dict, key: str) -> dict:
    """The part of a schema for a dotted key; empty if it has none."""
    for name in str(key).split("."):
        schema = schema.get("properties", {}).get(name, {})
    return schema


def _is_integer(checker, value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(checker, value) -> bool:
    return _is_integer(checker, value) or (isinstance(value, float) and math.isfinite(value))


def _matches(validator, pattern: str, value, schema: dict) -> Iterator[ValidationError]:
    if isinstance(value, str) and not re.fullmatch(pattern, value):
        yield ValidationError(f"{_shown(value)} does not match {pattern}")


# JSON Schema takes 2.0 for an integer, NaN for a number within all bounds, and a name with a line's end after it for
# the name. Here 2.0 would be another stream of random numbers than 2, and name another folder.
Checker = extend(
    Draft202012Validator,
    {"pattern": _matches},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many({"integer": _is_integer, "number": _is_number}),
)


def _unusable(value, key: str = "") -> Iterator[str]:
    """Faults of keys and values that no schema need see, because no program could use them."""
    where = key or "the file"
    if isinstance(value, dict):
        for name, item in value.items():
            if isinstance(name, str):
                yield from _unusable(item, f"{key}.{name}" if key else name)
            else:
                yield f"{where}: the key {_shown(name)} is not text; {_written(name) or 'put it in quotes'}"
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _unusable(item, f"{key}.{number}" if key else str(number))
    elif isinstance(value, int) and value.bit_length() > 64:
        yield f"{where}: a whole number of {value.bit_length()} bits; take one of at most 64"
    elif isinstance(value, str) and (wrong := re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", value)):
        yield f"{where}: {_shown(value)} has the character {wrong[0]!a}; rename what it names"
    elif isinstance(value, str) and key.rpartition(".")[2] in PATHS and re.search(r"[{}]", value):
        yield f"{where}: {_shown(value)} has braces, which mean something else to Snakemake; rename what it names"


def _shown(value) -> str:
    """A value as a message shows it: as YAML writes it, and cut if it is long."""
    if value is None or isinstance(value, bool):
        text = {None: "nothing", True: "true", False: "false"}[value]
    else:
        text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _written(value) -> str:
    """How to write what YAML has taken for something else than text."""
    if isinstance(value, bool):
        return "YAML takes yes, no, on and off for true or false: put it in quotes"
    return ""


def _fault(error, within: str = "") -> str:
    """One fault of the schema, or of its part `within`, as `key: what is wrong; what to do`."""
    key = ".".join([within] * bool(within) + [str(part) for part in error.absolute_path]) or "the file"
    value = error.instance
    if error.validator == "additionalProperties":
        properties = error.schema.get("properties", {})
        unknown = sorted(set(value) - set(properties))
        prefix = f"{key}." if error.absolute_path else ""
        near = get_close_matches(unknown[0], properties, 1)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(properties)}"
        return f"{prefix}{unknown[0]}: unknown key; {hint}"
    if error.validator == "type":
        kinds = [error.validator_value] if isinstance(error.validator_value, str) else error.validator_value
        wanted = " or ".join(KINDS[kind] for kind in kinds)
        return f"{key}: {_shown(value)} is not {wanted}; {_instead(value, kinds[0], error.schema)}"
    if error.validator == "enum":
        near = get_close_matches(str(value), map(str, error.validator_value), 1)
        return f"{key}: {_shown(value)} is not known; {_choices(near, error.validator_value)}"
    described = f" ({error.schema['description']})" if "description" in error.schema else ""
    if error.validator == "not" and "enum" in error.validator_value:
        return f"{key}: {_shown(value)} is the name of something else; take another"
    if error.validator == "maxLength":
        return f"{key}: {len(value)} letters; at most {error.validator_value}{described}"
    message = (
        error.message if len(error.message) <= 3 * SHOWN else f"{error.message[:SHOWN]} ... {error.message[-SHOWN:]}"
    )
    return f"{key}: {message}{described}"


def _instead(value, kind: str, schema: dict) -> str:
    """What to write instead of a value that is not of the `kind` that its `schema` wants."""
    if kind == "object":
        return f"give it as {', '.join(f'{name}: ...' for name in islice(schema.get('properties', ['key']), 2))}"
    if value is None:
        return "give a value, or leave the key out for the default"
    if kind == "string":
        return _written(value) or "put it in quotes"
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return f"write it as {int(value)}"
    if kind == "number" and isinstance(value, str):
        return "write it as 0.001 or 1.0e-3 (YAML reads 1e-3 as text)"
    hints = {"integer": "give digits alone", "number": "give a finite one", "boolean": "write true or false"}
    return hints.get(kind, "write it as [..., ...]")


def _choices(near: list, values: list) -> str:
    return f"did you mean {near[0]}?" if near else f"one of {', '.join(map(str, values[:8]))}"


def _across(config: dict) -> list[str]:
    """Faults between keys."""
    faults, split, dataset = [], config["split"], config["dataset"]
    if split["test"] == "redraw" and split["test_fraction"] + split["validation_fraction"] >= 1:
        faults.append("split: test_fraction and validation_fraction leave nothing to train on; their sum must be < 1")
    if config["model"]["name"] == "demo" and config["image_size"] != 224:
        faults.append(f"image_size: the demo's network takes 224 pixels, not {config['image_size']}; set it to 224")
    if dataset["source"] == "folder" and not dataset["folder"]:
        faults.append("dataset.folder: empty; set it to the directory or manifest.csv of your images")
    return faults + _of_federation(config) + start.faults_of(config)


def _of_federation(config: dict) -> list[str]:
    """Faults of `federation` and what goes with it."""
    faults, federation, sites = [], config["federation"], config["sites"]
    if federation["min_sites"] > len(sites):
        faults.append(f"federation.min_sites: {federation['min_sites']} of {len(sites)} sites; at most {len(sites)}")
    if (federation["absent"] == "drop") != (0 < federation["min_sites"] < len(sites)):
        faults.append(f"federation: absent: drop goes with min_sites from 1 to {len(sites) - 1}, and fail with 0")
    if federation["where"] == "here" and federation["waves"] != 1:
        faults.append(
            f"federation.waves: {federation['waves']}, but federation.where is here, where the images say their waves "
            "(dataset.waves, .sources, .phantom.second); set it to 1"
        )
    if federation["where"] == "remote":
        if not federation["admin_kit"]:
            faults.append("federation.admin_kit: empty; set it to the folder of the admin's startup kit")
        if federation["engine"] != "nvflare":
            faults.append("federation.engine: inprocess reads all data here; a remote federation needs nvflare")
        if config["privacy"]["audit"]:
            faults.append("privacy.audit: attacks need the hospitals' images, which are elsewhere; set it to false")
        if config["evaluation"]["contributions"]:
            faults.append("evaluation.contributions: is measured on images, which are elsewhere; set it to false")
        swept = {key for entry in (config["sweep"]["grid"], *config["sweep"]["points"]) for key in entry}
        if config["update"]["strategy"] or "update.strategy" in swept:
            faults.append(ELSEWHERE)
        for key in sorted(swept & {*COHORT_AXES} - {"update.strategy"}):
            faults.append(
                f"sweep: {key} cannot be swept in a remote federation, whose sites have the data that they have"
            )
    return faults


def _has_waves(dataset: Mapping) -> bool:
    """Whether the images are known to be of several waves of patients; a table may say it, too."""
    drawn = dataset["source"] == "phantom" and not dataset["sources"] and dataset["phantom"]["second"]["patients"]
    return bool(drawn or dataset["waves"] or any(entry.get("wave", 1) > 1 for entry in dataset["sources"]))


def _of_trouble(config: dict) -> Iterator[str]:
    """Faults of the trouble on purpose of each point of the sweep."""
    for point in points(config):
        kind, site, share = (point.get(f"trouble.{key}", config["trouble"][key]) for key in ("kind", "site", "share"))
        used, sites = TROUBLES[kind], config["sites"][: point.get("sites", len(config["sites"]))]
        if "trouble.kind" not in point:
            for key in (key for key in ("trouble.site", "trouble.share") if key in point and key not in used):
                yield f"sweep: {key}: trouble.kind: {kind} does not use it; leave it out, or change the kind"
            if site and not used and "trouble.site" not in point:
                yield f"trouble.site: {site}, but trouble.kind is none; say what its trouble is, or leave it empty"
        if used and site not in sites:
            yield f"trouble.site: {site or 'empty'}, but {kind} needs one of `sites`; take {' or '.join(sites[:8])}"
        if kind == "clipped" and share >= 0.5:
            yield f"trouble.share: {share} of the greys at each end leaves none; clipped needs less than 0.5"
        if used and _has_waves(config["dataset"]):
            yield f"trouble.kind: {kind}, but trouble on purpose is not made in data of several waves; set it to none"
        if used and config["federation"]["where"] == "remote":
            yield f"trouble.kind: {kind}, but hospitals elsewhere have the data that they have; set it to none"


def _of_methods(config: dict) -> Iterator[str]:
    """Faults of the method and the budget of each point of the sweep."""
    secure, least = config["privacy"]["secure_aggregation"], config["federation"]["min_sites"]
    least = len(config["sites"]) if secure or not least else least  # sites that answer in a round; see `_of_absence`
    for point in points(config):
        method = method_at(config, point)
        yield from faults_of(method, min(least, point.get("sites", len(config["sites"]))))
        if config["model"]["norms"] == "batch" and method.name in STEPPING:
            yield (
                f"algorithm.name: {method.name}, but with model.norms: batch its step at the server would move running "
                "means and variances too, which may become negative; set model.norms: group, or take fedavg"
            )
        if config["federation"]["absent"] == "drop" and method.name == "scaffold":
            yield (
                "algorithm.name: scaffold, but its correction is wrong after a round that lacks larger or smaller "
                "hospitals; set federation.absent: fail, or take fedprox"
            )
        epochs = point.get("training.epochs", config["training"]["epochs"])
        passes, steps = (point.get(f"federation.{key}", config["federation"][key]) for key in ("round", "steps"))
        tail = method.finetune
        if tail >= epochs:
            yield f"algorithm.finetune: {tail} of {epochs} epochs leaves none for the federation; take fewer"
        elif not steps:
            yield from _of_round(passes, epochs - tail, tail)
    experiment = Experiment.from_config(config)
    if config["evaluation"]["contributions"]:
        federated = [run for run in experiment.jobs if run.model.mode == "federated"]
        if len(federated) > len(experiment.cohorts) * len(config["seeds"]) or federated[0].method.is_personal:
            yield (
                "evaluation.contributions: needs one method that has a global model, and one point of it; leave the "
                "others out of the sweep"
            )
        if all(len(cohort.sites) < 3 for cohort in experiment.cohorts):
            yield "evaluation.contributions: has no coalition to train of two hospitals; name more, or set it to false"
        if any(len(cohort.sites) > 4 for cohort in experiment.cohorts):
            yield "evaluation.contributions: more than four hospitals have too many coalitions; name fewer sites"


def _of_absence(config: dict) -> Iterator[str]:
    """Faults of what becomes of absent sites, at each point of the sweep."""
    federation = config["federation"]
    if federation["absent"] == "fail":
        return
    if not config["privacy"]["secure_aggregation"]:
        fewest = min(point.get("sites", len(config["sites"])) for point in points(config))
        if federation["min_sites"] >= fewest:
            least = f"set it to at most {fewest - 1}, or " * (fewest > 1)
            yield (
                f"federation.min_sites: {federation['min_sites']}, but the sweep has a point with sites: {fewest}, "
                f"where nobody could be absent; {least}sweep sites from {federation['min_sites'] + 1}"
            )
        return
    for point in points(config):
        sites = point.get("sites", len(config["sites"]))
        least = quorum(sites)
        if least == sites:
            yield (
                f"federation.absent: drop, but with privacy.secure_aggregation {least} of {sites} sites must answer in "
                "each round, more than two thirds; name at least 4 sites, or set it to fail"
            )
        elif not least <= federation["min_sites"] < sites:
            down = f", or down to {least}" * (least < sites - 1)
            yield (
                f"federation.min_sites: {federation['min_sites']} of {sites} sites, but privacy.secure_aggregation "
                f"needs at least {least} in each round, more than two thirds; set it to {sites - 1}{down}"
            )


def _of_update(config: dict) -> Iterator[str]:
    """Faults of what is done about a second wave of patients."""
    experiment, dataset = Experiment.from_config(config), config["dataset"]
    strategies = {cohort.strategy for cohort in experiment.cohorts}
    if not config["update"]["strategy"] and not experiment.is_updated:
        return
    if config["update"]["strategy"]:
        yield "update.strategy: its values are compared; leave it empty, and sweep them as config/continue.yaml does"
    if "keep" not in strategies or len(strategies) < 2:
        yield "sweep: update.strategy: keep is what others go on from, and are compared with; take it and another one"
    jobs = {(run.model.mode, run.job) for run in experiment.jobs}
    if any(run.goes_on_from and (run.model.mode, run.goes_on_from) not in jobs for run in experiment.jobs):
        yield "sweep: update.strategy: a point goes on from that of keep, which is not among the points; add it"
    if any(run.method.is_personal for run in experiment.jobs):
        yield "update.strategy: only a model of all hospitals goes on; leave personal methods out of the sweep"
    if experiment.levels != {""}:
        yield (
            "privacy.dp: with update.strategy a patient of wave 1 is trained on twice, and the epsilon of both is not "
            "counted; set it to none"
        )
    if config["privacy"]["audit"]:
        yield (
            "privacy.audit: with update.strategy its attacks would begin with a model that has seen the patients whom "
            "they look for; set it to false"
        )
    if config["evaluation"]["contributions"]:
        yield "evaluation.contributions: not there yet where update.strategy is swept; set it to false"
    if dataset["source"] == "phantom" and not dataset["sources"] and not dataset["phantom"]["second"]["patients"]:
        yield "dataset.phantom.second: no second wave for update.strategy; give its patients, such as {patients: 400}"


def _of_privacy(config: dict) -> Iterator[str]:
    """Faults of the privacy of each point of the sweep, and of several levels of it."""
    levels = set()
    for point in points(config):
        values = config["privacy"] | {name_of(key): point[key] for key in PRIVACY_AXES if key in point}
        sites = point.get("sites", len(config["sites"]))
        budget = point.get("federation.budget", config["federation"]["budget"])
        levels.add(privacy.privacy_of(values).spent)
        if values["dp"] != "none" and budget != "passes":
            yield f"federation.budget: {budget}, but privacy.steps are the budget of a private run; set it to passes"
        yield from privacy.faults_of(config, values, method_at(config, point), sites)
    if config["privacy"]["audit"] and config["model"]["norms"] == "batch":
        yield (
            "privacy.audit: trains on random halves, and model.norms: batch takes no last batch of one image; "
            "set model.norms: group, or privacy.audit: false"
        )
    if len(levels) > 1 and "" not in levels:
        yield "sweep: several levels of privacy and none without noise, to compare them with; add privacy.dp: none"


def _of_reference(config: dict) -> Iterator[str]:
    """Faults of the model that others are compared with: a method must have a global model, beside another method."""
    possible = ["central", "alone", *Experiment.from_config(config).global_methods]
    reference = config["evaluation"]["reference"]
    if reference not in possible:
        yield f"evaluation.reference: {_shown(reference)} has no global model here; take {' or '.join(possible[:8])}"


def _of_promotion(config: dict) -> Iterator[str]:
    """Faults of the gate: it judges the one model of a federation."""
    if not config["promotion"]["predecessor"]:
        return
    experiment = Experiment.from_config(config)
    first = [run.model.mode for run in experiment.runs if run.model.cohort == experiment.cohorts[0]]
    if "federated" not in first:
        yield "promotion.predecessor: all methods are personal, so no model is for all hospitals; add another method"


def _of_round(passes: float, epochs: int, tail: int) -> Iterator[str]:
    """Faults of a round's length: it must be whole epochs or divide one, and divide the epochs of the federation."""
    length = Fraction(str(passes))
    budget = f"{epochs} epochs" + f" (training.epochs less {tail} of algorithm.finetune)" * bool(tail)
    if length < 1 and (1 / length).denominator != 1:
        near = sorted(sorted(PARTS, key=lambda part: abs(part - passes))[:2])
        yield f"federation.round: {passes:g} of an epoch does not divide it; take {near[0]:g} or {near[1]:g}"
    elif length >= 1 and (length.denominator != 1 or epochs % length):
        near = [n for n in range(1, epochs + 1) if epochs % n == 0]
        best = sorted(near, key=lambda n: abs(n - passes))[:2]
        yield (
            f"federation.round: {passes:g} does not divide the budget of {budget}; take "
            f"{' or '.join(map(str, sorted(best)))}, or another training.epochs"
        )


def _swept(config: dict, schema: dict) -> list[str]:
    """Faults of the sweep's values: each must be one that its key could have, or N of `sites`."""
    sweep, faults = config["sweep"], []
    if (crossed := math.prod(map(len, sweep["grid"].values()))) > POINTS:
        faults.append(f"sweep.grid: {crossed} points; at most {POINTS}, so take fewer values or keys")
    entries = [(f"sweep.grid.{key}", key, value) for key, values in sweep["grid"].items() for value in values]
    for part in ("points", "exclude"):
        entries += [(f"sweep.{part}", key, value) for entry in sweep[part] for key, value in entry.items()]
    for where, key, value in {repr(entry): entry for entry in entries}.values():
        if key == "sites":
            if not (_is_integer(None, value) and 1 <= value <= len(config["sites"])):
                faults.append(
                    f"{where}: {_shown(value)} is not a number of sites from 1 to {len(config['sites'])}, as named"
                )
            continue
        bounds = _part(schema, key)
        if not bounds:
            continue  # `points` reports a key that cannot be swept
        value_faults = [_fault(error, key) for error in Checker(bounds).iter_errors(value)]
        value_faults += (
            [] if value_faults or where == "sweep.exclude" else _across(_with(config, key.split("."), value))
        )
        faults += [f"{where}: {fault}" for fault in value_faults]
    return faults


def _with(config: dict, key: list[str], value) -> dict:
    """The configuration with another value of `key`, given by its parts."""
    first, *rest = key
    return config | {first: _with(config[first], rest, value) if rest else value}
