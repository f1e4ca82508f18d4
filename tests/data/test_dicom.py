import io
import logging
import traceback
import warnings
import zipfile
from contextlib import suppress
from itertools import product
from pathlib import Path

import numpy as np
import pydicom
import pytest
from conftest import REAL
from helpers.dicom import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    JPEG_12,
    JPEG_2000,
    JPEG_LS,
    LOSSLESS,
    RLE,
    SECRETS,
    dicom,
    jpeg_12,
    lut,
)
from helpers.tiff import ramp
from PIL import Image
from pydicom import config
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_windowing

from fedxray.data.dicom import read_grey
from fedxray.data.pixels import Unreadable, inspect, to_grey

RAMP = ramp()
SYNTAXES = {
    "implicit": IMPLICIT,
    "explicit": EXPLICIT,
    "big-endian": BIG,
    "deflated": DEFLATED,
    "RLE": RLE,
    "JPEG": JPEG,
    "JPEG of 12 bits": JPEG_12,
    "JPEG lossless": LOSSLESS,
    "JPEG-LS": JPEG_LS,
    "JPEG 2000": JPEG_2000,
}
BITS = (8, 10, 12, 14, 16)
WAYS = ("bits", "rescale", "exact window", "window", "sigmoid", "VOI LUT", "modality LUT", "presentation LUT")


def depths(syntax):
    """The bits that the syntax can have, and that its encoder here can write; whether they may be signed."""
    return {JPEG: ((8,), False), JPEG_12: ((12,), False)}.get(syntax, (BITS, True))


def stored(grey, way, bits, signed, turned):
    """(values, header) of a DICOM that is to be shown as `grey`, uint8: the inverse of what the reader does."""
    share = grey / 255
    share = 1 - share if turned else share
    header = {"PhotometricInterpretation": f"MONOCHROME{1 if turned else 2}"}
    top, low = 2**bits - 1, -(2 ** (bits - 1)) if signed else 0
    curve = np.linspace(0, 1, top + 1) ** 2  # of LUTs, which take the square root back
    values = share * top
    if way == "rescale":
        header |= {"RescaleSlope": 0.25, "RescaleIntercept": -7}
    if way in ("exact window", "window"):  # the middle half of the range, after a rescaling
        first, last = np.rint(top * 0.25), np.rint(top * 0.75)
        values = first + share * (last - first)
        first, last = ((end + low) * 2 - 100 for end in (first, last))
        header |= {"RescaleSlope": "2", "RescaleIntercept": "-100", "VOILUTFunction": "LINEAR_EXACT"}
        header |= {"WindowCenter": [(first + last) / 2, 5], "WindowWidth": [last - first, 5]}  # the first one counts
        if way == "window":
            header |= {"VOILUTFunction": None, "WindowCenter": (first + last + 1) / 2, "WindowWidth": last - first + 1}
            header.pop("VOILUTFunction")
    if way == "sigmoid":
        share = np.clip(share, 0.01, 0.99)
        values = top * (0.5 + np.log(share / (1 - share)) / 4 / 2.4)
        header |= {"WindowCenter": top / 2 + low, "WindowWidth": top / 2.4, "VOILUTFunction": "SIGMOID"}
    if way in ("VOI LUT", "modality LUT"):
        values = top * np.sqrt(share)
        header |= {f"{way.split()[0].replace('m', 'M')}LUTSequence": [lut(np.rint(curve * 65535), low, 16)]}
    if way == "presentation LUT":
        values = top * np.sqrt(1 - share if turned else share)
        header |= {"PresentationLUTSequence": [lut(np.rint(curve * 255), 0, 8)]}
        header["PhotometricInterpretation"] = "MONOCHROME2"
    kind = ("i" if signed else "u") + ("1" if bits == 8 else "2")
    return (np.rint(values).astype(np.int64) + low).astype(kind), header


@pytest.mark.parametrize("name", SYNTAXES)
def test_a_drawn_image_keeps_its_greys_in_every_syntax(name):
    depth, signs = depths(SYNTAXES[name])
    for bits, signed, turned in product(depth, (False, True) if signs else (False,), (False, True)):
        values, header = stored(RAMP, "bits", bits, signed, turned)
        data = dicom(values, SYNTAXES[name], bits, **header)
        assert pydicom.dcmread(io.BytesIO(data)).file_meta.TransferSyntaxUID == SYNTAXES[name]
        grey = read_grey(data)
        assert np.abs(grey.astype(int) - RAMP).max() <= (5 if name.startswith("JPEG of") or name == "JPEG" else 1)
        facts = inspect(data)
        assert facts.mode == f"DICOM MONOCHROME{1 if turned else 2} {bits} bits"
        assert facts.reach == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("way", WAYS)
def test_a_drawn_image_keeps_its_greys_in_every_way_of_showing_it(way):
    for bits, signed, turned, syntax in product(BITS, (False, True), (False, True), (EXPLICIT, BIG, IMPLICIT)):
        values, header = stored(RAMP, way, bits, signed, turned)
        grey = read_grey(dicom(values, syntax, bits, **header)).astype(int)
        # With 8 bits stored, the square root of a LUT and the middle half of a window leave fewer levels than 256.
        assert np.abs(grey - np.clip(RAMP, 2, 253)).max() <= (3 if bits == 8 else 2)
        assert np.abs(grey - RAMP).mean() < 1


@pytest.mark.parametrize("name", SYNTAXES)
def test_real_radiographs_keep_their_greys(name):
    path = REAL / "originals-48.zip"
    if not path.exists():
        pytest.skip(f"{path.name} (real radiographs) is not on this machine")
    (depth, signs), turn = depths(SYNTAXES[name]), list(SYNTAXES).index(name)
    with zipfile.ZipFile(path) as archive:
        names = [member for member in archive.namelist() if member.endswith("jpeg")]
        for number, member in enumerate(names[turn :: len(SYNTAXES)]):
            with Image.open(io.BytesIO(archive.read(member))) as file:
                image = file.convert("L").reduce(max(1, file.width // 500))
            original = io.BytesIO()
            image.save(original, "PNG")
            bits, signed = depth[number % len(depth)], signs and number % 3 == 1
            for way in ("bits", "window") if name == "JPEG" else WAYS[number % 4 :: 4]:
                values, header = stored(np.asarray(image), way, bits, signed, (number + turn) % 2 == 1)
                grey = to_grey(dicom(values, SYNTAXES[name], bits, **header), 64)
                difference = np.abs(grey.astype(int) - to_grey(original.getvalue(), 64)).mean()
                assert difference <= 1.5, (member, way, bits, signed, difference)


def show(values, **header):
    """The greys of one row of 12-bit values."""
    return read_grey(dicom(np.array([values], np.uint16), EXPLICIT, **({"bits": 12} | header)))[0].tolist()


def test_windows_by_numbers():
    assert show([0, 1024, 2048, 4095]) == [0, 64, 128, 255]
    # PS3.3, C.11.2.1.2: a center of 2048 and a width of 4096 are the range of 0 to 4095.
    assert show([0, 1024, 2048, 4095], WindowCenter=2048, WindowWidth=4096) == [0, 64, 128, 255]
    assert show([99, 100], WindowCenter=100, WindowWidth=1) == [0, 255]
    assert show([99, 100, 101], WindowCenter=100, WindowWidth=2) == [0, 255, 255]
    exact = {"WindowCenter": 100, "WindowWidth": 100, "VOILUTFunction": "LINEAR_EXACT"}
    assert show([50, 75, 100, 150, 151], **exact) == [0, 64, 128, 255, 255]
    sigmoid = exact | {"VOILUTFunction": "SIGMOID"}
    assert show([100, 125, 150], **sigmoid) == [128, 186, 225]  # 255 / (1 + exp(-4 * (x - 100) / 100))
    assert show([50, 100], RescaleIntercept=-100, RescaleSlope=2, WindowCenter=50.5, WindowWidth=101) == [0, 255]
    assert show([0, 4095], RescaleIntercept=4095, RescaleSlope=-1) == [255, 0]
    assert show([50, 100], WindowCenter="", WindowWidth="") == [3, 6]


def test_luts_by_numbers():
    eight = lut([255, 128, 0], first=10)
    assert show([0, 10, 11, 12, 4000], VOILUTSequence=[eight]) == [255, 255, 128, 0, 0]  # beyond the ends: the ends
    both = {"VOILUTSequence": [eight], "WindowCenter": 2048, "WindowWidth": 4096}
    assert show([10, 11], **both) == [255, 128]  # the LUT counts, not the window
    packed = lut([255, 128, 0], first=10)
    packed.LUTData = bytes([255, 128, 0, 0])  # two entries in each word
    assert show([0, 11, 12], VOILUTSequence=[packed]) == [255, 128, 0]
    units = lut([0, 100, 200], bits=16)
    assert show([0, 1, 2], ModalityLUTSequence=[units], WindowCenter=100.5, WindowWidth=201) == [0, 128, 255]
    signed = lut([0, 255], first=-1)
    values = dicom(np.array([[-2, -1, 0, 1]], np.int16), VOILUTSequence=[signed])
    assert read_grey(values)[0].tolist() == [0, 0, 255, 255]
    for wrong, reason in (
        (lut([0, 255]), "cut short"),
        (lut(np.arange(4096), bits=16), "other bits"),  # 12 bits in what is said to be 16: nearly black
        (lut([0, 300]), "other bits"),
        (lut([0, 1], bits=4), "cut short"),
    ):
        if reason == "cut short" and wrong.LUTDescriptor[2] == 8:
            wrong.LUTDescriptor = [3, 0, 8]
            wrong.LUTData = b"\0\1"
        with pytest.raises(Unreadable, match=reason):
            show([0, 1], VOILUTSequence=[wrong])


def test_black_and_white_are_turned_once():
    ways = {
        ("MONOCHROME2", ""): [0, 255],
        ("MONOCHROME2", "IDENTITY"): [0, 255],
        ("MONOCHROME2", "INVERSE"): [255, 0],
        ("MONOCHROME1", ""): [255, 0],
        ("MONOCHROME1", "INVERSE"): [255, 0],
    }
    for (photometric, shape), greys in ways.items():
        assert show([0, 4095], PhotometricInterpretation=photometric, PresentationLUTShape=shape) == greys
    for header in (
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "IDENTITY"},
        {"PresentationLUTShape": "LIN OD"},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTSequence": [lut([0, 255])]},
    ):
        with pytest.raises(Unreadable, match="contradicts"):
            show([0, 4095], **header)


def test_bits_that_are_not_of_the_value_do_not_count():
    values = np.array([[0, 2048, 4095]], np.uint16)
    assert read_grey(dicom(values | 0xA000, bits=12))[0].tolist() == [0, 128, 255]  # overlays above
    assert read_grey(dicom((values << 4) | 5, bits=12, HighBit=15))[0].tolist() == [0, 128, 255]  # and below
    negative = np.array([[-2048, -1, 2047]], np.int16)
    assert read_grey(dicom((negative & 0x0FFF).astype(np.int16), bits=12))[0].tolist() == [0, 127, 255]
    with pytest.raises(Unreadable, match="bits"):
        read_grey(dicom(values, bits=12, HighBit=16))
    with pytest.raises(Unreadable, match="compressed DICOM with bits below"):
        read_grey(dicom(values, RLE, bits=12, HighBit=15))


def test_a_compressed_image_may_have_fewer_bits_than_its_container():
    for syntax, dtype in product((LOSSLESS, JPEG_LS, JPEG_2000), (np.uint16, np.int16)):
        values = RAMP.astype(np.int32) - (128 if dtype is np.int16 else 0)
        assert np.array_equal(read_grey(dicom(values.astype(dtype), syntax, bits=8)), RAMP), (syntax.name, dtype)


def test_lossy_values_beyond_the_range_are_its_ends():
    edges = np.where(np.indices((32, 32)).sum(axis=0) % 2, 0, 4095).astype(np.uint16)
    grey = read_grey(dicom(edges, JPEG_12, bits=12))
    assert np.abs(grey.astype(int) - edges // 16).max() <= 6
    # Of 10 bits, which the values of a JPEG of 12 bits can go beyond.
    assert read_grey(dicom(np.full((16, 16), 2000, np.uint16), JPEG_12, bits=10)).min() == 255
    with pytest.raises(Unreadable, match="broken"):
        to_grey(sixteen(edges), 8)


def sixteen(values):
    """A JPEG with loss of 16 bits, which the standard does not have, and which gdcm writes and reads with overflows."""
    data = pydicom.dcmread(io.BytesIO(dicom(values, JPEG_12, bits=12)))
    data.PixelData = encapsulate([jpeg_12(values, 16)])
    file = io.BytesIO()
    data.save_as(file)
    return file.getvalue()


def test_padding_is_black_and_does_not_count():
    values = np.array([[60000, 0, 2048, 4095]], np.uint16)
    for photometric, greys in (("MONOCHROME2", [0, 0, 128, 255]), ("MONOCHROME1", [0, 255, 127, 0])):
        data = dicom(values, bits=12, PixelPaddingValue=60000, PhotometricInterpretation=photometric)
        assert read_grey(data)[0].tolist() == greys
    narrow = dicom(
        np.array([[4095, 4000, 0, 100]], np.uint16), bits=12, PixelPaddingValue=4000, PixelPaddingRangeLimit=4095
    )
    assert read_grey(narrow)[0].tolist() == [0, 0, 0, 6]
    assert inspect(narrow).reach == pytest.approx(100 / 4095)
    signed = dicom(np.array([[-2000, 0, 100]], np.int16), bits=16, PixelPaddingValue=-2000)
    assert inspect(signed).reach == pytest.approx(100 / 65535)
    with pytest.raises(Unreadable, match="padding alone"):
        inspect(dicom(np.full((2, 2), 7, np.uint16), PixelPaddingValue=7))


def test_the_reach_tells_of_fewer_bits_than_are_said():
    ten_bits = np.array([[0, 512, 1023]], np.uint16)
    assert inspect(dicom(ten_bits, bits=16)).reach == pytest.approx(1023 / 65535)
    assert inspect(dicom(ten_bits, bits=10)).reach == 1
    assert inspect(dicom(ten_bits, bits=16, RescaleSlope=-3, RescaleIntercept=9)).reach == pytest.approx(1023 / 65535)
    assert inspect(dicom(ten_bits, bits=16, WindowCenter=512, WindowWidth=1024)).reach is None
    assert inspect(dicom(RAMP)).low is None


def test_greys_are_the_range_of_dicoms_without_a_window():
    values = np.array([[0, 500, 1000, 4000]], np.uint16)
    assert read_grey(dicom(values), (0, 1000))[0].tolist() == [0, 128, 255, 255]
    assert read_grey(dicom(values, RescaleIntercept=-500), (0, 500))[0].tolist() == [0, 0, 255, 255]
    windowed = dicom(values, WindowCenter=2000, WindowWidth=4000, VOILUTFunction="LINEAR_EXACT")
    assert read_grey(windowed, (0, 1000))[0].tolist() == [0, 32, 64, 255]
    with pytest.raises(Unreadable, match="black is 9, white 9"):
        to_grey(dicom(values), 8, greys=(9, 9))


def test_colour_is_made_grey():
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    assert read_grey(dicom(colours))[0].tolist() == [76, 150, 29, 255]  # 0.299, 0.587 and 0.114 of 255
    picture = np.repeat(RAMP[:, :, None], 3, axis=2)
    assert (
        np.abs(read_grey(dicom(picture, JPEG, PhotometricInterpretation="YBR_FULL_422")).astype(int) - RAMP).max() < 5
    )
    assert inspect(dicom(colours)).mode == "DICOM RGB 8 bits"


def test_images_are_turned_upright_and_the_right_way_round():
    values = RAMP
    for orientation, pixels in {
        ("L", "F"): values,
        ("LH", "FL"): values,
        ("R", "F"): values[:, ::-1],
        ("L", "H"): values[::-1],
        ("R", "H"): values[::-1, ::-1],
        ("F", "L"): values.T,
        ("H", "L"): values.T[:, ::-1],  # from the foot to the head, then to the left: columns of what is right
        ("F", "R"): values.T[::-1],
        ("H", "R"): values.T[::-1, ::-1],
        ("A", "F"): values,
        ("P", "H"): values[::-1],
        None: values,
        "": values,
    }.items():
        data = dicom(
            np.ascontiguousarray(pixels),
            PatientOrientation=list(orientation) or "" if orientation is not None else None,
        )
        assert np.array_equal(read_grey(data), values), orientation
        assert (inspect(data).width, inspect(data).height) == (64, 48)
        assert inspect(data).sha256_pixels == inspect(dicom(values)).sha256_pixels
    for orientation in (["L", "R"], ["F", "H"], ["L"], ["X", "F"], ["L", "P"], ["L", "F", "A"]):
        with pytest.raises(Unreadable, match="PatientOrientation"):
            to_grey(dicom(values, PatientOrientation=orientation), 8)


def test_the_facts_of_a_dicom():
    facts = inspect(dicom(RAMP, PatientID=" 0042 ", ViewPosition="PA ", BurnedInAnnotation="YES"))
    assert (facts.width, facts.height, facts.mode) == (64, 48, "DICOM MONOCHROME2 8 bits")
    assert (facts.patient, facts.view, facts.burned_in, facts.dicom) == ("0042", "PA", True, True)
    assert (facts.low, facts.high, facts.whole) == (None, None, True)
    facts = inspect(dicom(RAMP, PatientID="", ViewPosition=None, BurnedInAnnotation=None))
    assert (facts.patient, facts.view, facts.burned_in) == ("", "", False)


def test_the_view_may_be_a_code():
    for code, view in {
        "272479007": "PA",
        "R-10214": "PA",
        "R-10206": "AP",
        "399173006": "LL",
        "399352003": "OTHER",
    }.items():
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "SCT", "a view"
        assert inspect(dicom(RAMP, ViewPosition="", ViewCodeSequence=[item])).view == view
        assert inspect(dicom(RAMP, ViewPosition="AP", ViewCodeSequence=[item])).view == "AP"


def test_a_window_beside_all_values_is_noticed():
    with pytest.raises(Unreadable, match="leaves one grey"):
        inspect(dicom(RAMP, WindowCenter=2000, WindowWidth=100))
    assert inspect(dicom(np.full((4, 4), 9, np.uint8), WindowCenter=2000, WindowWidth=100)).reach is None


def test_the_same_pixels_have_one_checksum_in_every_syntax_and_as_png():
    values = RAMP.astype(np.uint16) * 16
    syntaxes = (IMPLICIT, EXPLICIT, BIG, DEFLATED, RLE, LOSSLESS, JPEG_LS, JPEG_2000)
    checksums = {inspect(dicom(values, syntax, 12)).sha256_pixels for syntax in syntaxes}
    checksums |= {inspect(dicom(values, EXPLICIT, 12, WindowCenter=5, WindowWidth=9)).sha256_pixels}
    png = io.BytesIO()
    Image.fromarray(values).save(png, "PNG")
    checksums |= {inspect(png.getvalue()).sha256_pixels}
    assert len(checksums) == 1


REFUSED = {
    "two frames": (dicom(np.zeros((4, 2), np.uint8), Rows=2, NumberOfFrames=2), "2 frames; one is needed"),
    "a report": (dicom(RAMP, Modality="SR", PixelData=None, Rows=None), "DICOM without an image"),
    "floats": (dicom(RAMP, PixelData=None, FloatPixelData=b"\0\0\0\0"), "floats"),
    "CT": (dicom(RAMP, Modality="CT"), "no radiograph"),
    "no modality": (dicom(RAMP, Modality=None), "no radiograph"),
    "other": (dicom(RAMP, Modality="OT"), "no radiograph"),
    "palette": (dicom(RAMP, PhotometricInterpretation="PALETTE COLOR"), "palette"),
    "raw values": (dicom(RAMP, PresentationIntentType="FOR PROCESSING"), "FOR PROCESSING"),
    "an animal": (dicom(RAMP, AnatomicalOrientationType="QUADRUPED"), "animal"),
    "colours of 16 bits": (dicom(np.zeros((2, 2, 3), np.uint16)), "16 bits"),
    "three greys": (dicom(RAMP, SamplesPerPixel=3), "number of colours"),
    "32 bits": (dicom(RAMP.astype(np.uint32)), "32 bits"),
    "more bits than there are": (dicom(RAMP, BitsStored=12), "12 bits stored in 8"),
    "a slope of zero": (dicom(RAMP, RescaleSlope=0), "RescaleSlope of zero"),
    "no width": (dicom(RAMP, WindowCenter=100, WindowWidth=0), "window of no width"),
    "less than 1": (dicom(RAMP, WindowCenter=100, WindowWidth=0.5), "window of no width"),
    "half a window": (dicom(RAMP, WindowCenter=100), "half a window"),
    "an unknown window": (dicom(RAMP, WindowCenter=9, WindowWidth=9, VOILUTFunction="CUBIC"), "unknown kind"),
    "cut pixels": (dicom(RAMP)[:-200], "cut short"),
    "more rows than pixels": (dicom(RAMP, Rows=4800), "cut short"),
    "an absurd size": (dicom(RAMP, Rows=60000, Columns=60000), "too large"),
    "cut after the header": (dicom(RAMP)[:400], "DICOM|cut short|broken|no radiograph"),
    "an unknown syntax": (
        dicom(RAMP).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"),
        "compression|broken",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_be_wrong_is_refused(kind):
    data, reason = REFUSED[kind]
    for read in (inspect, lambda data: to_grey(data, 16, greys=(0, 255))):
        with pytest.raises(Unreadable, match=reason):
            read(data)


def test_no_header_is_in_a_message_a_log_or_a_warning(caplog, capfd):
    caplog.set_level(logging.DEBUG)
    valid = dicom(RAMP)
    with config.disable_value_validation():
        odd = {
            "WindowCenter": SECRETS["PatientName"],
            "Modality": SECRETS["InstitutionName"],
            "ViewPosition": "x" * 70 + SECRETS["StationName"],
            "PatientID": "x" * 99 + SECRETS["PatientID"],
            "VOILUTFunction": SECRETS["AccessionNumber"],
            "PresentationLUTShape": SECRETS["AccessionNumber"],
            "PatientOrientation": [SECRETS["StudyDescription"], "F"],
            "PhotometricInterpretation": SECRETS["StudyDescription"],
            "NumberOfFrames": SECRETS["AccessionNumber"],
            "RescaleSlope": SECRETS["AccessionNumber"],
        }
        files = [valid, *(data for data, _ in REFUSED.values())]
        for keyword, value in odd.items():
            data = pydicom.dcmread(io.BytesIO(dicom(RAMP, WindowWidth=9, WindowCenter=9)))
            vr = (
                "LO"
                if keyword in ("WindowCenter", "NumberOfFrames", "RescaleSlope")
                else data[keyword].VR
                if keyword in data
                else "CS"
            )
            data.add_new(keyword, vr, value)
            file = io.BytesIO()
            data.save_as(file)
            files.append(file.getvalue())
    rng = np.random.default_rng(2)
    for _ in range(200):
        data = bytearray(valid)
        for place in rng.integers(132, 900, rng.integers(1, 9)):
            data[place] = rng.integers(256)
        files.append(bytes(data))
    texts = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for data in files:
            for read in (inspect, lambda data: to_grey(data, 16)):
                try:
                    read(data)
                except Unreadable as error:
                    texts += traceback.format_exception(error)
    texts += [str(warning.message) for warning in warned] + [caplog.text, *capfd.readouterr()]
    secrets = {part for value in SECRETS.values() for part in value.replace("^", " ").split()}
    assert not [(secret, text) for secret in secrets for text in texts if secret in text]
    assert len(texts) > 100


def test_a_name_is_not_even_read():
    from fedxray.data import dicom as reader

    header = reader._read(dicom(RAMP))
    assert "PatientID" in header
    assert not set(SECRETS) & {element.keyword for element in header} - {"PatientID"}


@pytest.mark.parametrize("name", SYNTAXES)
def test_broken_bytes_end_in_unreadable_or_an_image(name):
    bits = 8 if name == "JPEG" else 12
    valid = dicom(*[stored(RAMP[:24, :32], "bits", bits, False, False)[0]], SYNTAXES[name], bits)
    rng = np.random.default_rng(3)
    for number in range(40):
        data = bytearray(valid)
        for place in rng.integers(len(data) // 2 if number % 4 else 0, len(data), rng.integers(1, 6)):
            data[place] = rng.integers(256)
        data = bytes(data[: rng.integers(len(data))] if number % 5 == 0 else data)
        with suppress(Unreadable):
            assert to_grey(data, 8).shape == (8, 8)
            assert inspect(data).dicom


def bundled():
    """Radiographs among the files that pydicom brings along."""
    folder = Path(str(get_testdata_file("DICOMDIR"))).parent
    return [file for file in sorted(folder.glob("**/CR*/*")) if file.is_file()]


def test_radiographs_that_pydicom_brings_are_as_its_own_functions_show_them():
    files = bundled()
    if not files:
        pytest.skip("this pydicom brings no radiographs")
    for file in files:
        data = pydicom.dcmread(file)
        assert (data.PhotometricInterpretation, list(data.PatientOrientation)) == ("MONOCHROME1", ["L", "F"])
        shown = apply_windowing(apply_modality_lut(data.pixel_array, data), data).astype(float)
        slope, intercept = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
        low, high = (value * slope + intercept for value in (0, 2**data.BitsStored - 1))
        assert np.abs(read_grey(file.read_bytes()) - 255 * (high - shown) / (high - low)).max() <= 1


def test_directories_and_reports_that_pydicom_brings_have_no_image():
    for name in ("DICOMDIR", "test-SR.dcm"):
        path = get_testdata_file(name, download=False)
        if path is None:
            pytest.skip(f"this pydicom brings no {name}")
        with pytest.raises(Unreadable, match="without an image"):
            inspect(Path(path).read_bytes())
