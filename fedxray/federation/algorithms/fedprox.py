"""FedProx (Li et al. 2020, arXiv:1812.06127): a site's model is drawn to the server's by mu / 2 times their distance².

With mu 0 it is federated averaging.
"""

from torch import nn

from fedxray.core.parameters import Parameters
from fedxray.federation.algorithms.fedavg import FedAvg, Site
from fedxray.training.trainer import Correct, Hook


class FedProx(FedAvg):
    """Federated averaging with a proximal term at the sites."""

    def train(self, site: Site, sent: Parameters) -> Parameters:
        """A site: its answer."""
        return self.local(site, sent, proximal(self.method.mu))


def proximal(strength: float, centre: Parameters | None = None) -> Correct:
    """What adds the gradient of strength / 2 |w - c|² to each step; c is `centre`, or where training starts."""

    def correct(model: nn.Module) -> Hook:
        named = dict(model.named_parameters())
        centres = {
            name: parameter.detach().clone() if centre is None else parameter.new_tensor(centre[name])
            for name, parameter in named.items()
        }

        def add() -> None:
            for name, parameter in named.items():
                if parameter.grad is not None:
                    parameter.grad.add_(parameter.detach() - centres[name], alpha=strength)

        return add

    return correct
