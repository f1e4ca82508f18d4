"""DICOM: the greys of a radiograph as its header says that they are shown, upright. No other header is read.

The way of a value is the standard's (PS3.3, C.11 and C.7.6.3; PS3.4, N.2): stored bits, modality LUT, then VOI LUT or
window, then presentation LUT. A stored value has at most 16 bits, so the way is computed once for each of the possible
patterns of bits, and the image is looked up in the table that comes out.
"""

import io
import logging

import gdcm
import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import pixel_array

from fedxray.core.workers import apart
from fedxray.data.decoded import LARGEST, Facts, Unreadable, scaled, sha256_of

MODALITIES = ("CR", "DX", "RG")  # radiographs: of a cassette, of a detector, of a film
MONOCHROME = ("MONOCHROME1", "MONOCHROME2")  # the smallest value is white, black
# The views of ViewCodeSequence (PS3.16, CID 4010) that ViewPosition has names for, by their codes of SNOMED CT and RT.
VIEWS = {
    **dict.fromkeys(("272479007", "R-10214"), "PA"),
    **dict.fromkeys(("399348003", "R-10206"), "AP"),
    **dict.fromkeys(("399173006", "R-10236"), "LL"),
    **dict.fromkeys(("399198007", "R-10232"), "RL"),
}
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
# The decoder of each transfer syntax. Pillow is before gdcm where both can: gdcm ends its process at broken bytes.
DECODERS = (
    dict.fromkeys((uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian), "")
    | dict.fromkeys((uid.DeflatedExplicitVRLittleEndian,), "")
    | dict.fromkeys((uid.JPEGBaseline8Bit, uid.JPEG2000, uid.JPEG2000Lossless), "pillow")
    | dict.fromkeys((uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1), "gdcm")
    | dict.fromkeys((uid.JPEGLSLossless, uid.JPEGLSNearLossless), "gdcm")
    | {uid.RLELossless: "pydicom"}
)
LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000)
SOF1 = b"\xff\xc1"  # before the header of an extended JPEG
PIXEL_DATA = gdcm.Tag(0x7FE0, 0x0010)
TAGS = [
    *("PatientID", "ViewPosition", "Modality", "BurnedInAnnotation", "PatientOrientation", "AnatomicalOrientationType"),
    *("PresentationIntentType", "ViewCodeSequence"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept", "VOILUTSequence", "VOILUTFunction", "WindowCenter"),
    *("WindowWidth", "PresentationLUTSequence", "PresentationLUTShape", "PixelData", "FloatPixelData"),
    *("DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
]

logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)  # its warnings quote the header
for quiet in (gdcm.Trace.DebugOff, gdcm.Trace.WarningOff, gdcm.Trace.ErrorOff):
    quiet()


def inspect(data: bytes) -> Facts:
    """What the catalogue keeps of a DICOM. Raises Unreadable, and what pydicom raises on broken bytes."""
    header = _read(data)
    pixels = _pixels(header)
    photometric, values, reach = header.PhotometricInterpretation, pixels, None
    if photometric in MONOCHROME:
        stored = _stored(header)
        table, used = _table(header, stored, None), _used(header, pixels)
        values = stored.astype(np.int16 if stored.min() < 0 else np.uint16)[pixels]
        if not _has_window(header):
            scale, low, high = _modality(header, stored)
            reach = float(np.ptp(scale[used])) / (high - low)
        elif np.ptp(stored[used]) and not np.ptp(table[used]):
            raise Unreadable("DICOM whose window leaves one grey alone")
    height, width = values.shape
    return Facts(
        width,
        height,
        f"DICOM {photometric} {header.BitsStored} bits",
        sha256_of(values),
        reach=reach,
        patient=_text(header, "PatientID"),
        view=_view(header),
        burned_in=_text(header, "BurnedInAnnotation").upper() == "YES",
        dicom=True,
    )


def read_grey(data: bytes, greys: tuple[float, float] | None = None) -> np.ndarray:
    """The greys of a DICOM, uint8 (rows, columns), upright.

    Without a window, `greys` are the values after the modality LUT that become black and white; without `greys` these
    are the ends of the range of its bits. Raises Unreadable, and what pydicom raises on broken bytes.
    """
    header = _read(data)
    pixels = _pixels(header)
    return _table(header, _stored(header), greys)[pixels] if header.PhotometricInterpretation in MONOCHROME else pixels


def _read(data: bytes) -> Dataset:
    """The part of the header that is needed, checked, with the pixels still encoded."""
    header = pydicom.dcmread(io.BytesIO(data), specific_tags=TAGS)
    if "FloatPixelData" in header or "DoubleFloatPixelData" in header:
        raise Unreadable("DICOM with pixels that are floats")
    if "PixelData" not in header:
        raise Unreadable("cut short" if "Rows" in header else "DICOM without an image")
    if _text(header, "Modality") not in MODALITIES:
        raise Unreadable(f"DICOM that is no radiograph by its Modality ({', '.join(MODALITIES)})")
    if _text(header, "PresentationIntentType") == "FOR PROCESSING":
        raise Unreadable("DICOM of a detector's raw values (FOR PROCESSING); the image for presentation is needed")
    if _text(header, "AnatomicalOrientationType") == "QUADRUPED":
        raise Unreadable("DICOM of an animal")
    frames = int(header.get("NumberOfFrames") or 1)
    if frames != 1:
        raise Unreadable(f"{frames} frames; one is needed")
    if header.Rows * header.Columns > LARGEST:
        raise Unreadable("too large")
    grey, allocated, bits = header.PhotometricInterpretation in MONOCHROME, header.BitsAllocated, header.BitsStored
    if not grey and header.PhotometricInterpretation not in COLOUR:
        raise Unreadable("DICOM with a palette or other colours than grey and RGB")
    if header.SamplesPerPixel != (1 if grey else 3):
        raise Unreadable("DICOM with a wrong number of colours")
    if allocated not in (8, 16) or not 2 <= bits <= allocated or (not grey and bits != 8):
        raise Unreadable(f"DICOM of {bits} bits stored in {allocated}")
    if header.PixelRepresentation == 1 and header.file_meta.TransferSyntaxUID in (LOSSY[0], LOSSY[1]):
        raise Unreadable("DICOM of negative values in a JPEG that has none")
    if not bits - 1 <= header.get("HighBit", bits - 1) < allocated:
        raise Unreadable("DICOM with bits outside of its values")
    return header


def _text(header: Dataset, keyword: str) -> str:
    return str(header.get(keyword) or "").strip(" \0")


def _view(header: Dataset) -> str:
    """ViewPosition, or its name for the view of ViewCodeSequence, or "OTHER"; "" where there is neither."""
    if header.get("ViewCodeSequence") and not _text(header, "ViewPosition"):
        return VIEWS.get(_text(header.ViewCodeSequence[0], "CodeValue"), "OTHER")
    return _text(header, "ViewPosition").upper()


def _pixels(header: Dataset) -> np.ndarray:
    """The upright patterns of bits, uint8 or uint16 (rows, columns); of colours their greys by ITU-R 601."""
    syntax = header.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated and header.get("HighBit", header.BitsStored - 1) != header.BitsStored - 1:
        raise Unreadable("compressed DICOM with bits below its values")
    if syntax not in DECODERS:
        raise Unreadable("DICOM with a compression that cannot be decoded")
    pixels = apart(_decoded, header) if DECODERS[syntax] == "gdcm" else _decoded(header)
    if header.SamplesPerPixel == 3:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    size = header.BitsAllocated // 8
    if pixels.itemsize > size:
        raise Unreadable("DICOM with more bits than it says")
    return _upright(header, pixels.astype(f"={pixels.dtype.kind}{size}", copy=False).view(f"u{size}"))


def _decoded(header: Dataset) -> np.ndarray:
    """The patterns of bits as they are stored: (rows, columns), of colours RGB in a third axis."""
    syntax = header.file_meta.TransferSyntaxUID
    if syntax == uid.JPEGExtended12Bit and header.BitsStored > 8:
        return _extended(header)
    return pixel_array(header, decoding_plugin=DECODERS[syntax], correct_unused_bits=False)


def _extended(header: Dataset) -> np.ndarray:
    """The pixels of a JPEG of 9 to 12 bits, uint16 (rows, columns), which pydicom leaves to decoders under the GPL."""
    frame = next(generate_frames(header.PixelData, number_of_frames=1))
    start = frame.index(SOF1)
    if frame[start + 4] > 12:  # gdcm itself writes such, which are none by the standard, and whose values overflow
        raise ValueError("a JPEG with loss of more than 12 bits")
    fragment, fragments, element = gdcm.Fragment(), gdcm.SequenceOfFragments.New(), gdcm.DataElement(PIXEL_DATA)
    fragment.SetByteStringValue(frame)
    fragments.AddFragment(fragment)
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((header.Columns, header.Rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, 12, 11, 0))
    buffer = image.GetBuffer().encode("utf-8", "surrogateescape")  # gdcm's bytes come as text
    return np.frombuffer(buffer, "<u2").reshape(header.Rows, header.Columns)


def _upright(header: Dataset, pixels: np.ndarray) -> np.ndarray:
    """Turned and mirrored so that the head is above and, of a frontal image, the patient's left side on the right.

    PatientOrientation has the directions of the rows and of the columns, from the first pixel to the last; of oblique
    ones the first letter counts. Without it the image is taken to be upright.
    """
    directions = header.get("PatientOrientation") or ""
    if not directions:
        return pixels
    row, column = (direction[:1] for direction in directions) if len(directions) == 2 else ("", "")
    if row in ("F", "H"):
        pixels, row, column = pixels.T, column, row
    if row not in ("L", "R", "A", "P") or column not in ("F", "H"):
        raise Unreadable("DICOM with a PatientOrientation that has no above and below")
    return pixels[:: 1 if column == "F" else -1, :: -1 if row == "R" else 1]


def _stored(header: Dataset) -> np.ndarray:
    """The value of each pattern of bits, int32 (256 or 65536,).

    Bits that are not of the value do not count; after a compression with loss they are of a value that went over the
    end of its range, and which is the end.
    """
    bits, allocated, signed = header.BitsStored, header.BitsAllocated, header.PixelRepresentation == 1
    patterns, ends = np.arange(2**allocated, dtype=np.int32), np.array((0, 2**bits - 1)) - signed * 2 ** (bits - 1)
    if header.file_meta.TransferSyntaxUID in LOSSY:
        return np.clip(np.where(signed & (patterns >= 2 ** (allocated - 1)), patterns - 2**allocated, patterns), *ends)
    values = (patterns >> header.get("HighBit", bits - 1) + 1 - bits) & (2**bits - 1)
    return np.where(values > ends[1], values - 2**bits, values)


def _is_padding(header: Dataset) -> np.ndarray:
    """Whether each pattern of bits is padding around the image, bool (256 or 65536,)."""
    count = 2**header.BitsAllocated
    padding = np.zeros(count, bool)
    value = header.get("PixelPaddingValue")
    if value is not None:
        limit = header.get("PixelPaddingRangeLimit", value)
        padding[np.arange(min(value, limit), max(value, limit) + 1) % count] = True
    return padding


def _used(header: Dataset, pixels: np.ndarray) -> np.ndarray:
    """Whether each pattern of bits is in the image, and no padding, bool (256 or 65536,)."""
    used = np.zeros(2**header.BitsAllocated, bool)
    used[pixels] = True
    used &= ~_is_padding(header)
    if not used.any():
        raise Unreadable("DICOM with padding alone")
    return used


def _table(header: Dataset, stored: np.ndarray, greys: tuple[float, float] | None) -> np.ndarray:
    """The grey that each pattern of bits is shown as, uint8 (256 or 65536,); padding is black."""
    values, low, high = _modality(header, stored)
    if header.get("VOILUTSequence"):
        shares = _look_up(header, "VOILUTSequence", values, low < 0)
    elif _has_window(header):
        shares = _windowed(header, values)
    else:
        low, high = greys or (low, high)
        if not low < high:
            raise Unreadable(f"no range of greys: black is {low:g}, white {high:g}")
        shares = (values - low) / (high - low)
    shares, shape = np.clip(shares, 0, 1), _text(header, "PresentationLUTShape")
    turned = header.PhotometricInterpretation == "MONOCHROME1"
    if header.get("PresentationLUTSequence"):
        if turned or shape:
            raise Unreadable("DICOM whose presentation LUT contradicts its header")
        entries = header.PresentationLUTSequence[0].LUTDescriptor[0] or 65536
        shares = _look_up(header, "PresentationLUTSequence", shares * (entries - 1), False)
    elif shape not in ("", "IDENTITY", "INVERSE") or (turned and shape == "IDENTITY"):
        raise Unreadable("DICOM that contradicts itself on whether black is white: PresentationLUTShape")
    if turned or shape == "INVERSE":
        shares = 1 - shares
    return np.where(_is_padding(header), 0, scaled(shares, 0, 1)).astype(np.uint8)


def _modality(header: Dataset, stored: np.ndarray) -> tuple[np.ndarray, float, float]:
    """(values after the modality LUT, float64; the ends of their range)."""
    if header.get("ModalityLUTSequence"):
        top = 2 ** header.ModalityLUTSequence[0].LUTDescriptor[2] - 1
        return _look_up(header, "ModalityLUTSequence", stored, bool(header.PixelRepresentation)) * top, 0, top
    slope, intercept = (float(header.get(f"Rescale{word}") or 0) for word in ("Slope", "Intercept"))
    if header.get("RescaleSlope") in (None, ""):
        slope = 1
    values = stored * slope + intercept
    low, high = float(values.min()), float(values.max())
    if not low < high or not np.isfinite((low, high)).all():
        raise Unreadable("DICOM with a RescaleSlope of zero")
    return values, low, high


def _has_window(header: Dataset) -> bool:
    """Whether a VOI LUT or a window says which values are black and white."""
    center, width = (header.get(keyword) not in (None, "", []) for keyword in ("WindowCenter", "WindowWidth"))
    if center != width:
        raise Unreadable("DICOM with half a window")
    return center or bool(header.get("VOILUTSequence"))


def _windowed(header: Dataset, values: np.ndarray) -> np.ndarray:
    """The shares, 0 to 1 and beyond, of the first window (PS3.3, C.11.2.1.2 and C.11.2.1.3)."""
    first = (header.get(keyword) for keyword in ("WindowCenter", "WindowWidth"))
    center, width = (float(value if isinstance(value, str | float) else value[0]) for value in first)
    function = _text(header, "VOILUTFunction") or "LINEAR"
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID") or not np.isfinite(center) or not 0 < width < np.inf:
        raise Unreadable("DICOM with a window of no width or an unknown kind")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return (values - center) / width + 0.5
    if width < 1:
        raise Unreadable("DICOM with a window of no width or an unknown kind")
    return np.where(values <= center - 0.5 - (width - 1) / 2, 0, (values - center + 0.5) / max(width - 1, 1e-9) + 0.5)


def _look_up(header: Dataset, sequence: str, values: np.ndarray, signed: bool) -> np.ndarray:
    """The shares of 0 to 1 of the values in the first LUT of `sequence`; values beyond its ends take these."""
    item = header[sequence].value[0]
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    count, first = count or 65536, (first + 32768) % 65536 - 32768 if signed else first % 65536
    entries, little = item["LUTData"].value, header.file_meta.TransferSyntaxUID.is_little_endian
    if not isinstance(entries, bytes):
        entries = np.asarray(entries).reshape(-1).astype("<u2").tobytes()
        little = True
    wide = len(entries) >= 2 * count
    table = np.frombuffer(entries, "u1" if not wide else "<u2" if little else ">u2")[:count]
    if not 8 <= bits <= 16 or len(table) < count or (not wide and (bits != 8 or not little)):
        raise Unreadable("DICOM with a LUT that is cut short")
    highest = int(table.max())
    if highest >= 2**bits or (sequence != "ModalityLUTSequence" and 4 * highest < 2**bits - 1):
        raise Unreadable("DICOM with a LUT of other bits than it says")
    return table[np.clip(np.rint(values).astype(np.int64) - first, 0, count - 1)] / (2.0**bits - 1)
