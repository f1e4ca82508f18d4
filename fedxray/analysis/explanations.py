"""Where a model is most confidently wrong, and where it looked: Grad-CAM."""

import numpy as np
import pandas as pd
import torch
from captum.attr import LayerAttribution, LayerGradCam
from torch import nn

from fedxray.training.trainer import standard_of, standardise


def confident_mistakes(predictions: pd.DataFrame, threshold: float, count: int = 12) -> pd.DataFrame:
    """The `count` test images on the wrong side of `threshold` whose probability is farthest from their label."""
    tests = predictions[predictions["set"] != "validation"]
    wrong = tests[(tests["probability"] >= threshold) != (tests["label"] == 1)]
    order = (wrong["probability"] - wrong["label"]).abs().sort_values(ascending=False, kind="stable")
    return wrong.loc[order.index[:count]]


def grad_cam(model: nn.Module, image: np.ndarray) -> np.ndarray:
    """Where the last convolution speaks for pneumonia, float32 (size, size) from 0 to 1, of a uint8 (size, size) image.

    Grad-CAM (Selvaraju et al. 2017): the layer's channels weighted by the mean gradient of the logit, negative cut off.
    """
    layer = [module for module in model.modules() if isinstance(module, nn.Conv2d)][-1]
    model.cpu().eval()
    pixels = standardise(torch.from_numpy(image[None].copy()), standard_of(model))
    maps = LayerGradCam(model, layer).attribute(pixels, relu_attributions=True)
    heat = LayerAttribution.interpolate(maps, image.shape, "bilinear")[0, 0].detach().numpy()
    return heat / heat.max() if heat.max() > 0 else heat
