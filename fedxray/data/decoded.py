"""What is known of one image file once it is decoded, whatever its format, and why it cannot be decoded."""

import errno
import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

MACHINES = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC)  # faults that are not the image's
LARGEST = 178_956_970  # pixels, of any format: where Pillow stops too


class Unreadable(Exception):
    """An image that cannot be decoded, or not without a guess; its text is the reason in a few words."""


@dataclass(frozen=True)
class Facts:
    """What the catalogue keeps of an image, and nothing else of a header."""

    width: int  # pixels, upright
    height: int
    mode: str  # Pillow's, or for example "DICOM MONOCHROME1 12 bits"
    sha256_pixels: str  # of the decoded values: files of the same pixels are duplicates, whatever their bytes are
    low: float | None = None  # the smallest stored value, where the file does not say which values are black and white
    high: float | None = None
    whole: bool = True  # the values are integers
    reach: float | None = None  # of a DICOM without a window: the share of the declared range that its values span
    patient: str = ""  # PatientID of a DICOM
    view: str = ""  # ViewPosition of a DICOM, in capitals
    burned_in: bool = False  # a DICOM says that text is burned into its pixels
    dicom: bool = False


@contextmanager
def decoding() -> Iterator[None]:
    """Turn whatever a decoder raises on broken bytes into `Unreadable`, and keep its warnings to itself.

    Neither the texts of a decoder nor its exceptions go further: they may quote a header. What is wrong with the
    machine, such as too many open files, is raised as it is.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Unreadable:
        raise
    except UnidentifiedImageError:
        raise Unreadable("neither JPEG, PNG, TIFF, BMP nor DICOM") from None
    except (MemoryError, Image.DecompressionBombError):
        raise Unreadable("too large") from None
    except Exception as error:  # a decoder can raise anything
        if isinstance(error, OSError) and error.errno in MACHINES:
            raise
        cut = isinstance(error, EOFError) or any(
            word in str(error).lower() for word in ("truncated", "less than expected")
        )
        raise Unreadable("cut short" if cut else "broken") from None


def sha256_of(values: np.ndarray) -> str:
    """The SHA-256 of upright values, their shape and type; integers count in the smallest type that holds them."""
    if values.dtype.kind in "iu" and values.dtype.itemsize > 1 and values.size:
        low, high = int(values.min()), int(values.max())
        values = values.astype(np.result_type(np.min_scalar_type(low), np.min_scalar_type(high)), copy=False)
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{values.shape} {values.dtype.str} ".encode())
    digest.update(values.data)
    return digest.hexdigest()


def scaled(values: np.ndarray, black: float, white: float) -> np.ndarray:
    """The values as uint8: those up to `black` are 0, those from `white` on 255, rounded in between.

    Raises Unreadable if black is not less than white.
    """
    if not black < white:
        raise Unreadable(f"no range of greys: black is {black:g}, white {white:g}")
    return np.rint(np.clip((values - np.float64(black)) * (255 / (white - black)), 0, 255)).astype(np.uint8)
