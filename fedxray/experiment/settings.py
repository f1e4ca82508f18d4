"""What one run trains with, and the options by which scripts take it. It imports no PyTorch, which takes seconds."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from fedxray.core.files import sha256


class Compute(NamedTuple):
    """Where a model computes, and how exactly."""

    device: str  # auto | cpu | cuda
    mixed_precision: bool  # bfloat16, on CUDA only
    threads: int  # CPU threads


@dataclass(frozen=True)
class Settings:
    """What one run trains with: the configuration's values, its point and its seed. config.yaml says what each is.

    The fields with a default here are those of a given start. At that default they change nothing, and are left out of
    commands, keys and records, which are then those of a run that knows of no start.
    """

    model: str
    image_size: int  # pixels of a side
    seed: int
    epochs: int  # the budget: passes over the data in the whole run
    lr: float
    optimizer: str  # adamw | sgd
    weight_decay: float
    momentum: float  # of sgd
    schedule: str  # cosine | constant
    batch_size: int
    shift: float  # augmentation: up to this share of the image's side
    rotate: float  # degrees
    scale: float
    contrast: float
    flip: bool
    class_weights: bool
    device: str  # auto | cpu | cuda
    mixed_precision: bool  # on CUDA only
    compile: bool  # by torch.compile
    threads: int  # CPU threads of one trainer
    initial: str = ""  # SHA-256 of the file of the model that the run begins with; empty: random weights
    norms: str = "group"  # what becomes of BatchNorm: group | batch | frozen
    standardise: str = "image"  # of the greys: image | imagenet
    freeze: str = "none"  # patterns of parameters that stay as they are, joined by +
    body_lr: float = 1.0  # the learning rate of all but the head, as a factor of `lr`

    @property
    def content(self) -> dict[str, Any]:
        """The settings by name, without those of a start that is not given."""
        return {name: value for name, value in vars(self).items() if name not in _START or value != _START[name]}

    @property
    def without_start(self) -> "Settings":
        """The same settings of a run that begins with random weights, of which it trains all."""
        return replace(self, **_START)

    @property
    def compute(self) -> Compute:
        """Where the run computes."""
        return Compute(self.device, self.mixed_precision, self.threads)

    def options(self) -> list[str]:
        """The settings as options and values on a command line, for `add_options`; its start is a file, `--initial`."""
        content = self.content
        return options_of(self, {name: option for name, option in OPTIONS.items() if name in content})


_START = {field.name: field.default for field in fields(Settings) if field.default is not MISSING}
OPTIONS = {field.name: f"--{field.name.replace('_', '-')}" for field in fields(Settings) if field.name != "initial"}


def add_options(parser: ArgumentParser) -> None:
    """Let a script take every setting of a run on its command line, as `Settings.options` writes them."""
    group = parser.add_argument_group("settings of the run", "as in config.yaml, which says what each is")
    add_fields(group, Settings, {name: option for name, option in OPTIONS.items() if name not in _START})
    for name in (name for name in OPTIONS if name in _START):
        group.add_argument(OPTIONS[name], type=type(_START[name]), default=_START[name])
    group.add_argument("--initial", type=Path, help="the model that the run begins with; without it random weights")


def from_options(options: Namespace) -> Settings:
    """The settings from the options of `add_options`. A file `options.initial` is known by its SHA-256."""
    initial = sha256(options.initial) if options.initial and not options.initial.is_dir() else ""
    return replace(values_of(options, Settings, OPTIONS), initial=initial)


def options_of(value: Any, options: Mapping[str, str]) -> list[str]:
    """The fields of a dataclass as words of a command line; `options` is {field: its option}."""
    return [word for name, option in options.items() for word in (option, _text(vars(value)[name]))]


def add_fields(parser: Any, kind: type, options: Mapping[str, str]) -> None:
    """Let a parser, or a group of one, take the fields of the dataclass `kind`, each of which is required."""
    kinds = get_type_hints(kind)
    for name, option in options.items():
        if kinds[name] is bool:
            parser.add_argument(option, required=True, choices=["true", "false"])
        else:
            parser.add_argument(option, required=True, type=kinds[name])


def values_of(arguments: Namespace, kind: type, options: Mapping[str, str]) -> Any:
    """The dataclass of the fields that `add_fields` has let a parser take."""
    kinds = get_type_hints(kind)
    found = vars(arguments)
    values = {name: found[option[2:].replace("-", "_")] for name, option in options.items()}
    return kind(**{name: value == "true" if kinds[name] is bool else value for name, value in values.items()})


def _text(value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
