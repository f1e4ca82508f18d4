"""Figures of the data: what each site has, and what its images look like."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from fedxray.core.files import read_table
from fedxray.data.site import SiteFolder
from fedxray.report.figures import title

AETIOLOGY = {"none": "#BBBBBB", "virus": "#56B4E9", "bacteria": "#E69F00", "unknown": "#CC79A7"}


def site_data(cards: Mapping[str, list[dict]]) -> Figure:
    """Training and test images of each site by aetiology, with the prevalence of pneumonia; a row for each cohort.

    `cards` has the data cards of each cohort's sites.
    """
    heights = [0.7 + 0.45 * len(sites) for sites in cards.values()]
    figure, axes = plt.subplots(
        len(cards),
        2,
        figsize=(10, sum(heights) + 0.8),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
        sharex="col",
    )
    for line, (cohort, sites) in zip(axes, cards.items(), strict=True):
        for axis, split in zip(line, ("train", "test"), strict=True):
            for number, card in enumerate(sites):
                _bar(axis, number, card["splits"][split])
            axis.set(yticks=range(len(sites)), yticklabels=[card["site"] for card in sites])
            axis.margins(x=0.4)
            axis.grid(False)
            axis.invert_yaxis()
            title(axis, ", ".join(filter(None, [split, cohort])))
    for axis in axes[-1]:
        axis.set_xlabel("images")
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in AETIOLOGY.values()]
    names = ["normal" if name == "none" else name for name in AETIOLOGY]
    seen = {name for sites in cards.values() for card in sites for name in card["splits"]["train"]["aetiologies"]}
    shown = [(handle, name) for handle, name, key in zip(handles, names, AETIOLOGY, strict=True) if key in seen]
    figure.legend(*zip(*shown, strict=True), loc="outside lower center", ncols=4)
    return figure


def _bar(axis, y: int, split: dict) -> None:
    left = 0
    for aetiology, colour in AETIOLOGY.items():
        if count := split["aetiologies"].get(aetiology, 0):
            axis.barh(y, count, left=left, color=colour, edgecolor="white")
            left += count
    axis.text(left, y, f"  {split['prevalence']:.0%} pneumonia", va="center", fontsize=9)


def gallery(sites: Mapping[str, SiteFolder], columns: int = 4) -> Figure:
    """The first training images of each class at each site (by name), in catalogue order, one per patient."""
    figure, axes = plt.subplots(
        len(sites), 2 * columns, figsize=(2.6 * columns, 1.5 * len(sites)), layout="constrained", squeeze=False
    )
    for line, (name, site) in zip(axes, sites.items(), strict=True):
        table, images = read_table(site.table), np.load(site.images, mmap_mode="r")
        train = table[table["split"] == "train"].drop_duplicates("patient")
        for label in (0, 1):
            chosen = train.index[train["label"] == label][:columns]
            for axis, row in zip(line[label * columns :], chosen, strict=False):
                axis.imshow(images[row], cmap="gray", vmin=0, vmax=255)
        for axis in line:
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
        line[0].set_ylabel(name)
    axes[0, 0].set_title("normal", loc="left")
    axes[0, columns].set_title("pneumonia", loc="left")
    return figure
