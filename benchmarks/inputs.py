"""The inputs of the rows, made once under build/bench and results/benchmark-*.

They are real images where this machine has them, else the phantom.
"""

import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from benchmarks.measure import ROOT, python, run
from fedxray.core.files import read_json, write_array, write_table
from fedxray.data.drawing import draw_patient
from fedxray.data.site import make_site
from fedxray.experiment.experiment import Experiment
from fedxray.experiment.privacy import privacy_of
from fedxray.experiment.settings import Settings

BUILD = ROOT / "build" / "bench"
REAL = ROOT.parent / "shared" / "data"
ARCHIVE, ORIGINALS = REAL / "chest-xray-pneumonia-224.zip", REAL / "originals-48.zip"
SNAKEMAKE = python("-m", "snakemake", "--cores", "2")
SITES = ("us", "europe", "asia")


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder on this disk, which is removed afterwards."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        yield Path(name)


def originals(count: int, phantoms: int = 0) -> Path:
    """A folder with `count` JPEGs in NORMAL and PNEUMONIA. Few differ: the others are links to the same files.

    The images are the untouched originals where this machine has them, else 48 phantoms enlarged to that size; with
    `phantoms`, that many phantoms in their own size. So the disk is not measured, and not filled.
    """
    folder = BUILD / f"images-{phantoms or 'originals'}-{count}"
    if folder.exists():
        return folder
    different = _phantoms(phantoms) if phantoms else _real_originals() if ORIGINALS.exists() else _enlarged_phantoms()
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    for number in range(count):
        label, data = different[number % len(different)]
        path = part / label / f"{number:06d}.jpeg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < len(different):
            path.write_bytes(data)
        else:
            os.link(part / label / f"{number % len(different):06d}.jpeg", path)
    return part.rename(folder)  # at the end, so that the name means a whole folder


def _real_originals() -> list[tuple[str, bytes]]:
    """(label, JPEG) of the untouched originals."""
    with zipfile.ZipFile(ORIGINALS) as archive:
        return [(Path(name).parent.name, archive.read(name)) for name in archive.namelist()]


def _phantoms(count: int) -> list[tuple[str, bytes]]:
    """(label, JPEG) of the first image of `count` phantom patients."""
    images = (draw_patient(1, patient)[0] for patient in range(1, count + 1))
    return [(Path(name).parent.name, data) for name, _, _, data in images]


def _enlarged_phantoms() -> list[tuple[str, bytes]]:
    """48 of these in about the size of the originals, and in grey, as most of the originals are."""
    enlarged = []
    for label, data in _phantoms(48):
        with Image.open(io.BytesIO(data)) as image, io.BytesIO() as file:
            image.convert("L").resize((1300, 900), Image.Resampling.BICUBIC).save(file, "JPEG", quality=92)
            enlarged.append((label, file.getvalue()))
    return enlarged


def source(quick: bool) -> str:
    """`real` or `phantom`: the images that `experiment` has."""
    return "phantom" if quick or not ARCHIVE.exists() else "real"


def experiment(quick: bool) -> Path:
    """The results folder of an experiment with its sites' data and startup kits, and without runs; of 64 pixels.

    With `quick` it has few phantoms, of 32 pixels.
    """
    folder = ROOT / "results" / f"benchmark-{'quick' if quick else source(quick)}"
    dataset = {"source": "kermany", "archive": str(ARCHIVE)} if source(quick) == "real" else {"source": "phantom"}
    if source(quick) == "phantom":
        dataset["phantom"] = {"patients": 90 if quick else 2500, "seed": 1}
    values = [f"experiment={folder.name}", f"dataset={json.dumps(dataset)}", f"image_size={32 if quick else 64}"]
    run([*SNAKEMAKE, "--until", "make_site", "provision_federation", "--config", *values])
    return folder


def site_folders(folder: Path) -> list[Path]:
    """The directories of the sites of `experiment`."""
    return [folder / "sites" / name for name in SITES]


def random_sites(folder: Path, images: int, size: int, sites: tuple = SITES) -> None:
    """Directories of `sites`: `images` random training images in all, two test images each; and a validation set."""
    rng, each = np.random.default_rng(1), images // len(sites)
    parts = [(site, split) for site in sites for split in ["train"] * each + ["test"] * 2]
    parts += [("shared", "validation")] * max(4, each // 8)
    rows = [(f"{number}", number % 2, "none", f"p{number}", split, site) for number, (site, split) in enumerate(parts)]
    table = pd.DataFrame(rows, columns=["image", "label", "aetiology", "patient", "split", "site"])
    folder.mkdir(parents=True)
    write_table(folder / "split.csv", table.assign(hospital=table["site"]))
    write_array(folder / "pixels.npy", rng.integers(0, 256, (len(rows), size, size), np.uint8))
    for site in (*sites, "shared"):
        make_site(folder / "split.csv", [folder / "pixels.npy"], site, folder / site)


def settings(shared: Path, epochs: int, **changed) -> dict:
    """The fields of Settings in the default configuration, for images of the size of those in `shared`, on the CPU."""
    default = Experiment.from_config(default_config())
    size = read_json(shared / "card.json")["image_size"]
    return asdict(default.settings(default.runs[0])) | {"image_size": size, "epochs": epochs, "device": "cpu"} | changed


def options(chosen: dict) -> list[str]:
    """The settings as options on the command line of a script."""
    return Settings(**chosen).options()


def open_options(chosen: dict) -> list[str]:
    """The same, for a script that also takes the privacy of a run: without noise."""
    return options(chosen) + privacy_of(default_config()["privacy"]).options()


def default_config() -> dict:
    """config/config.yaml."""
    return yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
