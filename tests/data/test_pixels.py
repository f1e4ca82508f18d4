import errno
import hashlib
import io
import struct
import zipfile
import zlib
from contextlib import suppress

import numpy as np
import pytest
from conftest import REAL
from helpers.data import catalogued, jpeg
from helpers.tiff import ramp, tiff
from PIL import Image, ImageOps

from fedxray.core.errors import UserError
from fedxray.core.files import write_table
from fedxray.data.pixels import Unreadable, common_range, inspect, resample, to_grey

RAMP = ramp()


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def of_grey(size=32, fit="stretch"):
    """What the 8-bit picture becomes."""
    return to_grey(encode(Image.fromarray(RAMP)), size, fit).astype(int)


def real_jpegs():
    path = REAL / "originals-48.zip"
    if not path.exists():
        pytest.skip(f"{path.name} (real radiographs) is not on this machine")
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith("jpeg"):
                yield name, archive.read(name)


def test_the_same_array_for_any_number_of_processes(make_zip, tmp_path):
    names = [f"a/{'NORMAL' if n % 2 else 'PNEUMONIA'}/{n}.jpeg" for n in range(9)]
    path = make_zip({name: jpeg(60 + 10 * n, (80 + n, 60)) for n, name in enumerate(names)})
    table, _, _ = catalogued(path, patient="image")
    write_table(tmp_path / "c.csv", table)
    for processes in (1, 3):
        resample(path, tmp_path / "c.csv", 16, processes, tmp_path / f"{processes}.npy")
    one, three = (np.load(tmp_path / f"{n}.npy") for n in (1, 3))
    assert one.shape == (9, 16, 16)
    assert one.dtype == np.uint8
    assert np.array_equal(one, three)
    assert np.array_equal(
        one[3], to_grey(jpeg(60 + 10 * names.index(table["image"][3]), (80 + names.index(table["image"][3]), 60)), 16)
    )


def test_resample_passes_the_fit_and_the_greys_on_and_names_what_is_unreadable(make_zip, tmp_path):
    deep = encode(Image.fromarray(RAMP.astype(np.uint16) * 16))
    path = make_zip({"NORMAL/a.png": deep, "PNEUMONIA/b.png": deep})
    digest = hashlib.sha256(deep).hexdigest()
    (tmp_path / "c.csv").write_text(f"image,sha256\nNORMAL/a.png,{digest}\nPNEUMONIA/b.png,{digest}\n")
    resample(path, tmp_path / "c.csv", 32, 1, tmp_path / "x.npy", fit="pad", greys=(0, 4095))
    for image in np.load(tmp_path / "x.npy"):
        assert np.abs(image - of_grey(fit="pad")).max() <= 1
    with pytest.raises(UserError, match=r"images\.zip: NORMAL/a\.png cannot be read \(more than 8 bits"):
        resample(path, tmp_path / "c.csv", 32, 1, tmp_path / "y.npy")


def test_an_image_that_changed_after_the_catalogue_is_told(make_zip, tmp_path):
    (tmp_path / "c.csv").write_text("image,sha256\nNORMAL/a.png,0123\n")
    with pytest.raises(
        UserError, match=r"NORMAL/a\.png has changed since the catalogue was made; run the workflow again"
    ):
        resample(
            make_zip({"NORMAL/a.png": encode(Image.fromarray(RAMP))}), tmp_path / "c.csv", 32, 1, tmp_path / "x.npy"
        )
    assert not (tmp_path / "x.npy").exists()


def test_modes_of_8_bits_and_orientation():
    grey = of_grey()
    for mode in ("RGB", "P", "LA", "RGBA", "CMYK"):
        kind = "TIFF" if mode == "CMYK" else "PNG"
        assert np.abs(to_grey(encode(Image.fromarray(RAMP).convert(mode), kind), 32) - grey).max() <= 2
    assert set(np.unique(to_grey(encode(Image.fromarray(RAMP).convert("1", dither=0)), 32))) >= {0, 255}
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    turned = encode(Image.fromarray(RAMP), "JPEG", exif=exif, quality=95)
    assert np.abs(to_grey(turned, 32) - np.rot90(grey, -1)).max() <= 4
    assert (inspect(turned).width, inspect(turned).height) == (48, 64)


def test_the_bytes_of_8_bit_images_are_those_of_pillow():
    for draft in (True, False):
        data = jpeg(200, (500, 300))
        with Image.open(io.BytesIO(data)) as file:
            if draft:
                file.draft("L", (64, 64))
            oracle = np.asarray(ImageOps.exif_transpose(file).convert("L").resize((32, 32), Image.Resampling.BILINEAR))
        assert np.array_equal(to_grey(data, 32, draft=draft), oracle)


def test_draft_decoding_is_close_to_full_decoding():
    for name, data in real_jpegs():
        draft, full = (to_grey(data, 64, draft=draft).astype(float) for draft in (True, False))
        assert np.abs(draft - full).mean() < 2.5, name  # of 255; mostly edges


def test_a_padded_image_keeps_the_ratio_of_its_sides_in_the_middle_of_black():
    white = encode(Image.new("L", (80, 40), 255))
    padded = to_grey(white, 16, "pad")
    assert np.array_equal(padded[4:12], np.full((8, 16), 255))
    assert padded.sum() == 8 * 16 * 255
    assert np.array_equal(to_grey(encode(Image.new("L", (40, 80), 255)), 16, "pad"), padded.T)
    thread = to_grey(encode(Image.new("L", (500, 1), 255)), 16, "pad")
    assert thread.sum() == 16 * 255
    assert np.array_equal(
        to_grey(encode(Image.fromarray(RAMP[:48, :48])), 16, "pad"),
        to_grey(encode(Image.fromarray(RAMP[:48, :48])), 16),
    )


DEEP = {  # the picture in every kind of more than 8 bits: (its bytes, the values that are black and white)
    "PNG, 16 bits": (encode(Image.fromarray(RAMP.astype(np.uint16) * 257)), (0, 65535)),
    "PNG, 12 bits": (encode(Image.fromarray(RAMP.astype(np.uint16) * 16)), (0, 4080)),
    "PNG, 10 bits": (encode(Image.fromarray(RAMP.astype(np.uint16) * 4)), (0, 1020)),
    "PNG, 8 bits in 16": (encode(Image.fromarray(RAMP.astype(np.uint16))), (0, 255)),
    "TIFF, 16 bits": (tiff(RAMP.astype(np.uint16) * 257), (0, 65535)),
    "TIFF, 16 bits, compressed": (tiff(RAMP.astype(np.uint16) * 257, compressed=True), (0, 65535)),
    "TIFF, 16 bits, big-endian": (tiff(RAMP.astype(np.uint16) * 257, ">"), (0, 65535)),
    "TIFF, 16 bits, big-endian, compressed": (tiff(RAMP.astype(np.uint16) * 257, ">", compressed=True), (0, 65535)),
    "TIFF, 16 bits, white is zero": (tiff(65535 - RAMP.astype(np.uint16) * 257, white_is_zero=True), (0, 65535)),
    "TIFF, 12 of 16 bits, white is zero": (tiff(4080 - RAMP.astype(np.uint16) * 16, white_is_zero=True), (0, 4080)),
    "TIFF, 16 bits, signed": (tiff(RAMP.astype(np.int16) * 250 - 32000), (-32000, 31750)),
    "TIFF, 16 bits, signed, compressed": (tiff(RAMP.astype(np.int16) - 99, compressed=True), (-99, 156)),
    "TIFF, 16 bits, signed, big-endian": (tiff(RAMP.astype(np.int16) * 250 - 32000, ">"), (-32000, 31750)),
    "TIFF, 8 bits, signed": (tiff((RAMP.astype(np.int16) - 128).astype(np.int8)), (-128, 127)),
    "TIFF, 12 bits, packed": (tiff(RAMP.astype(np.uint16) * 16, bits=12), (0, 4080)),
    "TIFF, 12 bits, packed, odd": (tiff(RAMP[:, :-1].astype(np.uint16) * 16, bits=12), (0, 4080)),
    "TIFF, 32 bits": (tiff(RAMP.astype(np.uint32) * 16843009), (0, 2**32 - 1)),
    "TIFF, 32 bits, compressed": (tiff(RAMP.astype(np.uint32) * 16843009, compressed=True), (0, 2**32 - 1)),
    "TIFF, 32 bits, signed": (tiff(RAMP.astype(np.int32) * 1000 - 70000), (-70000, 185000)),
    "TIFF, 32 bits, signed, big-endian": (tiff(RAMP.astype(np.int32) * 1000 - 70000, ">"), (-70000, 185000)),
    "TIFF, floats": (tiff(RAMP.astype(np.float32) / 255 - 0.5), (-0.5, 0.5)),
    "TIFF, floats, compressed": (tiff(RAMP.astype(np.float32) / 255, compressed=True), (0, 1)),
    "TIFF, floats, big-endian": (tiff(RAMP.astype(np.float32) / 255, ">"), (0, 1)),
    "TIFF, floats, white is zero": (tiff(1 - RAMP.astype(np.float32) / 255, white_is_zero=True), (0, 1)),
}


@pytest.mark.parametrize("kind", DEEP)
def test_deeper_images_have_the_grey_of_the_8_bit_image_once_they_have_a_range(kind):
    data, greys = DEEP[kind]
    expected = to_grey(encode(Image.fromarray(RAMP[:, :-1])), 32).astype(int) if "odd" in kind else of_grey()
    assert np.abs(to_grey(data, 32, greys=greys) - expected).max() <= 1
    facts = inspect(data)
    assert (facts.width, facts.height) == (63 if "odd" in kind else 64, 48)
    # The ramp has every grey from 0 to 255, so that the smallest and largest values are the ends of the range.
    assert (facts.low, facts.high) == pytest.approx((greys[0], greys[1] - greys[1] / 255 * ("odd" in kind)), rel=0.02)
    assert facts.whole == ("floats" not in kind)
    with pytest.raises(Unreadable, match="needs a range of greys"):
        to_grey(data, 32)


def test_greys_beyond_the_range_are_black_and_white():
    deep = tiff(np.array([[0, 100, 140, 200, 1000]], np.uint16))
    with pytest.raises(Unreadable, match="no range of greys: black is 100, white 100"):
        to_grey(deep, 1, greys=(100, 100))
    assert to_grey(deep, 5, greys=(100, 200))[2].tolist() == [0, 0, 102, 255, 255]


def test_deep_images_are_turned_upright_once():
    stored = np.rot90(RAMP.astype(np.uint16) * 16)  # by a quarter against the clock
    assert np.abs(to_grey(tiff(stored, orientation=6), 32, greys=(0, 4080)) - of_grey()).max() <= 1
    exif = Image.Exif()
    exif[0x0112] = 6
    png = encode(Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    assert np.abs(to_grey(png, 32, greys=(0, 4080)) - of_grey()).max() <= 1
    assert (inspect(png).width, inspect(png).height) == (64, 48)


def test_the_range_of_a_data_set():
    for bits in (8, 10, 12, 14, 16):
        assert common_range(0, 2**bits - 1, True) == (0, 2**bits - 1)
    assert common_range(17, 256, True) == (0, 1023)
    assert common_range(0, 65536, True) == (0, 65536)
    assert common_range(-1, 4000, True) == (-1, 4000)
    assert common_range(0, 0.9, False) == (0, 0.9)


def test_the_same_pixels_have_one_checksum_in_whatever_format():
    image = Image.fromarray(RAMP)
    same = {inspect(encode(image, kind)).sha256_pixels for kind in ("PNG", "BMP", "TIFF", "GIF")}
    same |= {inspect(encode(image.convert("RGB"))).sha256_pixels, inspect(tiff(RAMP)).sha256_pixels}
    same |= {inspect(tiff(RAMP, ">", compressed=True)).sha256_pixels}
    assert len(same) == 1
    deep = RAMP.astype(np.uint16) * 16
    deeper = {inspect(tiff(deep, order, compressed=True)).sha256_pixels for order in "<>"}
    deeper |= {inspect(encode(Image.fromarray(deep))).sha256_pixels, inspect(tiff(deep.astype(np.int32))).sha256_pixels}
    assert len(deeper) == 1
    other = RAMP.copy()
    other[3, 3] ^= 1
    wide = inspect(encode(Image.fromarray(RAMP.reshape(32, 96)))).sha256_pixels
    assert len({*same, *deeper, wide, inspect(encode(Image.fromarray(other))).sha256_pixels}) == 4


def png_of(bits, colour, channels, side=8):
    """A PNG of zeros by its bytes, of a kind that Pillow does not write."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = zlib.compress((b"\0" + bytes(8 * channels * bits // 8)) * 8)
    header = struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


nan = np.full((4, 4), 0.5, np.float32)
nan[2, 1] = np.nan
pages = encode(Image.fromarray(RAMP), "TIFF", save_all=True, append_images=[Image.fromarray(RAMP)])
moving = encode(Image.fromarray(RAMP), "PNG", save_all=True, append_images=[Image.fromarray(255 - RAMP)])
REFUSED = {
    "colour of 16 bits": (png_of(16, 2, 3), "16 bits with colour"),
    "colour and transparency of 16 bits": (png_of(16, 6, 4), "16 bits with colour"),
    "transparency of 16 bits": (png_of(16, 4, 2), "16 bits with colour"),
    "TIFF, colour of 16 bits": (tiff(RAMP[:, :63].astype(np.uint16), colours=3), "16 bits with colour"),
    "NaN": (tiff(nan), "not finite"),
    "infinite": (tiff(np.where(np.isnan(nan), np.inf, nan)), "not finite"),
    "two pages": (pages, "2 images in one file"),
    "two frames": (moving, "2 images in one file"),
    "signed, big-endian, compressed": (tiff(RAMP.astype(np.int16), ">", compressed=True), "big-endian TIFF"),
    "32 bits, signed, big-endian, compressed": (tiff(RAMP.astype(np.int32), ">", compressed=True), "big-endian TIFF"),
    "floats, big-endian, compressed": (tiff(RAMP.astype(np.float32), ">", compressed=True), "big-endian TIFF"),
    "32 bits, big-endian": (tiff(RAMP.astype(np.uint32), ">"), "a kind of TIFF"),
    "12 bits, big-endian": (tiff(RAMP.astype(np.uint16), ">", bits=12), "a kind of TIFF"),
    "white is zero, big-endian": (tiff(RAMP.astype(np.uint16), ">", white_is_zero=True), "a kind of TIFF"),
    "64 bits": (tiff(RAMP.astype(np.float64)), "a kind of TIFF"),
    "no image": (b"no image", "neither JPEG, PNG, TIFF, BMP nor DICOM"),
    "nothing": (b"", "neither JPEG, PNG, TIFF, BMP nor DICOM"),
    "cut": (jpeg(90)[:300], "cut short"),
    "cut PNG": (encode(Image.fromarray(RAMP))[:200], "cut short|broken"),
    "an absurd size": (png_of(8, 0, 1, 60000), "too large"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_be_wrong_is_refused(kind):
    data, reason = REFUSED[kind]
    for read in (inspect, lambda data: to_grey(data, 16, greys=(0, 4095))):
        with pytest.raises(Unreadable, match=reason) as caught:
            read(data)
        assert caught.value.__cause__ is None
        assert "\n" not in str(caught.value)


def test_8_bit_tiffs_whose_white_is_zero_are_turned():
    for compressed in (False, True):
        assert np.array_equal(to_grey(tiff(255 - RAMP, white_is_zero=True, compressed=compressed), 32), of_grey())


def test_broken_bytes_end_in_unreadable_or_an_image():
    kinds = [encode(Image.fromarray(RAMP), kind) for kind in ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP")]
    kinds += [
        tiff(RAMP.astype(np.uint16), compressed=True),
        tiff(RAMP.astype(np.uint16), bits=12),
        DEEP["PNG, 16 bits"][0],
    ]
    rng = np.random.default_rng(1)
    for number in range(60 * len(kinds)):
        data = bytearray(kinds[number % len(kinds)])
        for place in rng.integers(len(data), size=rng.integers(4)):
            data[place] = rng.integers(256)
        data = bytes(data[: rng.integers(len(data))] if number % 2 else data)
        for read in (inspect, lambda data: to_grey(data, 16, greys=(0, 4095))):
            with suppress(Unreadable):
                assert read(data) is not None


def test_a_fault_of_the_machine_is_not_one_of_the_image(monkeypatch):
    def without_files(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Image, "open", without_files)
    with pytest.raises(OSError, match="Too many open files"):
        inspect(b"")
