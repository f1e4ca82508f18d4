"""Federated averaging (McMahan et al. 2017, arXiv:1602.05629), which the other algorithms change a part of.

Each site trains the server's model on its own data, and the mean of their models, weighted by their images, is the
next. The sites' optimizers are new in each round (`moments: fresh`, as in the paper), stay at the site (`kept`), or are
averaged as the models are (`averaged`): with one site that is central training.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol

import numpy as np

from fedxray.core.parameters import MOMENTS, Parameters
from fedxray.experiment.method import Method
from fedxray.training.trainer import Correct


class Site(Protocol):
    """What a site's half of an algorithm is given to train with."""

    @property
    def steps(self) -> int:
        """The steps of this round."""

    @property
    def norms(self) -> frozenset[str]:
        """The names of the model's normalisation parameters."""

    def fit(
        self, model: Parameters, moments: Parameters | None = None, correct: Correct | None = None, quiet: bool = False
    ) -> tuple[Parameters, Callable[[], Parameters]]:
        """(the model, what copies its optimizer's moments) after this round's steps from `model`; see `Trainer.fit`.

        `quiet`: the rows are not those of the site's answer.
        """


class FedAvg:
    """One object at the server and one at each site; `state` is all that it keeps from round to round."""

    AT_SITE: ClassVar[bool] = False  # whether a site keeps something, whatever the method says of its optimizer

    def __init__(self, method: Method):
        self.method = method
        self.state: Parameters = {}

    @property
    def keeps(self) -> bool:
        """Whether a site keeps anything from round to round."""
        return self.AT_SITE or self.method.moments == "kept"

    def send(self, model: Parameters) -> Parameters:
        """The server: what every site gets in a round."""
        return model | self.state

    def update(self, model: Parameters, mean: Parameters, share: float) -> Parameters:
        """The server: the next model, from the mean of the answers of a `share` of the sites."""
        self.state = {name: value for name, value in mean.items() if name.startswith(MOMENTS)}
        return {name: mean[name] for name in model}

    def train(self, site: Site, sent: Parameters) -> Parameters:
        """A site: its answer."""
        return self.local(site, sent)

    def local(self, site: Site, sent: Parameters, correct: Correct | None = None) -> Parameters:
        """A site: the model that it trains from `sent`, and the moments if these are averaged."""
        model, moments = apart(sent)
        trained, moments_of = site.fit(model, self.going_on(moments), correct)
        if self.method.moments == "fresh":
            return trained
        named = below(MOMENTS, moments_of())
        if self.method.moments == "averaged":
            return trained | named
        self.state |= named
        return trained

    def personal(self, site: Site, sent: Parameters) -> tuple[Parameters, Parameters | None]:
        """A site: the model that it would use itself after the last round, and the moments to train it further."""
        model, moments = apart(sent)
        return model, self.going_on(moments)

    def going_on(self, sent: Parameters) -> Parameters | None:
        """A site: the moments that training goes on from, of which `sent` are the server's."""
        if self.method.moments == "kept":
            return within(MOMENTS, self.state) or None
        return sent or None


def apart(sent: Parameters) -> tuple[Parameters, Parameters]:
    """(the model, the averaged moments) of what the server sends."""
    return {name: value for name, value in sent.items() if not name.startswith(MOMENTS)}, within(MOMENTS, sent)


def below(prefix: str, arrays: Mapping[str, np.ndarray]) -> Parameters:
    """The arrays with a prefix to their names."""
    return {f"{prefix}{name}": value for name, value in arrays.items()}


def within(prefix: str, arrays: Mapping[str, np.ndarray]) -> Parameters:
    """The arrays whose names have a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
