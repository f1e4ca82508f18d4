"""Resampling: every image is made a square of 8-bit grey once, whatever the splits and seeds are."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from fedxray.core.files import atomic, preallocated, read_table
from fedxray.core.workers import in_chunks
from fedxray.data.source import open_reader


def resample(path: Path, catalogue: Path, size: int, processes: int, output: Path, draft: bool = True) -> None:
    """Write a .npy of uint8 (images, size, size), whose row i is the image of the catalogue's row i.

    Each process writes its rows into the file: no pixels pass between processes, and one image at a time is in the
    memory of each. `draft` decodes JPEGs at a reduced scale, of at least twice `size`, where they are larger.
    """
    names = tuple(read_table(catalogue)["image"])
    with atomic(output) as temporary:
        preallocated(temporary, (len(names), size, size))
        rows = tuple(enumerate(names))
        for _ in in_chunks(_resample, rows, processes, "resample", path, size, draft, temporary):
            pass


def _resample(rows: tuple, path: Path, size: int, draft: bool, output: Path) -> None:
    """Write each row (number, name) of a chunk into the array of the file `output`."""
    source, pixels = open_reader(path), np.load(output, mmap_mode="r+")
    for number, name in rows:
        pixels[number] = to_grey(source.read(name), size, draft)


def to_grey(data: bytes, size: int, draft: bool = True) -> np.ndarray:
    """One encoded image as uint8 (size, size): upright, grey by ITU-R 601, stretched with antialiasing."""
    with Image.open(io.BytesIO(data)) as file:
        if draft:
            file.draft("L", (2 * size, 2 * size))  # libjpeg halves the size as it decodes; other formats ignore it
        ImageOps.exif_transpose(file, in_place=True)
        image: Image.Image = file
        if image.mode.startswith(("I", "F")):  # greys of 16 bits or more count by the range of 16 bits
            image = Image.fromarray((np.clip(np.asarray(image, np.float64), 0, 65535) / 257).round().astype(np.uint8))
        if image.mode in ("P", "PA"):
            image = image.convert("RGBA")
        if image.mode in ("RGBA", "LA"):  # transparent pixels become black, as outside the body
            image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))
        return np.asarray(image.convert("L").resize((size, size), Image.Resampling.BILINEAR))
