"""The phantom: synthetic chest radiographs, drawn so that the whole experiment runs anywhere.

Anatomy varies by patient, pose and breath by image, exposure, blur and noise by acquisition device. Pneumonia is
patchy opacity of one lobe (bacteria) or faint mottling of both lungs (virus). It resembles a radiograph so that the
workflow meets what real data bring; it says nothing of medicine.
"""

import io
import sys
import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from fedxray.errors import UserError
from fedxray.files import atomic
from fedxray.seeds import stream

AETIOLOGIES, SHARES = ("none", "bacteria", "virus"), (0.4, 0.36, 0.24)
# Exposure (gamma), blur (pixels) and noise (grey levels) of the three devices.
DEVICES = {"device-a": (0.85, 0.5, 4.0), "device-b": (1.0, 0.8, 6.0), "device-c": (1.2, 1.1, 8.0)}
GRID = 256  # pixels of a side while drawing
CONTRAST = 100.0  # grey levels of a dense opacity


def draw_phantom(output: Path, patients: int, seed: int, processes: int) -> None:
    """Write a zip in Kaggle's layout and naming, and a manifest.csv that names the device of each image as its site.

    The same bytes for the same `patients` and `seed`, whatever `processes`. Raises UserError for too few patients.
    """
    if patients < 30:
        raise UserError(f"--patients {patients}: too few for three splits at three sites; use 30 or more")
    chunk = max(1, patients // (8 * processes))
    with atomic(output) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        rows = ["image,label,site"]
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            drawn = pool.map(draw_patient, [seed] * patients, range(1, patients + 1), chunksize=chunk)
            for number, images in enumerate(drawn, 1):
                for name, label, device, data in images:
                    archive.writestr(zipfile.ZipInfo(name), data)  # dated 1980, whenever it is drawn
                    rows.append(f"{name},{label},{device}")
                if number % max(1, patients // 5) == 0:
                    print(f"phantom: {number}/{patients} patients", file=sys.stderr, flush=True)
        archive.writestr(zipfile.ZipInfo("manifest.csv"), "\n".join([rows[0], *sorted(rows[1:])]) + "\n")


def draw_patient(seed: int, patient: int) -> list[tuple[str, str, str, bytes]]:
    """The images of one patient: (name in the archive, label, device, JPEG)."""
    rng = stream(seed, "phantom", patient)
    aetiology = rng.choice(AETIOLOGIES, p=SHARES)
    device = list(DEVICES)[rng.integers(3)]
    split = rng.choice(["train", "val", "test"], p=[0.87, 0.01, 0.12])
    label = "NORMAL" if aetiology == "none" else "PNEUMONIA"
    anatomy = _draw_anatomy(rng)
    images = []
    for number in range(1, 1 + rng.choice([1, 2, 3, 4], p=[0.5, 0.25, 0.15, 0.1])):
        own = stream(seed, "phantom", patient, number)
        if aetiology == "none":
            prefix = "NORMAL2-IM" if patient % 3 == 0 else "IM"
            name = f"{prefix}-{patient:04d}-0001" + (f"-{number:04d}" if number > 1 else "")
        else:
            name = f"person{patient}_{aetiology}_{10 * patient + number}"
        data = _encode(_draw_image(anatomy, aetiology, own), DEVICES[device], own)
        images.append((f"chest_xray/{split}/{label}/{name}.jpeg", label, device, data))
    return images


def _draw_anatomy(rng: np.random.Generator) -> dict:
    """What stays the same over a patient's images; lengths are shares of the image's half side."""
    return {
        "width": rng.uniform(0.78, 0.92),
        "lung_x": rng.uniform(0.37, 0.43),
        "lung_width": rng.uniform(0.25, 0.32),
        "lung_height": rng.uniform(0.60, 0.72),
        "heart": rng.uniform(0.20, 0.30),
        "tilt": rng.uniform(0.05, 0.20),
        "ribs": rng.uniform(6.5, 8.5),
        "rib_phase": rng.uniform(0, 2 * np.pi),
        "bone": rng.uniform(10, 22),
        "vessels": rng.uniform(5, 15),
        "markings": rng.uniform(0, 14),  # fine as an opacity is, in healthy lungs too
        "texture": _smooth_noise(rng, 5.0),
        "shadows": [(rng.uniform(-0.6, 0.6), rng.uniform(-0.3, 0.6), rng.uniform(0.15, 0.35)) for _ in range(2)],
        "severity": rng.uniform(0.0, 1.1),  # so that some cases cannot be seen
        "site": (rng.choice([-1, 1]), rng.uniform(-0.45, 0.45)),
    }


def _draw_image(anatomy: dict, aetiology: str, rng: np.random.Generator) -> np.ndarray:
    """One exposure, float64 (GRID, GRID) of grey levels, before the device."""
    y, x = np.mgrid[-1 : 1 : GRID * 1j, -1 : 1 : GRID * 1j]
    angle, breath = rng.normal(0, 0.03), rng.uniform(0.88, 1.06)
    x, y = x + angle * y + rng.normal(0, 0.03), (y - angle * x) / breath + rng.normal(0, 0.03)
    body = _soft(1 - np.hypot(x / anatomy["width"], np.maximum(np.abs(y) - 0.75, 0) / 0.4), 0.05)
    lungs = np.zeros_like(x)
    for side in (-1, 1):
        height = anatomy["lung_height"] * (1.0 if side < 0 else 0.96)
        across = (side * x - anatomy["lung_x"] - anatomy["tilt"] * y) / anatomy["lung_width"]
        along = (y + 0.08) / height
        dome = _soft(height * 0.78 - 0.25 * (side * x - anatomy["lung_x"]) ** 2 / 0.1 - y, 0.03)  # the diaphragm
        lungs = np.maximum(lungs, _soft(1 - np.hypot(across, along), 0.06) * dome)
    heart = _soft(1 - np.hypot((x - 0.10) / anatomy["heart"], (y - 0.30) / 0.34), 0.12)
    middle = np.exp(-((x / 0.12) ** 2))
    image = 150 * body - 92 * lungs + 70 * heart * lungs + 38 * middle * body
    arcs = np.sin(anatomy["ribs"] * np.pi * (y + 0.35 * np.abs(x) ** 1.5) + anatomy["rib_phase"])
    image += anatomy["bone"] * body * _soft(arcs - 0.35, 0.2) * (np.abs(x) > 0.1)
    hila = np.exp(-(((np.abs(x) - 0.22) / 0.16) ** 2) - ((y - 0.02) / 0.3) ** 2)
    image += anatomy["vessels"] * lungs * (0.5 + anatomy["texture"]) * (0.4 + 1.5 * hila)
    for centre_x, centre_y, size in anatomy["shadows"]:  # breast, scapula, skin folds: smooth, and in the well too
        image += 9 * _soft(1 - np.hypot(x - centre_x, y - centre_y) / size, 0.3)
    image += anatomy["markings"] * lungs * _smooth_noise(rng, 3.0)
    return image + lungs * _opacity(anatomy, aetiology, x, y, rng)


def _opacity(anatomy: dict, aetiology: str, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What pneumonia adds inside the lungs, in grey levels; faint in some patients."""
    if aetiology == "none":
        return np.zeros_like(x)
    fine, dense = _smooth_noise(rng, 3.0), CONTRAST * anatomy["severity"]
    if aetiology == "bacteria":
        side, height = anatomy["site"]
        spread = np.exp(-(((x - side * anatomy["lung_x"]) / 0.24) ** 2) - ((y - height) / 0.30) ** 2)
        return dense * spread * (0.35 + 1.1 * fine)
    return dense * np.exp(-(((y - 0.1) / 0.7) ** 2)) * (0.08 + 0.6 * fine)


def _encode(image: np.ndarray, device: tuple, rng: np.random.Generator) -> bytes:
    """The image as its device records it: exposure, blur, noise, size; some in RGB. JPEG bytes."""
    gamma, blur, noise = device
    level = np.clip(image * rng.uniform(0.85, 1.1) + rng.uniform(-8, 18), 0, 255) / 255
    grey = Image.fromarray((255 * level ** (gamma * rng.uniform(0.85, 1.15))).astype(np.uint8))
    width = int(rng.integers(260, 480))
    grey = grey.filter(ImageFilter.GaussianBlur(blur * rng.uniform(0.7, 1.3)))
    grey = grey.resize((width, int(width * rng.uniform(0.7, 0.95))), Image.Resampling.BICUBIC)
    values = np.asarray(grey, np.float64) + rng.normal(0, noise, (grey.height, grey.width))
    grey = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    file = io.BytesIO()
    (grey.convert("RGB") if rng.random() < 0.05 else grey).save(file, "JPEG", quality=88)
    return file.getvalue()


def _soft(value: np.ndarray, width: float) -> np.ndarray:
    """0 where `value` is negative, 1 where it is positive, smooth over about `width`."""
    return 0.5 * (1 + np.tanh(value / width))


def _smooth_noise(rng: np.random.Generator, scale: float) -> np.ndarray:
    """Noise of mean 0 and deviation 1 that varies over about `scale` hundredths of the image, (GRID, GRID)."""
    side = int(100 / scale)
    coarse = Image.fromarray(rng.normal(0, 1, (side, side)).astype(np.float32))
    return np.asarray(coarse.resize((GRID, GRID), Image.Resampling.BICUBIC), np.float64)
