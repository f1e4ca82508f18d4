"""SCAFFOLD (Karimireddy et al. 2020, arXiv:1910.06378): control variates against the drift of sites that differ.

A site adds c - c_i to each gradient: c_i is its own mean gradient of the last round, c the sites' mean of these. The
paper's c_i (option II) is (x - y) / (K lr) + c_i - c, which is the mean of the round's gradients if the optimizer is
plain SGD. That mean is what is taken here, so that it holds for every optimizer; means are weighted by images, as the
models are.
"""

import numpy as np
import torch
from torch import nn

from fedxray.core.parameters import Parameters
from fedxray.federation.algorithms.fedavg import FedAvg, Site, below, within
from fedxray.training.trainer import Hook

CONTROL, CHANGE = "control/", "change/"  # c, at the server, and c_i, at a site; what a site's c_i changes by


class Scaffold(FedAvg):
    """Federated averaging with control variates."""

    AT_SITE = True

    def update(self, model: Parameters, mean: Parameters, share: float) -> Parameters:
        """The server: c moves by the mean change of the sites' c_i, times the share of sites that answered."""
        control = within(CONTROL, self.state)
        updated = super().update(model, mean, share)
        for name, change in within(CHANGE, mean).items():
            control[name] = (control.get(name, np.zeros_like(change)) + np.float32(share) * change).astype(change.dtype)
        self.state |= below(CONTROL, control)
        return updated

    def train(self, site: Site, sent: Parameters) -> Parameters:
        """A site: its model, and the change of its c_i."""
        gradients = _Gradients(within(CONTROL, sent), within(CONTROL, self.state))
        model = {name: value for name, value in sent.items() if not name.startswith(CONTROL)}
        answer = self.local(site, model, gradients.correct)
        before = within(CONTROL, self.state) or {name: np.zeros_like(answer[name]) for name in gradients.sums}
        means = {name: (total / site.steps).cpu().numpy() for name, total in gradients.sums.items() if site.steps}
        own = before | means  # a round without a step has no gradient
        self.state |= below(CONTROL, own)
        return answer | below(CHANGE, {name: own[name] - before[name] for name in own})

    def personal(self, site: Site, sent: Parameters) -> tuple[Parameters, Parameters | None]:
        """A site: the server's model."""
        return super().personal(site, {name: sent[name] for name in sent if not name.startswith(CONTROL)})


class _Gradients:
    """Sums a round's gradients, and corrects each by c - c_i."""

    def __init__(self, server: Parameters, own: Parameters):
        self.server, self.own = server, own
        self.sums: dict[str, torch.Tensor] = {}

    def correct(self, model: nn.Module) -> Hook:
        """What is called before each step."""
        named = dict(model.named_parameters())
        shift = {name: self._shift(name, parameter) for name, parameter in named.items()}
        self.sums = {name: torch.zeros_like(parameter) for name, parameter in named.items()}

        def add() -> None:
            for name, parameter in named.items():
                if parameter.grad is not None:
                    self.sums[name] += parameter.grad
                    parameter.grad.add_(shift[name])

        return add

    def _shift(self, name: str, parameter: nn.Parameter) -> torch.Tensor:
        zero = np.zeros(parameter.shape, np.float32)
        return parameter.new_tensor(self.server.get(name, zero) - self.own.get(name, zero))
