"""An external test: a source on which no hospital trains, as a site's folder whose images are all a test set."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, write_table
from fedxray.data.catalogue import bind, read_catalogue
from fedxray.data.labels import CLASSES
from fedxray.data.site import make_site, origin

CHUNK = 4096  # images whose pixels are in memory at once


def make_external(
    name: str,
    catalogue: Path,
    pixels: Path,
    summary: Path,
    training: Sequence[tuple[Path, Path]],
    same_patients: Iterable[Path],
    split: Path,
    folder: Path,
    fit: str = "stretch",
) -> None:
    """Write `split`, all images of the catalogue as the test set of the site `name`, and the site's folder.

    `training` has (catalogue, pixels) of each source on which hospitals train, and `same_patients` the catalogues among
    them whose patients have the same keys as these, because they are of the same data set: elsewhere equal keys are not
    the same person. Keys are compared as the sources name them; then patients who share an image are one, and a
    patient's key gets the name before it. Raises UserError if there are waves, if a class has no
    image, and if an image, by its pixels before or after resampling, or such a patient is in a training source too.
    """
    table = read_catalogue(catalogue)
    where = f"dataset.external: {name}"
    if "wave" in table:
        raise UserError(f"{where}: an external test has no waves; take the column wave out of its table")
    for label, word in enumerate(CLASSES):
        if not (table["label"] == label).any():
            raise UserError(f"{where}: no image is {word}; a test needs both classes")
    known, sources = set(same_patients), {path: read_catalogue(path) for path, _ in training}
    seen = {digest for source in sources.values() for digest in source["sha256_pixels"]}
    _refuse(where, "is also an image", table["image"][table["sha256_pixels"].isin(seen)])
    seen = {digest for _, values in training for digest in digests(values)}
    same = np.array([digest in seen for digest in digests(pixels)])
    _refuse(where, "has the same pixels here as an image", table["image"][same])
    keys = {key for path, source in sources.items() if path in known for key in source["patient"]}
    _refuse(where, "is of a patient", table["image"][table["patient"].isin(keys)])
    table = bind(table)
    rows = table[["image", "label", "aetiology"]].assign(patient=f"{name}/" + table["patient"], split="test", site=name)
    write_table(split, rows.assign(hospital=name))
    make_site(split, [pixels], name, folder, origin([read_json(summary)], fit))


def digests(pixels: Path) -> list[bytes]:
    """The SHA-256 of each image's values of the file `pixels`, uint8 (n, size, size)."""
    values = np.load(pixels, mmap_mode="r")
    chunks = (np.asarray(values[start : start + CHUNK]) for start in range(0, len(values), CHUNK))
    return [hashlib.sha256(image.tobytes()).digest() for chunk in chunks for image in chunk]


def _refuse(where: str, what: str, images: pd.Series) -> None:
    """Raises UserError if there are such images: what was trained on is no external test."""
    if len(images):
        more = f" (and {len(images) - 1} more)" if len(images) > 1 else ""
        raise UserError(
            f"{where}: {images.iloc[0]} {what} of the hospitals{more}; take a data set of other patients, or leave "
            "such images out of it"
        )
