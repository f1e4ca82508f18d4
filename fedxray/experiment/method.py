"""The method of a federated run: how sites and server work together. It imports no PyTorch.

`federation/algorithms/` has what each algorithm does; config.yaml says when to use which, and what each number is.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from fedxray.experiment.settings import add_fields, options_of, values_of

# The numbers of each algorithm and of each mean, which no other uses.
NUMBERS = {
    "fedprox": ("mu",),
    "fedavgm": ("server_lr", "server_momentum"),
    "fedadam": ("server_lr", "beta1", "beta2", "tau"),
    "fedyogi": ("server_lr", "beta1", "beta2", "tau"),
    "ditto": ("attraction",),
}
MEAN_NUMBERS = {
    "trimmed": ("trim",),
    "krum": ("byzantine",),
    "multikrum": ("byzantine",),
    "screened": ("byzantine",),
}
LEAST_SECURE = 3  # sites of a secure aggregation: of two, each would learn the other's answer from the sum
PERSONAL = ("fedbn", "ditto")  # algorithms after which each site has a model of its own


@dataclass(frozen=True)
class Method:
    """What a federated run does besides training. config.yaml says what each field is (`algorithm.name` is `name`)."""

    name: str  # the algorithm: fedavg | fedprox | fedavgm | fedadam | fedyogi | scaffold | fednova | fedbn | ditto
    mean: str  # weighted | median | trimmed | krum | multikrum | screened
    moments: str  # of the sites' optimizers: fresh | kept | averaged
    finetune: int  # the last epochs of the budget, which each site trains by itself; 0: none
    finetune_stop: str  # budget: all of these | validation: the best of them by the site's own validation
    mu: float
    attraction: float
    server_lr: float
    server_momentum: float
    beta1: float
    beta2: float
    tau: float
    trim: float
    byzantine: int
    precision: str  # of the model's weights as they travel: float32 | float16
    secure_aggregation: bool  # `privacy.secure_aggregation`: the server learns the sum of the sites' answers alone

    @property
    def is_personal(self) -> bool:
        """Whether each site has a model of its own in the end; then these are compared, and not the global one."""
        return self.name in PERSONAL or self.finetune > 0

    @property
    def slug(self) -> str:
        """What the method is called in paths and tables: its algorithm, and all that is not plain, joined by +."""
        parts = [self.name, *[self.mean] * (self.mean != "weighted"), *[self.moments] * (self.moments != "fresh")]
        parts += ["finetuned"] * (self.finetune > 0) + ["half"] * (self.precision == "float16")
        return "+".join(parts + ["secure"] * self.secure_aggregation)

    @property
    def numbers(self) -> dict[str, float | int | str]:
        """The numbers that the method uses, by name: what may be chosen by validation."""
        used = (*NUMBERS.get(self.name, ()), *MEAN_NUMBERS.get(self.mean, ()))
        used += ("finetune", "finetune_stop") if self.finetune else ()
        return {name: vars(self)[name] for name in used}

    def options(self) -> list[str]:
        """The method as options and values on a command line, for `add_options`."""
        return options_of(self, OPTIONS)


OPTIONS = {field.name: f"--algorithm-{field.name.replace('_', '-')}" for field in fields(Method)}
KEYS = tuple(name for name in OPTIONS if name != "secure_aggregation")  # of the section `algorithm`

# The method of a model that is trained by one site: the mean of one model is that model, and its optimizer goes on.
PLAIN = Method("fedavg", "weighted", "kept", 0, "budget", 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0, "float32", False)


def method_of(values: Mapping[str, Any], privacy: Mapping[str, Any]) -> Method:
    """The method of a configuration's sections `algorithm` and `privacy`."""
    return Method(**{name: values[name] for name in KEYS}, secure_aggregation=privacy["secure_aggregation"])


def faults_of(method: Method, sites: int) -> list[str]:
    """What is wrong with a method for a federation of so many sites: each `key: what; what to do`."""
    faults = []
    out = left_out(method.trim, sites)
    if method.mean == "trimmed" and out < 1:
        faults.append(
            f"algorithm.trim: {method.trim:g} of {sites} sites leaves none out; take at least {_up(1 / sites)}"
        )
    if method.mean == "trimmed" and 2 * out >= sites:
        faults.append(f"algorithm.trim: {method.trim:g} of {sites} sites at both ends leaves no site; take less")
    least = {"krum": 2 * method.byzantine + 3, "multikrum": 2 * method.byzantine + 3, "screened": method.byzantine + 1}
    if sites < least.get(method.mean, 0):
        faults.append(
            f"algorithm.mean: {method.mean} with algorithm.byzantine {method.byzantine} needs {least[method.mean]} "
            f"sites, and there are {sites}; take fewer byzantine, more sites, or mean: median"
        )
    if method.mean in MEAN_NUMBERS and method.mean != "trimmed" and method.byzantine < 1:
        faults.append(f"algorithm.byzantine: 0 with mean: {method.mean} guards against nobody; take at least 1")
    if method.mean == "median" and sites < 3:
        faults.append(f"algorithm.mean: the median of {sites} sites is their mean; name at least 3 sites")
    if method.mean == "screened" and method.name in ("fednova", "fedbn"):
        faults.append(f"algorithm.mean: screened validates whole models, which {method.name} does not send")
    if method.secure_aggregation and method.mean != "weighted":
        faults.append(
            f"privacy.secure_aggregation: {method.mean} needs each hospital's answer, and secure aggregation shows the "
            "server their sum alone; take algorithm.mean: weighted, or set it to false"
        )
    if method.secure_aggregation and sites < LEAST_SECURE:
        faults.append(
            f"privacy.secure_aggregation: {sites} sites are too few, because one would learn another's answer from the "
            f"sum; name at least {LEAST_SECURE} sites, or set it to false"
        )
    return faults


def quorum(sites: int) -> int:
    """How many of so many sites must take part in each step of a secure aggregation that survives absent ones.

    It is the threshold of Bonawitz et al. 2017 for a malicious server, more than two thirds: any two such sets have
    more than a third of the sites in common, and an honest one of these takes part with but one of the two sets.
    """
    return 2 * sites // 3 + 1


def left_out(share: float, sites: int) -> int:
    """How many of so many sites a trimmed mean leaves out at each end."""
    return int(share * sites + 1e-9)


def add_options(parser: ArgumentParser) -> None:
    """Let a script take a method on its command line, as `Method.options` writes it."""
    group = parser.add_argument_group("method of the federation", "as in config.yaml, which says what each is")
    add_fields(group, Method, OPTIONS)


def from_options(options: Namespace) -> Method:
    """The method from the options of `add_options`."""
    return values_of(options, Method, OPTIONS)


def _up(share: float) -> str:
    """A share, rounded up to two digits."""
    return f"{-(-share * 100 // 1) / 100:.2f}"
