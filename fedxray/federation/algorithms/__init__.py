"""The federated algorithms, by name. Each is one class: a half at the server and a half at each site.

What travels is one set of arrays by name: the model's under their own names, what else there is below a prefix such as
`optimizer/`. The server's half sees the mean of the sites' answers alone, never one site's.
"""

from fedxray.experiment.method import Method
from fedxray.federation.algorithms.ditto import Ditto
from fedxray.federation.algorithms.fedavg import FedAvg
from fedxray.federation.algorithms.fedbn import FedBN
from fedxray.federation.algorithms.fednova import FedNova
from fedxray.federation.algorithms.fedopt import FedAdam, FedAvgM, FedYogi
from fedxray.federation.algorithms.fedprox import FedProx
from fedxray.federation.algorithms.scaffold import Scaffold

ALGORITHMS: dict[str, type[FedAvg]] = {
    "fedavg": FedAvg,
    "fedprox": FedProx,
    "fedavgm": FedAvgM,
    "fedadam": FedAdam,
    "fedyogi": FedYogi,
    "scaffold": Scaffold,
    "fednova": FedNova,
    "fedbn": FedBN,
    "ditto": Ditto,
}


def algorithm_of(method: Method) -> FedAvg:
    """A new half, without state, of the algorithm that `method` names."""
    return ALGORITHMS[method.name](method)
