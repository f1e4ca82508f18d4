"""Federated averaging (McMahan et al. 2017, Algorithm 1): the mean of the sites' models, weighted by their images."""

from collections.abc import Mapping

import numpy as np

from fedxray.core.parameters import Parameters

BLOCK = 65_536  # elements at a time: their sums stay in the cache


def fedavg(models: Mapping[str, Parameters], images: Mapping[str, int]) -> Parameters:
    """The image-weighted mean of `models` (by site); `images` is each site's number of training images.

    Sums in float64 in the order of the sites' names, so that the result does not depend on which site answered first,
    and returns each parameter in its own dtype. Raises ValueError if there is no image at all.
    """
    total = sum(images[site] for site in models)
    if total <= 0:
        raise ValueError("no site has a training image")
    sites = sorted(models)
    weights = [images[site] / total for site in sites]
    return {name: _mean([models[site][name] for site in sites], weights) for name in models[sites[0]]}


def _mean(arrays: list[np.ndarray], weights: list[float]) -> np.ndarray:
    """The weighted sum of arrays of one shape, in the shape and dtype of the first."""
    mean = np.empty(arrays[0].shape, arrays[0].dtype)
    flat, parts = mean.reshape(-1), [array.reshape(-1) for array in arrays]
    sums, term = np.empty((2, min(flat.size, BLOCK)))
    for start in range(0, flat.size, BLOCK):
        block = slice(start, start + BLOCK)
        size = flat[block].size
        sums[:size] = 0
        for part, weight in zip(parts, weights, strict=True):
            np.multiply(part[block], weight, out=term[:size], dtype=np.float64)
            sums[:size] += term[:size]
        flat[block] = sums[:size]
    return mean
