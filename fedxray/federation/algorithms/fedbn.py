"""FedBN (Li et al. 2021, arXiv:2102.07623): each site keeps its own normalisation; the rest is averaged.

The paper keeps BatchNorm; here it is the scale and shift of whatever norms the model has (GroupNorm, LayerNorm). They
do not travel, so the server's model has the initial ones, and only the sites' models are of use.
"""

from fedxray.core.parameters import Parameters
from fedxray.federation.algorithms.fedavg import FedAvg, Site

OWN = "own/"


class FedBN(FedAvg):
    """Federated averaging of all but the normalisation."""

    AT_SITE = True

    def update(self, model: Parameters, mean: Parameters, share: float) -> Parameters:
        """The server: the next model."""
        return super().update(model, model | mean, share)

    def train(self, site: Site, sent: Parameters) -> Parameters:
        """A site: its model without its norms."""
        answer = self.local(site, self._with_own(sent))
        self.state |= {OWN + name: answer[name] for name in sorted(site.norms)}
        return {name: value for name, value in answer.items() if name not in site.norms}

    def personal(self, site: Site, sent: Parameters) -> tuple[Parameters, Parameters | None]:
        """A site: the server's model with its own norms."""
        return super().personal(site, self._with_own(sent))

    def _with_own(self, sent: Parameters) -> Parameters:
        return sent | {name: self.state[OWN + name] for name in sent if OWN + name in self.state}
