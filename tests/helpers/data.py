"""Small data for tests: images, the directories of sites, and tables of runs."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from fedxray.core.files import write_array, write_table
from fedxray.data.site import make_site
from fedxray.experiment.experiment import Experiment


def jpeg(value, size=(40, 30), mode="L"):
    """A JPEG of one patient's grey, with a gradient that no other value has."""
    ramp = np.linspace(0, value, size[0] * size[1]).reshape(size[1], size[0]).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(ramp).convert(mode).save(file, "JPEG")
    return file.getvalue()


def make_sites(folder, sites=("us", "europe", "asia"), images=24, size=16, seed=0):
    """Directories of `sites` and `shared`: pneumonia is a bright square, so that a model can learn it."""
    rng, rows, pixels = np.random.default_rng(seed), [], []
    parts = [(site, split) for site in sites for split in ("train", "test")] + [("shared", "validation")]
    for site, split in parts:
        for number in range(images):
            label = number % 2
            image = rng.integers(0, 120, (size, size))
            image[4:9, 4:9] += 100 * label
            pixels.append(image.astype(np.uint8))
            name = f"{site}-{split}-{number}"
            aetiology = "virus" if label else "none"
            rows.append((name, label, aetiology, f"p-{name}", split, site))
    columns = ["image", "label", "aetiology", "patient", "split", "site"]
    write_table(folder / "split.csv", pd.DataFrame(rows, columns=columns))
    write_array(folder / "pixels.npy", np.stack(pixels))
    for site in (*sites, "shared"):
        make_site(folder / "split.csv", folder / "pixels.npy", site, folder / site)
    return {site: folder / site for site in sites}


def points_of(*models, cohort=""):
    """A row per (mode, site, lr, seed, validation AUROC); its path is its number."""
    rows = []
    for number, (mode, site, lr, seed, value) in enumerate(models):
        row = {"cohort": cohort, "mode": mode, "site": site, "lr": lr, "epochs": 4}
        row |= {"rounds": 4 if mode == "federated" else None, "local_epochs": 1 if mode == "federated" else None}
        row |= {"seed": seed, "parameters": 9, "bytes_sent": 0, "seconds": 2.5}
        row |= {"validation_auroc": value, "validation_accuracy": 0.5, "validation_loss": 0.5, "path": str(number)}
        rows.append(row)
    return pd.DataFrame(rows).astype({"rounds": "Int64", "local_epochs": "Int64"})


def make_settings(**changed):
    """The training settings of config/config.yaml on the CPU, seed 1 and one epoch, with what is `changed`."""
    config = yaml.safe_load((Path(__file__).parents[2] / "config" / "config.yaml").read_text())
    experiment = Experiment.from_config(config)
    return replace(experiment.settings(experiment.runs[0]), **({"device": "cpu", "epochs": 1} | changed))
