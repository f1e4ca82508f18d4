"""A site's own data: one directory of its train and test images and the validation set, its card, and the registry."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fedxray import __version__
from fedxray.core.errors import UserError
from fedxray.core.files import read_json, read_table, sha256, write_array, write_json, write_table
from fedxray.data.cohort import SHARED

SCHEMA = 1  # of card.json and of the registry; counts up when a key changes its meaning
SPLITS = ("train", "validation", "test")


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


def make_site(
    split: Path, pixels: Path, site: str, images: Path, table: Path, card: Path, provenance: dict | None = None
) -> None:
    """Write the directory of `site` from the split and the pixels; `shared` gets the validation set alone.

    `provenance` says where the data come from, and goes into the card: `source_sha256` (of the catalogue), `synthetic`
    and `split` (seed and fractions), plain values that identify no patient.
    """
    rows = read_table(split)
    own = ((rows["site"] == site) & (rows["split"] != "unused")) | (rows["site"] == SHARED)
    part = rows[own]
    values = np.load(pixels, mmap_mode="r")[part.index]
    write_array(images, values)
    write_table(table, part[["image", "label", "aetiology", "patient", "split"]])
    checksums = {"images": sha256(images), "table": sha256(table)}
    origin = (provenance or {}) | {"fedxray": __version__}
    write_json(card, _card(site, values, part) | {"sha256": checksums, "provenance": origin})


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


def register(cards: Iterable[dict]) -> pd.DataFrame:
    """The registry of site data sets: one row for each card, by site, all of it text and numbers.

    Columns: site, schema, image_size, images, patients, images and patients of each split (`train_images`, ...),
    prevalence (of pneumonia, over train and test), sha256_images, sha256_table, source_sha256 and split (JSON), empty
    where the card does not say, synthetic, and fedxray (the version that made it). Raises UserError for a card of
    another schema, and for two of one site.
    """
    rows = [_row(card) for card in cards]
    names = [row["site"] for row in rows]
    if twice := sorted(name for name in set(names) if names.count(name) > 1):
        raise UserError(f"registry: {twice[0]} has two cards; register one data set of each site")
    return pd.DataFrame(sorted(rows, key=lambda row: row["site"]), columns=_COLUMNS)


_COLUMNS = [
    *("site", "schema", "image_size", "images", "patients"),
    *(f"{split}_{what}" for split in SPLITS for what in ("images", "patients")),
    *("prevalence", "sha256_images", "sha256_table", "source_sha256", "split", "synthetic", "fedxray"),
]


def note_of(registry: Path) -> str:
    """What each figure, page and model must say of the data of this registry: that they are synthetic, if any are."""
    return "Synthetic phantom data" if read_table(registry, ("synthetic",))["synthetic"].any() else ""


def _row(card: dict) -> dict:
    """A card as a row of the registry."""
    if card.get("schema") != SCHEMA:
        raise UserError(
            f"site {card.get('site')}: its card has schema {card.get('schema')}, this library {SCHEMA}; "
            "make the site's data again"
        )
    splits, origin = card["splits"], card["provenance"]
    own = [splits[split] for split in ("train", "test") if split in splits] or list(splits.values())
    images = sum(part["images"] for part in own)
    counts = {
        f"{split}_{what}": splits.get(split, {}).get(what, 0) for split in SPLITS for what in ("images", "patients")
    }
    return {
        **{key: card[key] for key in ("site", "schema", "image_size", "images", "patients")},
        **counts,
        "prevalence": round(sum(part["prevalence"] * part["images"] for part in own) / images, 4),
        "sha256_images": card["sha256"]["images"],
        "sha256_table": card["sha256"]["table"],
        "source_sha256": origin.get("source_sha256", ""),
        "split": json.dumps(origin["split"], sort_keys=True) if "split" in origin else "",
        "synthetic": bool(origin.get("synthetic")),
        "fedxray": origin["fedxray"],
    }


def _card(site: str, values: np.ndarray, table: pd.DataFrame) -> dict:
    """The card: counts, prevalence of pneumonia, intensity (0 to 255) of each split; no time, path, name or patient."""
    splits = {}
    for split in [name for name in SPLITS if (table["split"] == name).any()]:
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
    return {
        "schema": SCHEMA,
        "site": site,
        "image_size": int(values.shape[1]),
        "images": len(table),
        "patients": int(table["patient"].nunique()),
        "splits": splits,
    }
