"""The model that every run of an experiment begins with, made once, in the form of the experiment's own model.

Of torchvision's weights: the greys are standardised by ImageNet's mean m and deviation s (`trainer.GREYS`) in place of
each colour's m_c and s_c. A grey image has three equal colours, so the first layer W_c of colours (x - m_c) / s_c is
one of greys, sum W_c s / s_c, and one of a plane of ones, sum W_c (m - m_c) / s_c: the same numbers, at the padded
edges too. The new head is zero, which calls every image 0.5.
"""

from urllib.error import URLError

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn

from fedxray.core.errors import UserError
from fedxray.core.parameters import Parameters, load_model
from fedxray.experiment.start import TORCHVISION, file_of
from fedxray.training.models import COUNTED, OneLogit, build_model, first_layer, get_parameters, head_of
from fedxray.training.trainer import GREYS

TRANSFORMED = ("googlenet", "inception_v3")  # whose pretrained networks take greys less 0.5, over 0.5
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")  # heads of these that only their own training uses
STATISTICS = ("running_mean", "running_var", COUNTED.strip("."))  # of BatchNorm; a GroupNorm has none


def make_start(initial: str, name: str, image_size: int, norms: str, standardise: str) -> Parameters:
    """The parameters that `model.initial` names, for the model `name` of this form.

    Raises UserError if they cannot be read or downloaded, or if names or shapes do not fit.
    """
    model = build_model(name, image_size, 0, norms, standardise)
    if initial.startswith(TORCHVISION) and isinstance(model, OneLogit):
        return _checked(_of_torchvision(initial, name, model), model, initial, name)
    path = file_of(initial)
    try:
        found = load_model(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"model.initial: {path}: cannot be read ({error}); give a run's model.safetensors") from error
    return _checked(found, model, initial, name)


def _of_torchvision(initial: str, name: str, model: OneLogit) -> Parameters:
    """The weights of torchvision's network `name`, as `model` has them."""
    state, mean, deviation = _weights(initial, name)
    first, _ = first_layer(model.network)
    wanted, head = get_parameters(model), head_of(model)
    made = {
        f"network.{key}": value
        for key, value in state.items()
        if not key.startswith(AUXILIARY) and (f"network.{key}" in wanted or key.rpartition(".")[2] not in STATISTICS)
    }
    layer = f"network.{first}.weight"
    if layer in made and made[layer].ndim == 4 and made[layer].shape[1] == 3:
        made[layer] = grey(made[layer], mean, deviation)
    return made | {part: np.zeros_like(wanted[part]) for part in head}


def grey(weight: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """A first layer of three colours, float32 (n, 3, k, k), as one of greys and a plane of ones, (n, 2, k, k).

    `mean` and `deviation` (3,) are those by which the colours, from 0 to 1, are standardised.
    """
    centre, scale = GREYS
    double = weight.astype(np.float64)
    factors = np.stack([scale / deviation, (centre - mean) / deviation])
    return np.einsum("nchw,gc->nghw", double, factors).astype(np.float32)


def _weights(initial: str, name: str) -> tuple[Parameters, np.ndarray, np.ndarray]:
    """(the arrays by name, mean and deviation of the colours) of torchvision's weights for the network `name`."""
    import torchvision

    path, given = file_of(initial), initial.removeprefix(TORCHVISION)
    try:
        models = torchvision.models
        known = models.get_weight(given) if path is None else next(iter(models.get_model_weights(name)))
        if path is None:
            state = models.get_model(name, weights=known).state_dict()
        elif path.suffix == ".safetensors":
            return load_model(path), *_colours(known, name)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        arrays = {key: tensor.detach().numpy() for key, tensor in state.items()}
    except URLError as error:
        raise UserError(
            f"model.initial: {given} cannot be downloaded ({error.reason}); download it elsewhere, and give "
            f"{TORCHVISION}FILE"
        ) from error
    except Exception as error:  # what a file that is none raises is of many kinds
        raise UserError(
            f"model.initial: {given}: no weights of torchvision's ({str(error).splitlines()[0]}); give the name of "
            "some, or their file"
        ) from error
    return arrays, *_colours(known, name)


def _colours(weights, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the three colours, from 0 to 1, that torchvision's weights expect."""
    if name in TRANSFORMED:
        return np.full(3, 0.5), np.full(3, 0.5)
    preset = weights.transforms()
    return np.array(preset.mean), np.array(preset.std)


def _checked(found: Parameters, model: nn.Module, initial: str, name: str) -> Parameters:
    """`found` in the order of the model. Raises UserError if names or shapes are not those of `model`."""
    wanted = get_parameters(model)
    for key in dict.fromkeys([*wanted, *found]):
        if key not in found or key not in wanted:
            why = f"{key} is {'not in it' if key in wanted else f'no parameter of {name}'}"
        elif found[key].shape != wanted[key].shape:
            why = f"{key} has the shape {found[key].shape}, not {wanted[key].shape}"
        else:
            continue
        raise UserError(
            f"model.initial: {initial} does not fit {name}: {why}; give one of the same model.name, image_size, "
            "model.norms and model.standardise"
        )
    return {key: found[key].astype(wanted[key].dtype) for key in wanted}
