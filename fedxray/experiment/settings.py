"""What one run trains with, and the options by which scripts take it. It imports no PyTorch, which takes seconds."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, get_type_hints


class Compute(NamedTuple):
    """Where a model computes, and how exactly."""

    device: str  # auto | cpu | cuda
    mixed_precision: bool  # bfloat16, on CUDA only
    threads: int  # CPU threads


@dataclass(frozen=True)
class Settings:
    """What one run trains with: the configuration's values, its point and its seed. config.yaml says what each is."""

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

    @property
    def compute(self) -> Compute:
        """Where the run computes."""
        return Compute(self.device, self.mixed_precision, self.threads)

    def options(self) -> list[str]:
        """The settings as options and values on a command line, for `add_options`."""
        return options_of(self, OPTIONS)


OPTIONS = {field.name: f"--{field.name.replace('_', '-')}" for field in fields(Settings)}


def add_options(parser: ArgumentParser) -> None:
    """Let a script take every setting of a run on its command line, as `Settings.options` writes them."""
    group = parser.add_argument_group("settings of the run", "as in config.yaml, which says what each is")
    add_fields(group, Settings, OPTIONS)


def from_options(options: Namespace) -> Settings:
    """The settings from the options of `add_options`."""
    return values_of(options, Settings, OPTIONS)


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
