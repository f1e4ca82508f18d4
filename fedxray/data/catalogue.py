"""The catalogue: one row per image, with its patient and label, and the images that are there twice."""

import hashlib
import io
from pathlib import Path

import pandas as pd
from PIL import Image

from fedxray.core.errors import UserError
from fedxray.core.workers import in_chunks
from fedxray.data.names import official_split, patient_and_aetiology
from fedxray.data.source import Source, open_reader

COLUMNS = [
    *("image", "label", "aetiology", "patient", "official_split", "acquisition"),
    *("width", "height", "mode", "sha256", "duplicate_group"),
]
MANIFEST = {"patient": "patient", "official_split": "split", "acquisition": "site"}  # {column: the manifest's column}


def build_catalogue(path: Path, bad_images: str, processes: int) -> tuple[pd.DataFrame, dict]:
    """Read every image of the source `path`; returns (catalogue with `COLUMNS`, summary).

    Patients, aetiologies and official splits come from the file names; the cells of a manifest replace them where they
    are not empty. Raises UserError if an image cannot be decoded and `bad_images` is "stop" ("drop" leaves it out and
    counts it), or if byte-identical images have different labels.
    """
    with Source(path) as source:
        names, labels, manifest = source.names, source.labels, source.manifest
    rows = [row for chunk in in_chunks(_inspect, names, processes, "catalogue", path) for row in chunk]
    table = pd.DataFrame(rows, columns=["image", "width", "height", "mode", "sha256"])
    table["label"] = labels
    patients = [patient_and_aetiology(name, label) for name, label in zip(names, labels, strict=True)]
    table["patient"], table["aetiology"] = zip(*patients, strict=True)
    table["official_split"] = [official_split(name) for name in names]
    table["acquisition"] = ""
    if manifest is not None:
        for column, cells in MANIFEST.items():
            if cells in manifest:
                table[column] = manifest[cells].where(manifest[cells] != "", table[column])
    bad = table[table["width"] == 0]
    if len(bad) and bad_images == "stop":
        shown = ", ".join(bad["image"][:5]) + (", ..." if len(bad) > 5 else "")
        raise UserError(
            f"{path}: {len(bad)} images cannot be read: {shown}; fix them, or leave them out: dataset.bad_images: "
            "drop in the configuration, --bad-images drop on the command line"
        )
    table = table[table["width"] > 0].reset_index(drop=True)
    table["duplicate_group"] = _duplicate_groups(table)
    table["patient"] = _bind(table)
    synthetic = manifest is not None and "synthetic" in manifest and bool((manifest["synthetic"] == "yes").any())
    return table[COLUMNS], _summary(table, list(bad["image"])) | {"synthetic": synthetic}


def _inspect(names: tuple, path: Path) -> list[tuple]:
    """(name, width, height, mode, sha256) of each image; the width is 0 if the image cannot be decoded to its end."""
    rows, source = [], open_reader(path)
    for name in names:
        data = source.read(name)
        digest = hashlib.sha256(data).hexdigest()
        try:
            with Image.open(io.BytesIO(data)) as image:
                image.load()
                rows.append((name, image.width, image.height, image.mode, digest))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            rows.append((name, 0, 0, "", digest))
    return rows


def _duplicate_groups(table: pd.DataFrame) -> pd.Series:
    """A number from 1 for each group of byte-identical images, 0 for the others; raises UserError if labels differ."""
    groups = table.groupby("sha256", sort=False)
    for _, rows in groups:
        if len(rows) > 1 and rows["label"].nunique() > 1:
            first, second = rows.drop_duplicates("label")["image"][:2]
            raise UserError(f"{first} and {second} are byte-identical but labelled differently; remove one of them")
    repeated = table["sha256"].duplicated(keep=False)
    numbers = {digest: number for number, digest in enumerate(table["sha256"][repeated].unique(), 1)}
    return table["sha256"].map(numbers).fillna(0).astype(int)


def _bind(table: pd.DataFrame) -> pd.Series:
    """Each image's patient, where patients that share a byte-identical image are one, under the first of their keys.

    The patients are joined by union-find, so that a chain of shared images makes one patient too.
    """
    parent = {patient: patient for patient in table["patient"]}

    def root(patient: str) -> str:
        while parent[patient] != patient:
            patient = parent[patient]
        return patient

    for _, patients in table[table["duplicate_group"] > 0].groupby("duplicate_group")["patient"]:
        first = min(root(patient) for patient in patients)
        for patient in patients:
            parent[root(patient)] = first
    return table["patient"].map(root)


def _summary(table: pd.DataFrame, dropped: list[str]) -> dict:
    """Counts for the report, and one SHA-256 over every image's name and content."""
    contents = "\n".join(f"{name} {digest}" for name, digest in zip(table["image"], table["sha256"], strict=True))
    return {
        "images": len(table),
        "patients": int(table["patient"].nunique()),
        "dropped": dropped,
        "duplicate_groups": int(table["duplicate_group"].max()),
        "aetiologies": table["aetiology"].value_counts().sort_index().to_dict(),
        "official_splits": table["official_split"].value_counts().sort_index().to_dict(),
        "sha256": hashlib.sha256(contents.encode()).hexdigest(),
    }
