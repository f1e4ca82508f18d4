"""The section `privacy` of the configuration: what is shown less of, and how little. It imports no PyTorch."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from fedxray.experiment.method import Method
from fedxray.experiment.settings import add_fields, options_of, values_of


@dataclass(frozen=True)
class Privacy:
    """Differential privacy of a run. config.yaml says what each field is."""

    dp: str  # none | sites | sum
    epsilon: float
    delta: float
    clip: float
    lr: float
    patients_per_step: int
    steps: int
    colluders: int
    noise: str  # seeded | secret

    @property
    def slug(self) -> str:
        """What tells a federated run from one of other privacy, in names; empty without noise."""
        return "" if self.dp == "none" else f"{self.dp}+{self.spent}"

    @property
    def spent(self) -> str:
        """The same of a run that is no federation's: there the noise has but one place."""
        return "" if self.dp == "none" else f"epsilon={self.epsilon:g}"

    @property
    def by_itself(self) -> "Privacy":
        """The privacy of the same epsilon of one who trains without a federation."""
        return self if self.dp == "none" else replace(self, dp="sites", colluders=0)

    @property
    def training(self) -> dict[str, Any]:
        """Settings of training that a private run has instead of those of the configuration."""
        if self.dp == "none":
            return {}
        plain = {"shift": 0.0, "rotate": 0.0, "scale": 0.0, "contrast": 0.0, "flip": False}
        steady = {"lr": self.lr, "schedule": "constant", "optimizer": "sgd", "weight_decay": 0.0}
        return plain | steady | {"compile": False}

    def options(self) -> list[str]:
        """The section as options and values on a command line, for `add_options`."""
        return options_of(self, OPTIONS)


KEYS = tuple(field.name for field in fields(Privacy))
OPTIONS = {name: f"--privacy-{name.replace('_', '-')}" for name in KEYS}


def privacy_of(values: Mapping[str, Any]) -> Privacy:
    """The privacy of a configuration's section `privacy`."""
    return Privacy(**{name: values[name] for name in KEYS})


def faults_of(config: Mapping, values: Mapping[str, Any], method: Method, sites: int) -> list[str]:
    """What is wrong with a section `privacy` for a federation of so many sites: each `key: what; what to do`.

    `values` and `method` are those of one point of the sweep, and `config` has what no point changes.
    """
    privacy, faults = privacy_of(values), []
    if privacy.dp == "none":
        return faults
    if privacy.dp == "sum" and not values["secure_aggregation"]:
        faults.append("privacy.dp: sum needs privacy.secure_aggregation: true, or the server sees each site's sum")
    if privacy.dp == "sum" and sites < 3:
        faults.append(f"privacy.dp: sum of {sites} sites shows one the other's; name at least 3 sites, or take sites")
    if privacy.dp == "sum" and privacy.colluders > sites - 2:
        faults.append(f"privacy.colluders: {privacy.colluders} of {sites} sites; take at most {max(sites - 2, 0)}")
    plain = {"name": "fedavg", "mean": "weighted", "finetune": 0}
    plain |= {"precision": "float32"} if privacy.dp == "sum" else {}  # what travels is no model
    for name, value in plain.items():
        if getattr(method, name) != value:
            faults.append(f"algorithm.{name}: {getattr(method, name)}, but privacy.dp {privacy.dp} needs {value}")
    if privacy.noise == "secret" and config["federation"]["engine"] == "inprocess":
        faults.append(
            "privacy.noise: secret noise is never drawn again, but federation.engine: inprocess confirms its models by "
            "repeating them; set it to nvflare, or take noise: seeded"
        )
    if config["evaluation"]["contributions"]:
        faults.append("evaluation.contributions: true, but each coalition would spend epsilon anew; set it to false")
    if config["federation"]["absent"] != "fail":
        faults.append(f"federation.absent: drop, but privacy.dp {privacy.dp} needs every site; set it to fail")
    if config["split"]["balance"] != "none":
        faults.append(f"split.balance: {config['split']['balance']} looks at all labels without noise; set it to none")
    return faults


def add_options(parser: ArgumentParser) -> None:
    """Let a script take the privacy of a run on its command line, as `Privacy.options` writes it."""
    group = parser.add_argument_group("privacy of the run", "as in config.yaml, which says what each is")
    add_fields(group, Privacy, OPTIONS)


def from_options(options: Namespace) -> Privacy:
    """The privacy from the options of `add_options`."""
    return values_of(options, Privacy, OPTIONS)
