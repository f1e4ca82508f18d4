"""Resampling of pixels: every image once to a square of 8-bit grey, independent of splits and seeds."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from fedxray.core.files import atomic, read_table
from fedxray.data.catalogue import in_chunks
from fedxray.data.source import open_reader


def resample(path: Path, catalogue: Path, size: int, processes: int, output: Path, draft: bool = True) -> None:
    """Write a .npy of uint8 (images, size, size), row i the catalogue's row i; no more than an image is in memory.

    Each process writes its rows into the file, so that no pixels pass between processes.
    `draft` decodes JPEGs at a reduced scale, at least twice `size`, where they have that many pixels.
    """
    names = tuple(read_table(catalogue)["image"])
    with atomic(output) as temporary:
        np.lib.format.open_memmap(temporary, "w+", np.uint8, (len(names), size, size))
        for _ in in_chunks(_resample, path, tuple(enumerate(names)), processes, "resample", size, draft, temporary):
            pass


def _resample(path: Path, rows: tuple, size: int, draft: bool, output: Path) -> None:
    """Write each row (number, name) of a chunk into the array `output`, which is there."""
    source, pixels = open_reader(path), np.load(output, mmap_mode="r+")
    for number, name in rows:
        pixels[number] = to_grey(source.read(name), size, draft)


def to_grey(data: bytes, size: int, draft: bool = True) -> np.ndarray:
    """One encoded image as uint8 (size, size): upright, grey by ITU-R 601, stretched with antialiasing."""
    with Image.open(io.BytesIO(data)) as image:
        if draft:
            image.draft("L", (2 * size, 2 * size))  # libjpeg halves as it decodes; only JPEGs heed it
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith(("I", "F")):  # 16-bit greys, or wider: by the range of 16 bits
            image = Image.fromarray((np.clip(np.asarray(image, np.float64), 0, 65535) / 257).round().astype(np.uint8))
        if image.mode in ("P", "PA"):
            image = image.convert("RGBA")
        if image.mode in ("RGBA", "LA"):  # what is transparent is black, as outside the body
            image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))
        return np.asarray(image.convert("L").resize((size, size), Image.Resampling.BILINEAR))
