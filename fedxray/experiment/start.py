"""The start of a run: `model.initial` and what goes with it, as far as it is known without PyTorch.

It is a run's `model.safetensors`, an exported `model/`, or weights of torchvision, by name or as a file.
"""

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path

from fedxray.core.files import read_json, sha256

TORCHVISION = "torchvision:"
MODEL, RECORD, EXPORTED = "model.safetensors", "record.json", "config.json"
# What weights of torchvision's are called, `ResNet18_Weights.NAME`; no network has all of them.
WEIGHTS = ("DEFAULT", "IMAGENET1K_V1", "IMAGENET1K_V2", "IMAGENET1K_FEATURES")
WEIGHTS += ("IMAGENET1K_SWAG_E2E_V1", "IMAGENET1K_SWAG_LINEAR_V1")
OWN = ("compact", "demo")  # models that are not torchvision's
NETWORK = "network."  # begins the name of each parameter of a model of torchvision's
FORM = {"norms": "group", "standardise": "image"}  # what a record or an export leaves out of `model`


def file_of(initial: str) -> Path | None:
    """The file that `model.initial` names; None if it names weights that torchvision downloads, or nothing."""
    given = initial.removeprefix(TORCHVISION)
    if not given or (given != initial and re.fullmatch(r"\w+_Weights\.\w+", given)):
        return None
    path = Path(given)
    return path / MODEL if given == initial and path.is_dir() else path


def digest_of(initial: str) -> str:
    """What stands for the content of `model.initial`: the SHA-256 of its file, or the name of the weights."""
    path = file_of(initial)
    return sha256(path) if path else initial


def faults_of(config: Mapping) -> list[str]:
    """What is wrong with the start of a configuration: each `key: what; what to do`. It reads no weights."""
    model, initial = config["model"], config["model"]["initial"]
    faults = []
    if model["name"] in OWN:
        faults += [
            f"model.{key}: {model[key]}, but {model['name']} is no network of torchvision's; set it to {plain}"
            for key, plain in FORM.items()
            if model[key] != plain
        ]
    if model["norms"] == "frozen" and not initial:
        faults.append("model.norms: frozen norms of random weights normalise nothing; give model.initial or take group")
    if model["norms"] == "batch" and config["privacy"]["dp"] != "none":
        faults.append("model.norms: batch mixes patients, and privacy.dp bounds what each gives; take frozen or group")
    if config["privacy"]["dp"] == "sum" and config["training"]["body_lr"] != 1:
        faults.append("training.body_lr: privacy.dp sum takes its steps at the server, at one rate; set it to 1")
    if not initial:
        return faults
    swept = {key for part in (config["sweep"]["grid"], *config["sweep"]["points"]) for key in part}
    if "model.name" in swept:
        faults.append("sweep: model.name cannot be swept with model.initial, which is of one model; leave one out")
    return faults + (_of_weights(model) if initial.startswith(TORCHVISION) else _of_model(config))


def _of_weights(model: Mapping) -> list[str]:
    """Faults of torchvision's weights."""
    initial, path = model["initial"], file_of(model["initial"])
    if model["name"] in OWN:
        return [f"model.initial: {initial} is of a network of torchvision's; set model.name to it"]
    faults = []
    if model["standardise"] != "imagenet":
        faults.append("model.standardise: image, but torchvision's weights expect greys as imagenet; set it to that")
    if path and not path.is_file():
        faults.append(
            f"model.initial: {path}: no such file; give one, or a name: {TORCHVISION}ResNet18_Weights.IMAGENET1K_V1"
        )
    of, _, name = initial.removeprefix(TORCHVISION).partition("_Weights.")
    if not path and of.lower() != model["name"]:
        faults.append(f"model.initial: {initial} is of {of.lower()}, and model.name is {model['name']}; change one")
    if not path and name not in WEIGHTS:
        faults.append(f"model.initial: {initial}: torchvision has no weights {name}; take one of {', '.join(WEIGHTS)}")
    return faults


def _of_model(config: Mapping) -> list[str]:
    """Faults of a run's model or an exported one: it must be of the same form, as far as what lies beside it says.

    It is of another experiment, or each training would change what the next one begins with.
    """
    model = config["model"]
    path = file_of(model["initial"])
    if path is None or not path.is_file():
        return [
            f"model.initial: {path}: no such file; give a run's {MODEL}, an exported model/, or {TORCHVISION}WEIGHTS"
        ]
    if path.resolve().is_relative_to(Path("results", config["experiment"]).resolve()):
        return [f"model.initial: {path} is of this experiment, which writes it again; take a new `experiment`"]
    names = _names(path)
    if names is None:
        return [f"model.initial: {path}: no safetensors; give a run's {MODEL}, or an exported model/"]
    try:
        if (path.parent / RECORD).exists():
            found = read_json(path.parent / RECORD)["settings"]
        else:
            found = read_json(path.parent / EXPORTED)
        form = {"name": found["model"]} | {key: found.get(key, plain) for key, plain in FORM.items()}
    except (OSError, ValueError, KeyError, TypeError):
        # Nothing says it. All its names and shapes are looked at before any training.
        if model["name"] not in OWN and not any(name.startswith(NETWORK) for name in names):
            return [
                f"model.initial: {path} is no run's model of {model['name']}; if torchvision's own weights are in it, "
                f"write {TORCHVISION}{path}, else give another"
            ]
        return []
    return [
        f"model.{key}: {model[key]}, but the model of model.initial has {value}; set it to that"
        for key, value in form.items()
        if model[key] != value
    ]


def _names(path: Path) -> list[str] | None:
    """The names in the header of a file that begins as safetensors do, with its length; None if it does not."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length)) if length <= path.stat().st_size else None
            return list(header) if isinstance(header, dict) else None
    except (OSError, ValueError, struct.error):
        return None
