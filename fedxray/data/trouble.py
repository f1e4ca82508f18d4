"""Trouble on purpose: what is made wrong with one hospital's data, to see which methods withstand it, and who notices.

Only the workflow does this, to images that are here. What a hospital of a remote federation holds is never touched.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fedxray.core.errors import UserError
from fedxray.core.seeds import stream
from fedxray.data.labels import SPLITS

# The splits of the hospital's own patients that each kind changes. How it labels and what it trains on concerns its
# training alone; but all its patients were in front of its scanner, those of the shared validation set too.
CHANGED = {"labels": ("train",), "inverted": SPLITS, "clipped": SPLITS, "noise": ("train",)}


@dataclass(frozen=True)
class Trouble:
    """The trouble of one hospital."""

    kind: str  # labels | inverted | clipped | noise
    site: str
    share: float  # of the patients (labels), or of the greys at each end (clipped); NaN for kinds that have none
    seed: int  # of the split

    def __post_init__(self):
        """Raise UserError for a share that leaves nothing to change, or no grey."""
        if self.kind == "labels" and not 0 < self.share <= 1:
            raise UserError(f"trouble.share: {self.share}, but labels needs a share above 0 and at most 1")
        if self.kind == "clipped" and not 0 < self.share < 0.5:
            raise UserError(f"trouble.share: {self.share}, but clipped needs a share above 0 and below 0.5")

    @property
    def about(self) -> dict:
        """What a data card says of it."""
        share = {} if math.isnan(self.share) else {"share": self.share}
        return {"kind": self.kind, "site": self.site} | share

    def changed(self, table: pd.DataFrame) -> np.ndarray:
        """Which rows of a split it changes, bool (rows,)."""
        return ((table["hospital"] == self.site) & table["split"].isin(CHANGED[self.kind])).to_numpy()

    def spoil(self, images: np.ndarray, table: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
        """The images, uint8 (n, size, size), and their rows of the split, as this hospital has them.

        `labels` turns round the labels of a share of its training patients; their aetiology stays what it is.
        `inverted` makes white of black. `clipped` is a window that is too narrow: the darkest and brightest greys, a
        share of the range at each end, become black and white, and the others are spread over the range. `noise` draws
        every pixel of its training images.
        """
        rows, rng = self.changed(table), stream(self.seed, "trouble", self.kind, self.site)
        if self.kind == "labels":
            patients = table["patient"][rows].drop_duplicates()  # as in the catalogue, whatever their keys are
            chosen = rng.permutation(len(patients))[: max(1, round(self.share * len(patients)))]
            turned = rows & table["patient"].isin(patients.iloc[chosen]).to_numpy()
            return images, table.assign(label=table["label"].where(~turned, 1 - table["label"]))
        images = images.copy()
        if self.kind == "noise":
            images[rows] = rng.integers(0, 256, images[rows].shape, dtype=np.uint8)
        else:
            images[rows] = self._scanner()[images[rows]]
        return images, table

    def _scanner(self) -> np.ndarray:
        """The grey that the scanner makes of each grey, uint8 (256,)."""
        greys = np.arange(256)
        if self.kind == "inverted":
            return (255 - greys).astype(np.uint8)
        window = (greys / 255 - self.share) / (1 - 2 * self.share)
        return np.rint(255 * np.clip(window, 0, 1)).astype(np.uint8)
