"""Optimizers at the server: it takes the change that the sites' mean makes for a gradient.

FedAvgM (Hsu, Qi, Brown 2019, arXiv:1909.06335): with momentum. FedAdam, FedYogi (Reddi et al. 2021, arXiv:2003.00295,
Algorithm 2): adaptive. `optimizer/` of the state are the sites' averaged moments, `server/` the server's.
"""

import numpy as np

from fedxray.core.parameters import MOMENTS, Parameters
from fedxray.federation.algorithms.fedavg import FedAvg

FIRST, SECOND = "server/first/", "server/second/"


class FedAvgM(FedAvg):
    """v = b v + (x - mean); x = x - s v. With momentum b = 0 and rate s = 1 it is federated averaging."""

    def send(self, model: Parameters) -> Parameters:
        """The server: the model, and the sites' averaged moments."""
        return model | {name: value for name, value in self.state.items() if name.startswith(MOMENTS)}

    def update(self, model: Parameters, mean: Parameters, share: float) -> Parameters:
        """The server: the next model."""
        kept = {name: value for name, value in self.state.items() if not name.startswith(MOMENTS)}
        target = super().update(model, mean, share)
        stepped = {name: self.step(name, model[name], target[name], kept) for name in model}
        self.state |= kept
        return stepped

    def step(self, name: str, model: np.ndarray, mean: np.ndarray, kept: Parameters) -> np.ndarray:
        """One array of the next model; `kept` is the server's state, which it changes. Computed in float64."""
        rate, momentum, x, m = self.method.server_lr, self.method.server_momentum, *_double(model, mean)
        before = kept.get(FIRST + name, np.zeros(x.shape))
        kept[FIRST + name] = momentum * before + (x - m)
        # In this form, and not x - rate * v, rounding leaves the mean as it is where rate is 1 and momentum 0.
        return (rate * m + (1 - rate) * x - rate * momentum * before).astype(model.dtype)


class FedAdam(FedAvgM):
    """m = b1 m + (1 - b1) d, v = b2 v + (1 - b2) d², x = x + s m / (sqrt(v) + tau), for d = mean - x."""

    def step(self, name: str, model: np.ndarray, mean: np.ndarray, kept: Parameters) -> np.ndarray:
        """One array of the next model."""
        x, m = _double(model, mean)
        change, first, second = m - x, kept.get(FIRST + name, np.zeros(x.shape)), kept.get(SECOND + name)
        if second is None:
            second = np.full(x.shape, self.method.tau**2)
        kept[FIRST + name] = first = self.method.beta1 * first + (1 - self.method.beta1) * change
        kept[SECOND + name] = second = self.second(second, change**2)
        return (x + self.method.server_lr * first / (np.sqrt(second) + self.method.tau)).astype(model.dtype)

    def second(self, before: np.ndarray, square: np.ndarray) -> np.ndarray:
        """The next second moment, from that of before and the square of the change."""
        return self.method.beta2 * before + (1 - self.method.beta2) * square


class FedYogi(FedAdam):
    """As FedAdam, but v = v - (1 - b2) d² sign(v - d²): it changes by no more than the square of the change."""

    def second(self, before: np.ndarray, square: np.ndarray) -> np.ndarray:
        """The next second moment."""
        return before - (1 - self.method.beta2) * square * np.sign(before - square)


def _double(*arrays: np.ndarray) -> list[np.ndarray]:
    return [array.astype(np.float64) for array in arrays]
