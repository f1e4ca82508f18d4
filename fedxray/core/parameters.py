"""A model's parameters by name, as arrays and as a file. Imports no PyTorch."""

import numpy as np
from safetensors.numpy import load_file, save_file

from fedxray.core.files import atomic

Parameters = dict[str, np.ndarray]
MOMENTS, COUNTS = "optimizer/", "count/"  # what travels beside weights: optimizers' moments, and plain counts


def save_model(path, parameters: Parameters, metadata: dict[str, str] | None = None) -> None:
    """Write the parameters, and `metadata` about them, as safetensors (no pickle)."""
    with atomic(path) as temporary:
        save_file({name: np.ascontiguousarray(value) for name, value in parameters.items()}, temporary, metadata)


def load_model(path) -> Parameters:
    """Read parameters written by `save_model`."""
    return load_file(path)
