"""A site's data set: a folder with its train and test images, the validation set, their table and a data card."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fedxray import __version__
from fedxray.core.errors import UserError
from fedxray.core.files import read_json, read_table, sha256, write_array, write_json, write_table
from fedxray.data.labels import CLASSES, SHARED, SPLITS
from fedxray.data.trouble import Trouble

SCHEMA = 2  # of card.json; counts up when a key changes its meaning
COLUMNS = ["image", "label", "aetiology", "patient", "split", "own"]  # of images.csv; and `wave`, if there are several


class SiteFolder:
    """The folder of one site's data, or of the shared validation set: where its files lie."""

    def __init__(self, folder: str | Path):
        self.path = Path(folder)
        self.images = self.path / "images.npy"  # uint8 (n, size, size)
        self.table = self.path / "images.csv"  # row i is image i
        self.card = self.path / "card.json"


@dataclass(frozen=True)
class SiteData:
    """What a site holds: its name, `images` uint8 (n, size, size), and `table`, one row per image (images.csv)."""

    name: str
    images: np.ndarray
    table: pd.DataFrame

    def part(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """(images uint8 (n, size, size), labels float32 (n,)) of `train`, `validation` or `test`."""
        rows = (self.table["split"] == split).to_numpy()
        return self._of(rows)

    def patients(self, split: str) -> np.ndarray:
        """Whose each image of `part(split)` is, text (n,)."""
        return self.table["patient"][self.table["split"] == split].to_numpy(str)

    def own_validation(self) -> tuple[np.ndarray, np.ndarray]:
        """`part("validation")` of the site's own patients alone; the whole of it if theirs lacks a class."""
        rows = (self.table["split"] == "validation").to_numpy()
        own = rows & self.table["own"].to_numpy(bool)
        return self._of(own if self.table["label"][own].nunique() == len(CLASSES) else rows)

    def _of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.images[rows], self.table["label"].to_numpy(np.float32)[rows]


def make_site(
    split: Path,
    pixels: Sequence[Path],
    site: str,
    folder: Path,
    provenance: dict | None = None,
    trouble: Trouble | None = None,
) -> None:
    """Write the folder of `site` from the split and the pixels; `shared` gets the validation set alone.

    The site's table says of each image whether it is its `own`: of the validation set those whose `hospital` it is.
    `pixels` are the arrays of the sources, whose images follow one another as in the split. `provenance` says where the
    data come from, and goes into the card: `source_sha256` (of the catalogues), `synthetic`, `patients_known`, `fit`
    and `split` (seed and fractions), plain values that identify no patient; if there are waves, `waves` (of each the
    `source_sha256`). If `trouble` changes any of these images or labels, the card says so; raises UserError where there
    are waves, of which it knows nothing.
    """
    cohort = read_table(split)
    of_site = (cohort["site"] == site) & (cohort["split"] != "unused")
    rows = cohort[of_site | (cohort["site"] == SHARED)]
    rows = rows.assign(own=rows["hospital"] == site)
    values = _rows([np.load(path, mmap_mode="r") for path in pixels], rows.index.to_numpy())
    origin = (provenance or {}) | {"fedxray": __version__}
    if trouble is not None and "wave" in rows:
        raise UserError("trouble.kind: trouble on purpose is not made in data of several waves; set it to none")
    if trouble is not None and trouble.changed(rows).any():
        values, rows = trouble.spoil(values, rows)
        origin["trouble"] = trouble.about
    files = SiteFolder(folder)
    write_array(files.images, values)
    columns = [*COLUMNS, "wave"] if "wave" in rows else COLUMNS
    write_table(files.table, rows[columns])
    checksums = {"images": sha256(files.images), "table": sha256(files.table)}
    write_json(files.card, _card(site, values, rows) | {"sha256": checksums, "provenance": origin})


def _rows(arrays: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """The rows, ascending, of arrays (n, size, size) that follow one another; raises UserError if there are too few."""
    starts = np.cumsum([0, *(len(array) for array in arrays)])
    if len(rows) and rows[-1] >= starts[-1]:
        raise UserError(
            f"split: names {rows[-1] + 1} images or more, but the pixels have {starts[-1]}; make both again"
        )
    cuts = np.searchsorted(rows, starts)
    parts = zip(arrays, starts, cuts, cuts[1:], strict=False)
    return np.concatenate([array[rows[low:high] - start] for array, start, low, high in parts])


def origin(summaries: Sequence[dict], fit: str) -> dict:
    """What a data card says of where the data come from, by the summaries of their catalogues."""
    by_wave: dict[str, list[str]] = {}
    if any("waves" in summary for summary in summaries):
        for summary in summaries:
            for wave, of in summary.get("waves", {"1": summary}).items():
                by_wave.setdefault(wave, []).append(of["sha256"])
    return {
        "source_sha256": digest_of_all([summary["sha256"] for summary in summaries]),
        "synthetic": any(summary["synthetic"] for summary in summaries),
        "patients_known": all(summary["patients_known"] for summary in summaries),
        "fit": fit,
    } | ({"waves": {wave: digest_of_all(by_wave[wave]) for wave in sorted(by_wave, key=int)}} if by_wave else {})


def digest_of_all(digests: Sequence[str]) -> str:
    """One digest of several, in their order; a single one stays as it is."""
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()


def waves_of(table: pd.DataFrame) -> pd.Series:
    """The wave of each row of images.csv, a whole number from 1."""
    return table["wave"] if "wave" in table else pd.Series(1, table.index)


def load_site(folder: Path) -> SiteData:
    """Read a site's folder.

    Raises UserError if a file is missing or is not what the data card says, and if its card is of another schema.
    """
    files = SiteFolder(folder)
    try:
        card = read_json(files.card)
        paths = {"images": files.images, "table": files.table}
        changed = [path for key, path in paths.items() if sha256(path) != card["sha256"][key]]
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: missing; make the site's data again (make_site)") from error
    if card["schema"] != SCHEMA:
        raise UserError(
            f"{files.card}: schema {card['schema']}, this library has {SCHEMA}; make the site's data again (make_site)"
        )
    if changed:
        raise UserError(
            f"{changed[0]}: changed since its data card was written; make the site's data again (make_site)"
        )
    return SiteData(card["site"], np.load(files.images, allow_pickle=False), read_table(files.table))


def train_images(folders: Iterable[Path]) -> dict[str, int]:
    """{site: its number of training images}, from the data cards in the sites' directories, each of the site's name."""
    cards = {folder.name: read_json(SiteFolder(folder).card) for folder in folders}
    return {site: card["splits"]["train"]["images"] for site, card in cards.items()}


def wave_count(card: dict) -> int:
    """How many waves of patients the data set of a card has."""
    return max(map(int, card.get("waves", {"1": None})))


def train_patients(folders: Iterable[Path]) -> tuple[int, bool]:
    """(the training patients of all these sites, whether all are known), from the data cards in their directories.

    Where they are not known, each image counts as one.
    """
    cards = [read_json(SiteFolder(folder).card) for folder in folders]
    patients = sum(card["splits"]["train"]["patients"] for card in cards)
    return patients, all(card["provenance"].get("patients_known", True) for card in cards)


def pool(sites: list[SiteData], split: str) -> tuple[np.ndarray, np.ndarray]:
    """(images, labels) as of `SiteData.part`, of several sites, one after the other in the order of `sites`."""
    images, labels = zip(*(site.part(split) for site in sites), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _card(site: str, values: np.ndarray, table: pd.DataFrame) -> dict:
    """The card of images uint8 (n, size, size) and their table, with no time, path, file name or patient in it.

    Of each split it has counts, the prevalence of pneumonia, and the intensity (grey levels, 0 to 255); of the
    validation set also `own`, the counts of the site's own. If there are waves, `waves` has of each and of its splits
    the counts of images, of patients, and of those of them who were in an earlier wave (`again`).
    """
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
        if split == "validation":
            own = part[part["own"]]
            splits[split]["own"] = {"images": len(own), "patients": int(own["patient"].nunique())}
    return {
        "schema": SCHEMA,
        "site": site,
        "image_size": int(values.shape[1]),
        "images": len(table),
        "patients": int(table["patient"].nunique()),
        "splits": splits,
    } | ({"waves": _by_wave(table)} if "wave" in table else {})


def _by_wave(table: pd.DataFrame) -> dict:
    """{wave: {split: counts}} of a card."""
    first = table.groupby("patient")["wave"].transform("min")
    counts: dict[str, dict] = {}
    for (wave, split), part in table.groupby(["wave", "split"]):
        again = int(part["patient"][first[part.index] < wave].nunique())
        of = {"images": len(part), "patients": int(part["patient"].nunique()), "again": again}
        counts.setdefault(str(wave), {})[split] = of
    return {wave: {split: of[split] for split in SPLITS if split in of} for wave, of in counts.items()}
