"""A site's own data: one directory with its train and test images and the shared validation set, and a data card."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fedxray.data.cohort import SHARED
from fedxray.errors import UserError
from fedxray.files import read_json, read_table, sha256, write_array, write_json, write_table


@dataclass(frozen=True)
class SiteData:
    """What a site holds: its name, `images` uint8 (n, size, size), and `table`, one row per image (images.csv)."""

    name: str
    images: np.ndarray
    table: pd.DataFrame

    def part(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """(images uint8 (n, size, size), labels float32 (n,)) of `train`, `validation` or `test`."""
        rows = (self.table["split"] == split).to_numpy()
        return self.images[rows], self.table["label"].to_numpy(np.float32)[rows]


def make_site(split: Path, pixels: Path, site: str, images: Path, table: Path, card: Path) -> None:
    """Write the directory of `site` from the split and the pixels; `shared` gets the validation set alone."""
    rows = read_table(split)
    own = ((rows["site"] == site) & (rows["split"] != "unused")) | (rows["site"] == SHARED)
    part = rows[own]
    values = np.load(pixels, mmap_mode="r")[part.index]
    write_array(images, values)
    write_table(table, part[["image", "label", "aetiology", "patient", "split"]])
    write_json(card, _card(site, values, part) | {"sha256": {"images": sha256(images), "table": sha256(table)}})


def load_site(directory: Path) -> SiteData:
    """Read a site's directory; raises UserError if a file is missing or not what the data card says."""
    directory = Path(directory)
    paths = {"images": directory / "images.npy", "table": directory / "images.csv"}
    try:
        card = read_json(directory / "card.json")
        changed = [path for key, path in paths.items() if sha256(path) != card["sha256"][key]]
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: missing; make the site's data again (make_site)") from error
    if changed:
        raise UserError(
            f"{changed[0]}: changed since its data card was written; make the site's data again (make_site)"
        )
    return SiteData(card["site"], np.load(paths["images"], allow_pickle=False), read_table(paths["table"]))


def pool(sites: list[SiteData], split: str) -> tuple[np.ndarray, np.ndarray]:
    """The parts `split` of several sites, one after the other in the order given."""
    images, labels = zip(*(site.part(split) for site in sites), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _card(site: str, values: np.ndarray, table: pd.DataFrame) -> dict:
    """The data card: counts, prevalence of pneumonia and intensity (0 to 255) of each split."""
    splits = {}
    for split in [name for name in ("train", "validation", "test") if (table["split"] == name).any()]:
        rows = (table["split"] == split).to_numpy()
        part, pixels = table[rows], values[rows]
        splits[split] = {
            "images": len(part),
            "patients": int(part["patient"].nunique()),
            "prevalence": round(float(part["label"].mean()), 4),
            "aetiologies": part["aetiology"].value_counts().sort_index().to_dict(),
            "intensity_mean": round(float(pixels.mean()), 2),
            "intensity_std": round(float(pixels.std()), 2),
            "intensity_quantiles": {str(q): int(np.quantile(pixels, q)) for q in (0.05, 0.5, 0.95)},
        }
    return {"site": site, "image_size": int(values.shape[1]), "splits": splits}
