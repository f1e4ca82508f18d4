"""Half precision on the way: the model's weights travel as float16, and what travels beside them as it is.

The server sends its model rounded. A site answers how its own differs from what it got, rounded, and the server adds
the mean of that to its model, which is not rounded (as the master weights of Micikevicius et al. 2018,
arXiv:1710.03740). So changes that are smaller than the spacing of float16 at a weight are not lost, and no error is
added to that of a round before. An optimizer's second moments would be 0 in float16, and counts not exact: they stay
float32.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import torch

from fedxray.core.errors import UserError
from fedxray.core.parameters import Parameters

MOST = float(np.finfo(np.float16).max)


def halved(arrays: Parameters, names: Iterable[str]) -> Parameters:
    """The arrays, those of these names as float16: each value the nearest one, which is off by 2^-25 or 2^-12 of it.

    Raises UserError for a value that is not finite, or above 65504.
    """
    return arrays | {name: _half(name, arrays[name]) for name in names if arrays[name].dtype == np.float32}


def whole(arrays: Parameters) -> Parameters:
    """The arrays, those of float16 as float32."""
    return {name: _cast(value, torch.float32) if value.dtype == np.float16 else value for name, value in arrays.items()}


def difference(answer: Parameters, sent: Parameters, got: Parameters) -> Parameters:
    """A site's answer as it travels: of what was `sent` as float16, and `got` as float32, how the answer differs.

    Raises UserError as `halved`.
    """
    names = [name for name in answer if name in sent and sent[name].dtype == np.float16]
    return halved(answer | {name: answer[name] - got[name] for name in names}, names)


def changes(answers: Mapping[str, Parameters]) -> list[str]:
    """The names of what sites have answered as a difference, of their answers as they travelled."""
    return sorted({name for answer in answers.values() for name, value in answer.items() if value.dtype == np.float16})


def added(mean: Parameters, changed: Iterable[str], model: Parameters) -> Parameters:
    """A mean of answers whose `changed` arrays are differences (float32), as a mean of models."""
    return mean | {name: model[name] + mean[name] for name in changed}


def _half(name: str, array: np.ndarray) -> np.ndarray:
    if array.size and not (array.max() <= MOST and array.min() >= -MOST):  # so written that NaN is outside, too
        raise UserError(
            f"{name}: a value is not finite, or above {MOST:g}, and so has no half precision: training has diverged; "
            "take a smaller training.lr, or set algorithm.precision: float32"
        )
    return _cast(array, torch.float16)


def _cast(array: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """Rounded as by numpy, which takes 50 times as long for values below 2^-14, such as most differences are."""
    return torch.from_numpy(np.asarray(array)).to(dtype).numpy()
