"""FedNova (Wang et al. 2020, arXiv:2007.07481): sites that take more steps do not pull more.

Each site answers its change for one step, d_i = (x - y_i) / t_i, and its number of steps t_i. The server moves by their
mean, times the mean number of steps: x - t d. Where sites take equally many steps it is federated averaging, but for
rounding. The paper derives t_i for SGD; for AdamW it is the number of steps too, which is what each step of it is
bounded by.
"""

import numpy as np

from fedxray.core.parameters import COUNTS, Parameters
from fedxray.federation.algorithms.fedavg import FedAvg, Site, apart, below, within

CHANGE, STEPS = "change/", f"{COUNTS}steps"


class FedNova(FedAvg):
    """Federated averaging of changes for one step."""

    def update(self, model: Parameters, mean: Parameters, share: float) -> Parameters:
        """The server: the next model."""
        steps, change = mean[STEPS][0], within(CHANGE, mean)
        moved = {name: (model[name] - steps * change[name]).astype(model[name].dtype) for name in model}
        return super().update(model, mean | moved, share)

    def train(self, site: Site, sent: Parameters) -> Parameters:
        """A site: its change for one step, its steps, and the moments if these are averaged."""
        answer = self.local(site, sent)
        model, _ = apart(sent)
        steps = np.array([site.steps], np.float32)
        change = {name: (model[name] - answer[name]) / np.float32(max(site.steps, 1)) for name in model}
        rest = {name: value for name, value in answer.items() if name not in model}
        return below(CHANGE, change) | rest | {STEPS: steps}
