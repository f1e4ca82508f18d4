"""DP-SGD whose steps the hospitals take together: the noise is in the sum of all, not in each hospital's part.

In each round, which is one step, a site answers the noisy sum of its patients' clipped gradients, and the server takes
the step, by SGD with momentum. The noise of the sum is what one trainer that had all patients would add, so the model
is as good; but a site's part alone has too little, so that nobody but the site may see it (secure aggregation).
"""

from typing import Protocol, cast

import numpy as np

from fedxray.core.parameters import COUNTS, Parameters
from fedxray.experiment.method import Method
from fedxray.experiment.settings import Settings
from fedxray.federation.algorithms.fedavg import FedAvg, Site
from fedxray.training.trainer import learning_rate

VELOCITY, STEPS = "server/velocity/", f"{COUNTS}steps"


class Summing(Protocol):
    """What a site's half is given to make its answer."""

    def noisy_sum(self, model: Parameters) -> Parameters:
        """This round's sum of clipped gradients with noise, so scaled that the sites' weighted mean is the gradient."""


class PrivateSum(FedAvg):
    """v = b v + g; x = x - s v, for the sites' mean gradient g, the momentum b and the learning rate s of training."""

    def __init__(self, method: Method, settings: Settings, total: int):
        super().__init__(method)
        self.settings, self.total = settings, total

    def send(self, model: Parameters) -> Parameters:
        """The server: the model."""
        return model

    def update(self, model: Parameters, mean: Parameters, share: float) -> Parameters:
        """The server: the next model; computed in float64."""
        done = int(self.state.get(STEPS, np.zeros(1, np.int64))[0])
        rate = learning_rate(self.settings, done / self.total)
        state: Parameters = {STEPS: np.array([done + 1])}
        trained = [name for name in model if name in mean]  # others are frozen, or are no parameters
        for name in trained:
            before = self.state.get(VELOCITY + name, np.zeros(model[name].shape))
            state[VELOCITY + name] = self.settings.momentum * before + mean[name]
        self.state = state
        moved = {name: (model[name] - rate * state[VELOCITY + name]).astype(model[name].dtype) for name in trained}
        return model | moved

    def train(self, site: Site, sent: Parameters) -> Parameters:
        """A site: its answer."""
        return cast(Summing, site).noisy_sum(sent)
