"""Pictures that an attacker makes of one update of a site, beside the true images."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure


def inversion(pictures: Sequence[Mapping[str, np.ndarray]]) -> Figure:
    """A row for each image: the true one (`true`), and the picture from each kind of update, float (size, size) each.

    Each is shown with its own greys, from its 1st to its 99th percentile, and with its correlation with the true one.
    """
    kinds = list(pictures[0])
    figure, axes = plt.subplots(
        len(pictures),
        len(kinds),
        figsize=(2.6 * len(kinds), 2.8 * len(pictures) + 0.4),
        layout="constrained",
        squeeze=False,
    )
    for line, shown in zip(axes, pictures, strict=True):
        for axis, kind in zip(line, kinds, strict=True):
            low, high = np.percentile(shown[kind], [1, 99])
            axis.imshow(shown[kind], cmap="gray", vmin=low, vmax=high)
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            if kind != "true":
                like = np.corrcoef(shown[kind].ravel(), shown["true"].ravel())[0, 1]
                axis.set_xlabel(f"correlation {like:.2f}", fontsize=9)
    for axis, kind in zip(axes[0], kinds, strict=True):
        axis.set_title("true phantom image" if kind == "true" else kind)
    return figure
