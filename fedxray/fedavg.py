"""Federated averaging (McMahan et al. 2017, Algorithm 1): the mean of the sites' models, weighted by their images."""

from collections.abc import Mapping

import numpy as np

from fedxray.parameters import Parameters


def fedavg(models: Mapping[str, Parameters], images: Mapping[str, int]) -> Parameters:
    """The image-weighted mean of `models` (by site); `images` is each site's number of training images.

    Sums in float64 in the order of the sites' names, so that the result does not depend on which site answered first,
    and returns each parameter in its own dtype. Raises ValueError if there is no image at all.
    """
    total = sum(images[site] for site in models)
    if total <= 0:
        raise ValueError("no site has a training image")
    sites = sorted(models)
    mean = {}
    for name, first in models[sites[0]].items():
        weighted = (models[site][name].astype(np.float64) * (images[site] / total) for site in sites)
        mean[name] = sum(weighted, np.zeros(first.shape)).astype(first.dtype)
    return mean
