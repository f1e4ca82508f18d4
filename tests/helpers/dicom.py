"""DICOMs made by the tests: stored values under any header, in any transfer syntax that the project reads."""

import io
import tempfile
from pathlib import Path

import gdcm
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import compress
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, generate_uid

IMPLICIT, EXPLICIT, BIG, DEFLATED = (UID(f"1.2.840.10008.1.2{end}") for end in ("", ".1", ".2", ".1.99"))
JPEG, JPEG_12, LOSSLESS, JPEG_LS, JPEG_2000, RLE = (
    UID(f"1.2.840.10008.1.2.{end}") for end in ("4.50", "4.51", "4.70", "4.80", "4.90", "5")
)
BY_GDCM = {
    LOSSLESS: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    JPEG_LS: gdcm.TransferSyntax.JPEGLSLossless,
    JPEG_2000: gdcm.TransferSyntax.JPEG2000Lossless,
}
# What no message, log or result may hold. The values are such that a search for them finds nothing else.
SECRETS = {
    "PatientName": "Zyxwvut^Quondam",
    "PatientID": "QX-90210-ZZ",
    "InstitutionName": "Qwertyhospital",
    "StudyDescription": "Zebrastudy",
    "ReferringPhysicianName": "Doctorov^Qq",
    "StationName": "STATIONQZ",
    "AccessionNumber": "ACCQZ77",
}


def dicom(values, syntax=EXPLICIT, bits=0, **header):
    """The bytes of a DX image of `values`: integers (rows, columns), or uint8 (rows, columns, 3).

    `bits` are BitsStored; `header` has more elements by keyword, None to leave one out, and replaces those made here.
    """
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = DigitalXRayImageStorageForPresentation, generate_uid()
    data.Modality, data.PatientOrientation, data.ViewPosition, data.BurnedInAnnotation = "DX", ["L", "F"], "PA", "NO"
    for keyword, value in SECRETS.items():
        setattr(data, keyword, value)
    wide = values.dtype.itemsize
    bits = bits or 8 * wide
    data.Rows, data.Columns = values.shape[:2]
    data.SamplesPerPixel = 1 if values.ndim == 2 else 3
    data.PhotometricInterpretation = "MONOCHROME2" if values.ndim == 2 else "RGB"
    if values.ndim == 3:
        data.PlanarConfiguration = 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 8 * wide, bits, bits - 1
    data.PixelRepresentation = int(values.dtype.kind == "i")
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = EXPLICIT if syntax in (*BY_GDCM, RLE, JPEG, JPEG_12) else syntax
    little = data.file_meta.TransferSyntaxUID.is_little_endian
    data.PixelData = values.astype(values.dtype.newbyteorder("<" if little else ">")).tobytes()
    data.PixelData += b"\0" * (len(data.PixelData) % 2)
    data["PixelData"].VR = "OW" if wide > 1 else "OB"
    for keyword, value in header.items():
        if value is None:
            del data[keyword]
        else:
            setattr(data, keyword, value)
    for sequence in (element.value for element in data if element.VR == "SQ" and not little):
        for item in sequence:
            item.LUTData = np.frombuffer(item.LUTData, "<u2").astype(">u2").tobytes()
    if syntax == RLE:
        compress(data, RLE, encoding_plugin="pydicom", generate_instance_uid=False)
    if syntax in (JPEG, JPEG_12):
        data.PixelData = encapsulate([_jpeg(values) if syntax == JPEG else jpeg_12(values)])
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
        data.file_meta.TransferSyntaxUID = syntax
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return _by_gdcm(file.getvalue(), BY_GDCM[syntax]) if syntax in BY_GDCM else file.getvalue()


def _jpeg(values, **options):
    frame = io.BytesIO()
    Image.fromarray(values).save(frame, "JPEG", **({"quality": 95} | options))
    return frame.getvalue()


def jpeg_12(values, precision=12):
    """A JPEG of 12 bits: one of 8 bits, with a header by which its steps are 16 times as large."""
    frame = bytearray(_jpeg((np.minimum(values, 4087) + 8 >> 4).astype(np.uint8), qtables=[[1] * 64]))
    steps, start = frame.index(b"\xff\xdb") + 5, frame.index(b"\xff\xc0")
    frame[steps : steps + 64] = bytes([16]) * 64
    frame[start + 1], frame[start + 4] = 0xC1, precision
    return bytes(frame)


def _by_gdcm(data, syntax):
    """The DICOM with its pixels encoded in another syntax."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = (str(Path(folder) / name) for name in ("before.dcm", "after.dcm"))
        Path(before).write_bytes(data)
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(before)
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(after)
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return Path(after).read_bytes()


def lut(values, first=0, bits=8):
    """An item of a LUT sequence; `bits` of its entries."""
    item = Dataset()
    item.LUTDescriptor = [len(values) % 65536, first, bits]
    item.LUTData = np.asarray(values, "<u2").tobytes()
    item["LUTDescriptor"].VR = "SS" if first < 0 else "US"
    item["LUTData"].VR = "OW"
    return item
