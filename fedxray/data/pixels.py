"""Resampling: every image is made a square of 8-bit grey once, whatever the splits and seeds are.

Images of 8 bits are taken as they are. The greys of deeper ones mean nothing without a range, which one file cannot
tell: a whole data set has one, `greys`, declared or found by `common_range`. A DICOM tells its own.
"""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from fedxray.core.errors import UserError
from fedxray.core.files import atomic, preallocated, read_table
from fedxray.core.workers import in_chunks
from fedxray.data.decoded import Facts, Unreadable, decoding, scaled, sha256_of
from fedxray.data.source import open_reader

__all__ = ["Facts", "Unreadable", "common_range", "inspect", "resample", "to_grey"]

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")  # what files that are called .jpeg or .png hold
DEPTHS = (8, 10, 12, 14, 16)  # bits that detectors and archives use
GREY_PNG = 0  # a PNG's colour type
UNSIGNED, SIGNED = 1, 2  # TIFF's SampleFormat
WHITE_IS_ZERO = 0  # TIFF's PhotometricInterpretation


def resample(
    path: Path,
    catalogue: Path,
    size: int,
    processes: int,
    output: Path,
    draft: bool = True,
    fit: str = "stretch",
    greys: tuple[float, float] | None = None,
) -> None:
    """Write a .npy of uint8 (images, size, size), whose row i is the image of the catalogue's row i.

    Each process writes its rows into the file: no pixels pass between processes, and one image at a time is in the
    memory of each. `draft` decodes JPEGs at a reduced scale, of at least twice `size`, where they are larger. `fit` and
    `greys` are those of `to_grey`. Raises UserError for the first image that cannot be read.
    """
    table = read_table(catalogue, ("image", "sha256"))
    with atomic(output) as temporary:
        preallocated(temporary, (len(table), size, size))
        rows = tuple(zip(range(len(table)), table["image"], table["sha256"], strict=True))
        for _ in in_chunks(_resample, rows, processes, "resample", path, size, fit, greys, draft, temporary):
            pass


def _resample(
    rows: tuple, path: Path, size: int, fit: str, greys: tuple[float, float] | None, draft: bool, output: Path
) -> None:
    """Write each row (number, name, SHA-256) of a chunk into the array of the file `output`."""
    source, pixels = open_reader(path), np.load(output, mmap_mode="r+")
    for number, name, digest in rows:
        try:
            data = source.read(name)
            pixels[number] = to_grey(data, size, fit, greys, draft)
        except (Unreadable, OSError) as error:
            raise UserError(f"{path}: {name} cannot be read ({error}); make the catalogue again") from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise UserError(f"{path}: {name} has changed since the catalogue was made; run the workflow again")


def to_grey(
    data: bytes, size: int, fit: str = "stretch", greys: tuple[float, float] | None = None, draft: bool = True
) -> np.ndarray:
    """One encoded image as uint8 (size, size): upright, grey by ITU-R 601, with antialiasing.

    `fit` is "stretch", or "pad" to keep the ratio of the sides, in the middle of black. `greys` are the values that
    become black and white in an image of more than 8 bits, and in a DICOM without a window (after its modality LUT).
    Raises Unreadable if the image cannot be decoded, and if it needs `greys` and there are none.
    """
    with decoding():
        if _is_dicom(data):
            from fedxray.data import dicom  # imported where there are DICOMs: it takes longer than a hundred images

            return _fitted(Image.fromarray(dicom.read_grey(data, greys)), size, fit)
        with _open(data) as file:
            if draft:
                file.draft("L", (2 * size, 2 * size))  # libjpeg halves the size as it decodes; other formats ignore it
            return _fitted(_deep_image(file, data, greys) if _is_deep(file, data) else _grey_image(file), size, fit)


def inspect(data: bytes) -> Facts:
    """What the catalogue keeps of one encoded image, decoded to its end. Raises Unreadable."""
    with decoding():
        if _is_dicom(data):
            from fedxray.data import dicom

            return dicom.inspect(data)
        with _open(data) as file:
            mode = file.mode
            if not _is_deep(file, data):
                image = _grey_image(file)
                return Facts(image.width, image.height, mode, sha256_of(np.asarray(image)))
            values = _deep_values(file, data)
        height, width = values.shape
        low, high = float(values.min()), float(values.max())
        return Facts(width, height, mode, sha256_of(values), low, high, values.dtype.kind in "iu")


def common_range(low: float, high: float, whole: bool) -> tuple[float, float]:
    """The values that are black and white in a data set of more than 8 bits, whose values go from `low` to `high`.

    Whole values from 0 on count by the fewest bits that hold them, so that an image more or less seldom changes the
    others; any other values by where they begin and end.
    """
    if whole and low >= 0:
        for bits in DEPTHS:
            if high < 2**bits:
                return 0.0, float(2**bits - 1)
    return low, high


def _is_dicom(data: bytes) -> bool:
    """Whether the bytes begin as a DICOM file does."""
    return data[128:132] == b"DICM"


@contextmanager
def _open(data: bytes) -> Iterator[Image.Image]:
    """The one image of a file, not decoded yet."""
    try:
        file = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        if data.startswith((b"II*\0", b"MM\0*")):
            raise Unreadable("a kind of TIFF that Pillow cannot decode") from None
        raise
    with file:
        frames = getattr(file, "n_frames", 1)
        if frames > 1 and file.format != "MPO":  # a camera's JPEG: the others are its small copies
            raise Unreadable(f"{frames} images in one file; one is needed")
        yield file


def _depth(file: Image.Image, data: bytes) -> int:
    """The bits of a value. Raises Unreadable if Pillow would cut the values to 8 bits."""
    if isinstance(file, TiffImagePlugin.TiffImageFile):
        depths = file.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
        bits, samples = max(depths), max(len(depths), file.tag_v2.get(TiffImagePlugin.SAMPLESPERPIXEL, 1))
    elif file.format == "PNG":
        bits, samples = data[24], 1 if data[25] == GREY_PNG else 2  # in IHDR, a PNG's first chunk
    else:
        return 8
    if bits > 8 and samples > 1:
        raise Unreadable(f"{bits} bits with colour or transparency; save it as grey alone")
    return bits


def _is_deep(file: Image.Image, data: bytes) -> bool:
    """Whether the values need a range: more than 8 bits, or signed, or floats."""
    return _depth(file, data) > 8 or _sample_format(file) != UNSIGNED


def _sample_format(file: Image.Image) -> int:
    """`UNSIGNED`, `SIGNED` or another of TIFF's."""
    formats = file.tag_v2 if isinstance(file, TiffImagePlugin.TiffImageFile) else {}
    return max(formats.get(TiffImagePlugin.SAMPLEFORMAT, (UNSIGNED,)))


def _grey_image(file: Image.Image) -> Image.Image:
    """An image of at most 8 bits: upright, grey by ITU-R 601."""
    ImageOps.exif_transpose(file, in_place=True)
    image: Image.Image = file
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "LA"):  # transparent pixels become black, as outside the body
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))
    return image if image.mode == "L" else image.convert("L")


def _deep_values(file: Image.Image, data: bytes) -> np.ndarray:
    """The stored values of an image that `_is_deep`: upright, integers or floats (height, width)."""
    bits, form = _depth(file, data), _sample_format(file)
    if isinstance(file, TiffImagePlugin.TiffImageFile):
        packed = file.tag_v2.get(TiffImagePlugin.COMPRESSION, 1) != 1
        if packed and file.mode in ("I", "F") and data.startswith(b"MM"):  # Pillow takes their bytes in the wrong order
            raise Unreadable("a compressed big-endian TIFF; save it without compression")
    ImageOps.exif_transpose(file, in_place=True)
    values = np.asarray(file)
    if (bits, form) == (8, SIGNED):
        values = values.view(np.int8)
    if (bits, form) == (32, UNSIGNED):  # Pillow shows values of 2^31 and more as negative
        values = values.view(np.uint32)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise Unreadable("values that are not finite")
    return values


def _deep_image(file: Image.Image, data: bytes, greys: tuple[float, float] | None) -> Image.Image:
    """The greys of an image that `_is_deep`. White is zero by turning them: the range is that of the stored values."""
    values = _deep_values(file, data)
    if greys is None:
        raise Unreadable("more than 8 bits: it needs a range of greys, the values that are black and white")
    grey = scaled(values, *greys)
    tags = file.tag_v2 if isinstance(file, TiffImagePlugin.TiffImageFile) else {}
    return Image.fromarray(
        255 - grey if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO else grey
    )


def _fitted(image: Image.Image, size: int, fit: str) -> np.ndarray:
    """The grey image as uint8 (size, size), by `fit` of `to_grey`."""
    if fit == "stretch":
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    longest = max(image.size)
    width, height = (max(1, round(side * size / longest)) for side in image.size)
    square = Image.new("L", (size, size))
    square.paste(image.resize((width, height), Image.Resampling.BILINEAR), ((size - width) // 2, (size - height) // 2))
    return np.asarray(square)
