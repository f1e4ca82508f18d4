"""Drawing of the phantom: synthetic chest radiographs, so that the whole experiment runs anywhere.

A chest is soft tissue minus the air of the lungs, plus bones. Anatomy and disease vary by patient; pose, breath and
progress by image; exposure, blur and noise by acquisition device. Pneumonia takes air away: in one lobe, dense and
patchy (bacteria), or faintly around the bronchi of both lungs (virus), so it is never darker than healthy lung. Wide
shadows, haze, vessels and leads, which every patient may have, keep the mean brightness from showing who is ill. An
image resembles a radiograph so that the workflow meets what real data bring; it is synthetic and says nothing about
medicine.
"""

import io
import logging
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from fedxray.core.errors import UserError
from fedxray.core.files import atomic
from fedxray.core.seeds import stream
from fedxray.core.workers import workers

log = logging.getLogger(__name__)

AETIOLOGIES, SHARES = ("none", "bacteria", "virus"), (0.4, 0.36, 0.24)
# The exposure (gamma), blur (pixels of the grid) and noise (grey levels) of the three devices.
DEVICES = {"device-a": (0.9, 0.3, 3.0), "device-b": (1.0, 0.5, 4.5), "device-c": (1.15, 0.7, 6.0)}
SECOND = (0.75, 0.9, 8.0)  # the same of the scanner that takes their place in the second wave
GRID = 192  # pixels along a side of the grid on which a chest is drawn
# Lengths and places below are shares of the grid's half side: x from -1 (the patient's right) to 1, y down.
X = np.linspace(-1, 1, GRID, dtype=np.float32)[None, :]
Y = np.linspace(-1, 1, GRID, dtype=np.float32)[:, None]
ASIDE = np.abs(X)
TISSUE, AIR, HEART, SPINE = 155.0, 124.0, 16.0, 26.0  # grey levels of each at full thickness; AIR is subtracted
FAINT = 0.13  # the share of the patients with pneumonia whose images show next to nothing of it
ZOOM = 0.84  # the share of the grid's width that an image shows
# The place of a consolidation in each lobe: x and y, and its spread along both.
LOBES = (
    *((-0.40, -0.34, 0.17, 0.20), (-0.38, 0.04, 0.17, 0.17), (-0.44, 0.24, 0.18, 0.19)),
    *((0.40, -0.32, 0.17, 0.22), (0.48, 0.20, 0.16, 0.21)),
)


def draw_phantom(
    output: Path, patients: int, seed: int, processes: int, second: int = 0, pneumonia: float = 0.6
) -> None:
    """Write the zip `output` in the layout and naming of Kaggle's archive.

    Its manifest.csv names the device of each image as its site and says that the image is synthetic. With `second`
    patients more there is a second wave, in the column `wave`: of these the share `pneumonia` is ill, and a new scanner
    stands at each site. The same `patients` and `seed` give the same images of the first wave, and all the same the
    same bytes, whatever `processes` is. Raises UserError for too few patients.
    """
    if patients < 30:
        raise UserError(f"--patients {patients}: too few for three splits at three sites; use 30 or more")
    chunk = max(1, patients // (8 * processes))
    with atomic(output) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        rows = ["image,label,site,synthetic,wave" if second else "image,label,site,synthetic"]
        ill = [None] * patients + [pneumonia] * second
        with workers(processes) as pool:
            drawn = pool.map(draw_patient, [seed] * len(ill), range(1, len(ill) + 1), ill, chunksize=chunk)
            for number, images in enumerate(drawn, 1):
                wave = 2 if number > patients else 1
                for name, label, device, data in images:
                    archive.writestr(zipfile.ZipInfo(name), data)  # dated 1980, so that the bytes are always the same
                    row = f"{name},{label},{device},yes"
                    rows.append(f"{row},{wave}" if second else row)
                if number % max(1, patients // 5) == 0:
                    log.info("phantom: %d/%d patients", number, len(ill))
        archive.writestr(zipfile.ZipInfo("manifest.csv"), "\n".join([rows[0], *sorted(rows[1:])]) + "\n")


def draw_patient(seed: int, patient: int, pneumonia: float | None = None) -> list[tuple[str, str, str, bytes]]:
    """The images of one patient: (name in the archive, label, device, JPEG).

    `pneumonia` is the chance of it in the second wave, whose scanner is new; None is the first wave.
    """
    rng = stream(seed, "phantom", patient)
    shares = SHARES if pneumonia is None else (1 - pneumonia, 0.6 * pneumonia, 0.4 * pneumonia)
    aetiology = rng.choice(AETIOLOGIES, p=shares)
    device = list(DEVICES)[rng.integers(3)]
    split = rng.choice(["train", "val", "test"], p=[0.87, 0.01, 0.12])
    label = "NORMAL" if aetiology == "none" else "PNEUMONIA"
    solid, air, tree = _draw_chest(rng)
    opacity = 0.0 if aetiology == "none" else _draw_opacity(aetiology, tree, rng)
    images = []
    for number in range(1, 1 + rng.choice([1, 2, 3, 4], p=[0.5, 0.25, 0.15, 0.1])):
        exposure = stream(seed, "phantom", patient, number)
        if aetiology == "none":
            prefix = "NORMAL2-IM" if patient % 3 == 0 else "IM"
            name = f"{prefix}-{patient:04d}-0001" + (f"-{number:04d}" if number > 1 else "")
        else:
            name = f"person{patient}_{aetiology}_{10 * patient + number}"
        data = _expose(solid, air, opacity, DEVICES[device] if pneumonia is None else SECOND, exposure)
        images.append((f"chest_xray/{split}/{label}/{name}.jpeg", label, device, data))
    return images


def _draw_chest(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One patient's chest: its solid parts (grey levels), the air of the lungs and the bronchial tree (shares)."""
    width, apex, base = rng.uniform(0.64, 0.76), rng.uniform(-0.84, -0.72), rng.uniform(0.42, 0.60)
    outer = width * (1 - np.clip((0.35 - Y) / (0.35 - apex), 0, 1) ** 2.4) ** 0.55  # the rib cage, narrow above
    dome = base + rng.uniform(0.12, 0.30) * ((ASIDE / width - 0.55) / 0.5) ** 2 + rng.uniform(0.0, 0.08) * (X > 0)
    cage, below = _soft(outer - ASIDE, 0.035), _soft(Y - dome, 0.04)
    middle = 0.11 + 0.04 * np.exp(-(((Y + 0.8) / 0.25) ** 2)) + 0.03 * np.exp(-(((Y - base) / 0.3) ** 2))
    heart = _draw_heart(width, base, rng)
    tree = _draw_tree(width, base, rng)
    clear = rng.uniform(0.75, 1.0) * (1 + rng.uniform(-0.1, 0.1) * X)  # one lung may be lighter, as in a turned pose
    air = cage * (1 - below) * _soft(ASIDE - middle, 0.04) * (1 - 0.92 * heart) * clear
    hazes = [  # of a poor breath or thick skin: as bright as pneumonia, but smooth
        (side * rng.uniform(0.3, 0.6), rng.uniform(-0.5, 0.5), *rng.uniform(0.2, 0.36, 2), rng.uniform(0, 0.2))
        for side in (-1, 1, 1, -1)
    ]
    air *= np.exp(-_blobs(hazes))
    air *= 1 - rng.uniform(0.06, 0.26) * tree - rng.uniform(0.0, 0.05) * _smooth_noise(rng, 40)
    solid = _draw_body(width, rng) + HEART * heart * cage + rng.uniform(5, 20) * below
    column = np.exp(-((X / 0.085) ** 2)) * (1 + 0.14 * np.cos(rng.uniform(20, 26) * Y + rng.uniform(0, 6)))
    solid += SPINE * column + _draw_ribs(outer, width, rng) + _draw_clavicles(rng)
    if rng.random() < 0.5:  # there is gas in the stomach
        solid -= below * _blobs([(rng.uniform(0.25, 0.45), base + 0.17, 0.13, 0.07, rng.uniform(10, 40))])
    return solid, air, tree


def _draw_body(width: float, rng: np.random.Generator) -> np.ndarray:
    """Soft tissue (grey levels): neck, shoulders and trunk, thinner to the sides, with wide shadows over all of it."""
    trunk = width + rng.uniform(0.18, 0.34) + 0.5 * np.exp(-(((Y + 0.74) / 0.2) ** 2))
    edge = 0.34 + (trunk - 0.34) / (1 + np.exp(-(Y + rng.uniform(0.84, 0.94)) / 0.03))
    thickness = np.sqrt(np.clip(1 - (X / edge) ** 2, 0, 1))
    shadows = [  # of breast, scapula and folds of skin
        (*rng.uniform((-0.7, -0.6), (0.7, 0.5)), *rng.uniform(0.20, 0.45, 2), rng.uniform(0, 26)) for _ in range(4)
    ]
    return TISSUE * thickness**0.6 + np.minimum(1, 4 * thickness) * _blobs(shadows)


def _draw_heart(width: float, base: float, rng: np.random.Generator) -> np.ndarray:
    """The heart and the great vessels (shares): an ellipse that points down to the left, the arch and both hila."""
    tilt, size = rng.uniform(0.3, 0.7), rng.uniform(0.85, 1.1)
    x, y = X - 0.17 * width, Y - base + 0.10
    along, across = x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt)
    heart = _soft(1 - (along / (0.56 * width * size)) ** 2 - (across / (0.44 * width * size)) ** 2, 0.25)
    arch = _blobs([(0.09, base - 0.76, 0.08, 0.10, 0.9), (0.11, base - 0.52, 0.11, 0.14, 0.9)])
    hila = _blobs([(side * 0.2, base - 0.45, 0.08, 0.13, rng.uniform(0.2, 0.45)) for side in (-1, 1)])
    return np.maximum(heart, np.minimum(arch + hila, 1))


def _draw_ribs(outer: np.ndarray, width: float, rng: np.random.Generator) -> np.ndarray:
    """The ribs (grey levels): those at the back slope to the sides, the fainter ones at the front to the middle."""
    count, phase, bone = rng.uniform(4.6, 5.6), rng.uniform(0, 1), rng.uniform(7, 15)
    turn = np.linspace(0, 1, 256, endpoint=False, dtype=np.float32)
    band = _soft(0.21 - np.abs(turn - 0.5), 0.05) * (0.6 + 10 * (turn - 0.5) ** 2)  # a rib is denser at its edges
    out = ASIDE / width
    back = count * (Y - 0.42 * out**2.2 + 0.10 * out) + phase
    front = count * (Y + 0.55 * out - 0.25 * out**2) + phase + rng.uniform(0, 1)
    ribs = band[(back * 256).astype(np.int32) & 255] + 0.4 * band[(front * 256).astype(np.int32) & 255] * (out > 0.35)
    return bone * ribs * _soft(outer + 0.04 - ASIDE, 0.03) * _soft(ASIDE - 0.07, 0.05) * _soft(0.75 - Y, 0.4)


def _draw_clavicles(rng: np.random.Generator) -> np.ndarray:
    """Both collar bones (grey levels), of slightly different height."""
    middle = rng.uniform(-0.66, -0.56) - 0.30 * ASIDE - 0.05 * np.sin(6 * ASIDE) + rng.uniform(-0.06, 0.06) * X
    return rng.uniform(14, 26) * _soft(0.04 - np.abs(Y - middle), 0.025) * _soft(ASIDE - 0.08, 0.04)


def _draw_tree(width: float, base: float, rng: np.random.Generator) -> np.ndarray:
    """Vessels and bronchi that branch from the hila and thin out (shares of full density)."""
    image = Image.new("L", (GRID, GRID))
    draw = ImageDraw.Draw(image)
    for side in (-1, 1):
        ends = [(side * 0.17, base - 0.45, angle) for angle in np.linspace(-1.2, 1.4, 6) + rng.normal(0, 0.15, 6)]
        for thick, grey in ((3, 210), (2, 190), (2, 140), (1, 120), (1, 80)):
            branches = []
            for x, y, angle in ends:
                length = rng.uniform(0.07, 0.14) * width / 0.7
                to_x, to_y = x + side * length * np.cos(angle), y + length * np.sin(angle)
                draw.line([(v + 1) * GRID / 2 for v in (x, y, to_x, to_y)], fill=grey, width=thick)
                turns = rng.normal((0.3, -0.3), 0.15) if rng.random() < 0.4 else rng.normal(0, 0.25, 1)
                branches += [(to_x, to_y, angle + turn) for turn in turns]
            ends = branches
    return np.asarray(image.filter(ImageFilter.GaussianBlur(0.7)), np.float32) / 255


def _draw_opacity(aetiology: str, tree: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The share of the lungs' air that pneumonia takes, 0 to 1: one lobe is dense, or both lungs have faint patches."""
    severity = rng.uniform(0.0, 0.3) if rng.random() < FAINT else rng.uniform(0.85, 1.45)
    texture = np.clip(0.9 + 0.55 * _smooth_noise(rng, 28), 0.15, 3)
    if aetiology == "bacteria":
        x, y, wide, high = LOBES[rng.integers(len(LOBES))]
        centres = rng.normal((x, y), (wide, high), (50, 2))
        patches = [(*centre, *rng.uniform(0.025, 0.06, 2), rng.uniform(0.3, 1.2)) for centre in centres]
        dense = 1 - np.exp(-severity * 1.3 * _blobs(patches) * texture)
        return dense * (1 - 0.5 * tree)  # the bronchi keep their air: air bronchograms
    places = [(side * (0.18 + rng.gamma(2, 0.11)), rng.normal(0.02, 0.28)) for side in (-1, 1) for _ in range(25)]
    patches = [(*centre, *rng.uniform(0.025, 0.06, 2), rng.uniform(0.2, 1.1)) for centre in places]
    return 1 - np.exp(-severity * _blobs(patches) * texture)


def _expose(solid: np.ndarray, air: np.ndarray, opacity: np.ndarray | float, device: tuple, rng) -> bytes:
    """The JPEG bytes of one exposure on its device, with its pose, breath, leads, gain, blur, noise and size.

    Some are in RGB.
    """
    gamma, blur, noise = device
    image = solid - AIR * rng.uniform(0.85, 1.05) * air * (1 - rng.uniform(0.8, 1.0) * opacity)
    grey = Image.fromarray(np.clip(image * rng.uniform(0.85, 1.0) + rng.uniform(0, 14), 0, 255).astype(np.uint8))
    _draw_marks(grey, rng)
    width = int(rng.integers(240, 420))
    size = width, int(width * rng.uniform(0.7, 0.95))
    grey = grey.filter(ImageFilter.GaussianBlur(blur * rng.uniform(0.7, 1.3)))
    grey = grey.transform(size, Image.Transform.AFFINE, _pose(size, rng), Image.Resampling.BILINEAR)
    values = np.asarray(grey, np.float32) + noise * rng.standard_normal(size[::-1], np.float32)
    curve = 255 * (np.arange(256) / 255) ** (gamma * rng.uniform(0.9, 1.1))
    grey = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).point(curve.astype(int).tolist())
    file = io.BytesIO()
    (grey.convert("RGB") if rng.random() < 0.05 else grey).save(file, "JPEG", quality=88)
    return file.getvalue()


def _pose(size: tuple[int, int], rng: np.random.Generator) -> tuple:
    """Pillow's affine map from the image's pixels to the grid's: a turn, a shift, and a zoom that hides the edges."""
    angle, breath = rng.normal(0, 0.02), rng.uniform(0.80, 0.90)  # radians, and the share of the grid's height
    turn = np.array([[1, -angle], [angle, 1]]) * [[ZOOM], [breath]]
    shift = GRID / 2 * (1 + rng.uniform(-0.04, 0.04, 2) - turn.sum(axis=1))
    return tuple(np.column_stack([turn * GRID / size, shift]).ravel().tolist())


def _draw_marks(image: Image.Image, rng: np.random.Generator) -> None:
    """Draw the letter R beside the patient's right shoulder and, in one of ten images, electrodes with their leads."""
    draw = ImageDraw.Draw(image)
    x, y = rng.uniform(0.11, 0.16) * GRID, rng.uniform(0.25, 0.5) * GRID
    if rng.random() < 0.9:
        letter = ((0, 8), (0, 0), (4, 0), (5, 2), (4, 4), (0, 4), (2, 4), (5, 8))
        draw.line([(x + u, y + v) for u, v in letter], fill=235)
    if rng.random() < 0.1:
        along = np.linspace(0, 1, 16)[:, None]
        for start in rng.uniform(0.25, 0.75, (rng.integers(1, 4), 2)) * GRID:
            bend, end = start + rng.uniform((-60, 0), (60, 80)), (rng.uniform(0.2, 0.8) * GRID, 1.05 * GRID)
            curve = (1 - along) ** 2 * start + 2 * along * (1 - along) * bend + along**2 * end
            draw.line(curve.ravel().tolist(), fill=205)
            draw.ellipse([*(start - 3), *(start + 3)], outline=215, fill=190)


def _blobs(blobs: list[tuple]) -> np.ndarray:
    """The sum of Gaussian blobs, each (x, y, deviation along x, deviation along y, height), float32 (GRID, GRID)."""
    total = np.zeros((GRID, GRID), np.float32)
    for x, y, wide, high, height in np.array(blobs, np.float32):  # the product of two exponentials of a line each
        total += np.exp(-0.5 * ((Y - y) / high) ** 2) * (height * np.exp(-0.5 * ((X - x) / wide) ** 2))
    return total


def _soft(value: np.ndarray, width: float) -> np.ndarray:
    """0 where `value` is below -`width`, 1 where it is above `width`, and a smooth cubic between."""
    share = np.clip(value / (2 * width) + 0.5, 0, 1)
    return share * share * (3 - 2 * share)


def _smooth_noise(rng: np.random.Generator, side: int) -> np.ndarray:
    """Noise of mean 0 and deviation about 1, from `side` points along each edge, float32 (GRID, GRID)."""
    coarse = Image.fromarray(rng.standard_normal((side, side), np.float32))
    return np.asarray(coarse.resize((GRID, GRID), Image.Resampling.BICUBIC))
