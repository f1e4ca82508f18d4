"""The most confident mistakes of a model, with Grad-CAM: where it looked."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from captum.attr import LayerAttribution, LayerGradCam
from matplotlib.figure import Figure
from torch import nn

from fedxray.data.site import load_site
from fedxray.training.trainer import standardise


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
    maps = LayerGradCam(model, layer).attribute(
        standardise(torch.from_numpy(image[None].copy())), relu_attributions=True
    )
    found = LayerAttribution.interpolate(maps, image.shape, "bilinear")[0, 0].detach().numpy()
    return found / found.max() if found.max() > 0 else found


def mistakes(model: nn.Module, wrong: pd.DataFrame, sites: Path, columns: int = 4) -> Figure:
    """Each mistake of `wrong` (rows of predictions) as it is and under its Grad-CAM; `sites` has the sites' folders."""
    images = {}
    for name in wrong["set"].unique():
        site = load_site(sites / name)
        rows = dict(zip(site.table["image"], range(len(site.table)), strict=True))
        images |= {image: site.images[rows[image]] for image in wrong["image"][wrong["set"] == name]}
    lines = max(1, -(-len(wrong) // columns))
    figure, axes = plt.subplots(
        lines, 2 * columns, figsize=(3.2 * columns, 2.1 * lines), layout="constrained", squeeze=False
    )
    for axis in axes.flat:
        axis.axis("off")
    if wrong.empty:
        axes[0, 0].text(0, 0.5, "no test image is on the wrong side of the threshold")
    for number, (_, row) in enumerate(wrong.iterrows()):
        image = images[row["image"]]
        plain, over = axes.flat[2 * number : 2 * number + 2]
        for axis in (plain, over):
            axis.imshow(image, cmap="gray", vmin=0, vmax=255)
        over.imshow(grad_cam(model, image), cmap="inferno", alpha=0.5, vmin=0, vmax=1)
        truth = {"none": "normal"}.get(row["aetiology"], f"pneumonia, {row['aetiology']}")
        plain.set_title(f"{truth}\nprobability {row['probability']:.2f}, {row['set']}", loc="left", fontsize=8)
    return figure
