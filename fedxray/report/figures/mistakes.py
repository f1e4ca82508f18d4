"""The most confident mistakes of a model, with Grad-CAM: where it looked."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from torch import nn

from fedxray.analysis.explanations import grad_cam
from fedxray.data.site import load_site
from fedxray.experiment.cohorts import Cohort
from fedxray.experiment.folder import Folder


def mistakes(model: nn.Module, wrong: pd.DataFrame, folder: Folder, cohort: Cohort, columns: int = 4) -> Figure:
    """Each mistake of `wrong` (rows of predictions) as it is, and under its Grad-CAM.

    `folder` has the data of the cohort's sites, on whose test sets the mistakes were made.
    """
    images = {}
    for name in wrong["set"].unique():
        site = load_site(folder.site(cohort, name))
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
