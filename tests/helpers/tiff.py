"""TIFFs written byte by byte: the kinds that Pillow does not write."""

import struct
import zlib

import numpy as np

FORMATS = {"u": 1, "i": 2, "f": 3}  # of NumPy's kinds, as SampleFormat


def tiff(values, order="<", bits=0, white_is_zero=False, compressed=False, orientation=1, colours=1):
    """A TIFF of one grey image (height, width), in one strip; with `bits` 12, two values are packed in three bytes.

    With `colours` 3, three values beside each other are one pixel.
    """
    strip = _packed(values) if bits == 12 else values.astype(values.dtype.newbyteorder(order)).tobytes()
    strip = zlib.compress(strip) if compressed else strip
    height, width = values.shape
    bits = bits or 8 * values.dtype.itemsize
    kind = 2 if colours == 3 else 0 if white_is_zero else 1
    tags = [(256, width // colours), (257, height), (258, bits), (259, 8 if compressed else 1), (262, kind)]
    tags += [(273, 0), (274, orientation), (277, colours), (278, height), (279, len(strip))]
    tags += [(339, FORMATS[values.dtype.kind])]
    end = 8 + 2 + 12 * len(tags) + 4
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, len(tags))
    entries = (struct.pack(order + "HHII", tag, 4, 1, end if tag == 273 else value) for tag, value in tags)
    return head + b"".join(entries) + struct.pack(order + "I", 0) + strip


def _packed(values):
    """12 bits for each value; each row begins with a new byte."""
    rows = []
    for row in values:
        text = "".join(f"{value:012b}" for value in row)
        text += "0" * (-len(text) % 8)
        rows.append(int(text, 2).to_bytes(len(text) // 8, "big"))
    return b"".join(rows)


def ramp(width=64, height=48):
    """Greys 0 to 255 that rise to the right, and down a little: uint8 (height, width), no symmetry."""
    y, x = np.mgrid[0:height, 0:width]
    return np.rint(255 * (x + y / 4) / (width - 1 + (height - 1) / 4)).astype(np.uint8)
