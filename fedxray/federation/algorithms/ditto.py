"""Ditto (Li et al. 2021, arXiv:2012.04221): beside the server's model each site trains one of its own, drawn to that.

The own model v goes on from round to round, with its own optimizer, and minimises the site's loss + attraction / 2
|v - x|², x being what the server sent. The server's model is that of federated averaging. With attraction 0 a site's
own model is the one that it trains alone, to the last bit; each round takes twice the steps.
"""

from fedxray.core.parameters import Parameters
from fedxray.federation.algorithms.fedavg import FedAvg, Site, apart, below, within
from fedxray.federation.algorithms.fedprox import proximal

MODEL, OWN_MOMENTS = "own/model/", "own/optimizer/"


class Ditto(FedAvg):
    """Federated averaging with a model at each site."""

    AT_SITE = True

    def train(self, site: Site, sent: Parameters) -> Parameters:
        """A site: its answer; its own model stays in its state."""
        answer, (start, _) = self.local(site, sent), apart(sent)
        own, moments = within(MODEL, self.state) or start, within(OWN_MOMENTS, self.state) or None
        own, moments_of = site.fit(own, moments, proximal(self.method.attraction, start), quiet=True)
        self.state |= below(MODEL, own) | below(OWN_MOMENTS, moments_of())
        return answer

    def personal(self, site: Site, sent: Parameters) -> tuple[Parameters, Parameters | None]:
        """A site: its own model, or the server's if it took part in no round."""
        model, _ = apart(sent)
        return within(MODEL, self.state) or model, within(OWN_MOMENTS, self.state) or None
