import io
import zipfile

import numpy as np
import pytest
from conftest import REAL
from helpers.data import jpeg
from PIL import Image

from fedxray.core.files import write_table
from fedxray.data.catalogue import build_catalogue
from fedxray.data.pixels import resample, to_grey


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_the_same_array_for_any_number_of_processes(make_zip, tmp_path):
    names = [f"a/{'NORMAL' if n % 2 else 'PNEUMONIA'}/{n}.jpeg" for n in range(9)]
    path = make_zip({name: jpeg(60 + 10 * n, (80 + n, 60)) for n, name in enumerate(names)})
    table, _ = build_catalogue(path, "stop", 1)
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


def test_modes_depth_and_orientation():
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    grey = to_grey(encode(Image.fromarray(ramp)), 32)
    deep = Image.fromarray(ramp.astype(np.uint16) * 257)
    assert np.abs(to_grey(encode(deep), 32).astype(int) - grey).max() <= 1
    for mode in ("RGB", "P", "LA", "RGBA"):
        assert np.abs(to_grey(encode(Image.fromarray(ramp).convert(mode)), 32).astype(int) - grey).max() <= 2
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    turned = to_grey(encode(Image.fromarray(ramp), "JPEG", exif=exif, quality=95), 32)
    assert np.abs(turned.astype(int) - np.rot90(grey, -1)).max() <= 4


def test_draft_decoding_is_close_to_full_decoding():
    path = REAL / "originals-48.zip"
    if not path.exists():
        pytest.skip(f"{path.name} (real radiographs) is not on this machine")
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith("jpeg"):
                data = archive.read(name)
                draft, full = (to_grey(data, 64, draft).astype(float) for draft in (True, False))
                assert np.abs(draft - full).mean() < 2.5, name  # of 255; mostly edges
