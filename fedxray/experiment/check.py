"""Checks of the configuration, before any job: every fault as one line that names the key and what to do."""

from difflib import get_close_matches

import yaml
from jsonschema import Draft202012Validator

from fedxray.core.errors import UserError
from fedxray.experiment.sweep import COHORT_AXES, points


def check_config(config: dict, schema: dict) -> None:
    """Raise UserError, a line for each fault, if `config` is not what `schema` and the experiment want."""
    faults = [_fault(error) for error in Draft202012Validator(schema).iter_errors(config)]
    if not faults:
        faults = [*_across(config), *_swept(config, schema)]
    if faults:
        raise UserError("\n".join(f"config: {fault}" for fault in faults))
    points(config)


def typed(value, schema: dict):
    """`value` in the types that the schema wants, because the command line gives nested values as text."""
    kind = schema.get("type")
    if isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        others = others if isinstance(others, dict) else {}
        return {key: typed(item, properties.get(key, others)) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item, schema.get("items", {})) for item in value]
    if isinstance(value, str) and kind != "string" and "enum" not in schema:
        return yaml.safe_load(value)
    return value


def _fault(error, within: str = "") -> str:
    """One fault of the schema, or of its part `within`, as `key: what is wrong; what to do`."""
    key = ".".join([within] * bool(within) + [str(part) for part in error.absolute_path]) or "the file"
    if error.validator == "additionalProperties":
        properties = error.schema.get("properties", {})
        unknown = sorted(set(error.instance) - set(properties))
        prefix = f"{key}." if error.absolute_path else ""
        near = get_close_matches(unknown[0], properties, 1)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(properties)}"
        return f"{prefix}{unknown[0]}: unknown key; {hint}"
    hint = ""
    if error.validator == "type" and isinstance(error.instance, str) and error.schema.get("type") == "number":
        hint = "; write it as 0.001 or 1.0e-3 (YAML reads 1e-3 as text)"
    if error.validator == "enum" and isinstance(error.instance, str):
        near = get_close_matches(error.instance, [str(value) for value in error.validator_value], 1)
        return f"{key}: {error.instance!r} is not known; {_choices(near, error.validator_value)}"
    described = f" ({error.schema['description']})" if "description" in error.schema else ""
    return f"{key}: {error.message}{hint or described}"


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
    return faults + _of_federation(config)


def _of_federation(config: dict) -> list[str]:
    """Faults of `federation` and what goes with it."""
    faults, federation, sites = [], config["federation"], config["sites"]
    if federation["min_sites"] > len(sites):
        faults.append(f"federation.min_sites: {federation['min_sites']} of {len(sites)} sites; at most {len(sites)}")
    if (federation["absent"] == "drop") != (0 < federation["min_sites"] < len(sites)):
        faults.append(f"federation: absent: drop goes with min_sites from 1 to {len(sites) - 1}, and fail with 0")
    if federation["where"] == "remote":
        if not federation["admin_kit"]:
            faults.append("federation.admin_kit: empty; set it to the folder of the admin's startup kit")
        if federation["engine"] != "nvflare":
            faults.append("federation.engine: inprocess reads all data here; a remote federation needs nvflare")
        swept = {key for entry in (config["sweep"]["grid"], *config["sweep"]["points"]) for key in entry}
        for key in sorted(swept & set(COHORT_AXES)):
            faults.append(
                f"sweep: {key} cannot be swept in a remote federation, whose sites have the data that they have"
            )
    return faults


def _swept(config: dict, schema: dict) -> list[str]:
    """Faults of the sweep's values: each must be one that its key could have, or N of `sites`."""
    sweep, faults = config["sweep"], []
    entries = [(f"sweep.grid.{key}", key, value) for key, values in sweep["grid"].items() for value in values]
    entries += [("sweep.points", key, value) for point in sweep["points"] for key, value in point.items()]
    for where, key, value in {repr(entry): entry for entry in entries}.values():
        if key == "sites":
            if not (isinstance(value, int) and 1 <= value <= len(config["sites"])):
                faults.append(f"{where}: {value!r} is not a number of sites from 1 to {len(config['sites'])}, as named")
            continue
        bounds = schema
        for part in key.split("."):
            bounds = bounds.get("properties", {}).get(part, {})
        if not bounds:
            continue  # `points` reports a key that cannot be swept
        value_faults = [_fault(error, key) for error in Draft202012Validator(bounds).iter_errors(value)]
        value_faults += [] if value_faults else _across(_with(config, key.split("."), value))
        faults += [f"{where}: {fault}" for fault in value_faults]
    return faults


def _with(config: dict, key: list[str], value) -> dict:
    """The configuration with another value of `key`, given by its parts."""
    first, *rest = key
    return config | {first: _with(config[first], rest, value) if rest else value}
