"""A model on its way between server and site, as NVFlare carries it at the least cost: one string of bytes.

Of a dictionary of arrays NVFlare makes a zip file per array, and reads that element by element of its own protocol.
"""

import numpy as np
from safetensors.numpy import load, save

from fedxray.parameters import Parameters

MODEL = "model"  # the only key: NVFlare wants the parameters of a model to be a dictionary


def pack(parameters: Parameters) -> dict[str, bytes]:
    """The parameters of an `FLModel` or `DXO`: the model as safetensors (no pickle)."""
    return {MODEL: save({name: np.require(value, requirements="C") for name, value in parameters.items()})}


def unpack(packed: dict[str, bytes]) -> Parameters:
    """The parameters that `pack` was given, name by name, in arrays of their own."""
    return load(packed[MODEL])
