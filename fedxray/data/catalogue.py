"""The catalogue: one row per image, and who is whose patient."""

import hashlib
import io
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pandas as pd
from PIL import Image

from fedxray.core.errors import UserError
from fedxray.core.workers import workers
from fedxray.data.source import Source, open_reader

COLUMNS = [
    *("image", "label", "aetiology", "patient", "official_split", "acquisition"),
    *("width", "height", "mode", "sha256", "duplicate_group"),
]
KAGGLE = re.compile(r"(?:(?P<person>person\d+)_(?P<aetiology>bacteria|virus)_|(?P<normal>(?:NORMAL2-)?IM-\d+)-)\d")


def build_catalogue(path: Path, bad_images: str, processes: int) -> tuple[pd.DataFrame, dict]:
    """Read every image of the source; returns (catalogue with `COLUMNS`, summary).

    Raises UserError if an image cannot be decoded and `bad_images` is "stop" ("drop" leaves it out and counts it), or
    if byte-identical images have different labels.
    """
    with Source(path) as source:
        names, labels, manifest = source.names, source.labels, source.manifest
    facts = [row for rows in in_chunks(_inspect, path, names, processes, "catalogue") for row in rows]
    table = pd.DataFrame(facts, columns=["image", "width", "height", "mode", "sha256"])
    table["label"] = labels
    keys = [_key(name, label) for name, label in zip(names, labels, strict=True)]
    table["patient"], table["aetiology"] = zip(*keys, strict=True)
    table["official_split"] = [_official_split(name) for name in names]
    table["acquisition"] = ""
    if manifest is not None:
        for column, given in (("patient", "patient"), ("official_split", "split"), ("acquisition", "site")):
            if given in manifest:
                table[column] = manifest[given].where(manifest[given] != "", table[column])
    bad = table[table["width"] == 0]
    if len(bad) and bad_images == "stop":
        shown = ", ".join(bad["image"][:5]) + (", ..." if len(bad) > 5 else "")
        raise UserError(
            f"{path}: {len(bad)} images cannot be read: {shown}; mend them, or leave them out: dataset.bad_images: "
            "drop in the configuration, --bad-images drop on the command line"
        )
    table = table[table["width"] > 0].reset_index(drop=True)
    table["duplicate_group"] = _duplicate_groups(table)
    table["patient"] = _bind(table)
    synthetic = manifest is not None and "synthetic" in manifest and bool((manifest["synthetic"] == "yes").any())
    return table[COLUMNS], _summary(table, list(bad["image"])) | {"synthetic": synthetic}


def in_chunks(work: Callable, path: Path, images: tuple, processes: int, label: str, *extra) -> Iterator:
    """`work(path, a chunk of images, *extra)` for every chunk, in order, over `processes`; progress on stderr."""
    size = max(1, min(128, len(images) // (4 * processes) + 1))
    chunks = [images[i : i + size] for i in range(0, len(images), size)]
    constants = [[value] * len(chunks) for value in (path, *extra)]
    with workers(processes) as pool:
        for number, result in enumerate(pool.map(work, constants[0], chunks, *constants[1:]), 1):
            if number == len(chunks) or number * 5 // len(chunks) > (number - 1) * 5 // len(chunks):
                print(f"{label}: {min(number * size, len(images))}/{len(images)} images", file=sys.stderr, flush=True)
            yield result


def _inspect(path: Path, names: tuple) -> list[tuple]:
    """(name, width, height, mode, sha256) of each image; width 0 if it cannot be decoded whole."""
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


def _key(name: str, label: int) -> tuple[str, str]:
    """(patient, aetiology) by Kaggle's names; a name of another form is its own patient.

    The number alone is no patient: person 23 with bacteria and person 23 with a virus are two.
    """
    match = KAGGLE.match(PurePosixPath(name).name)
    if match and match["person"]:
        return f"{match['person']}-{match['aetiology']}", match["aetiology"]
    patient = match["normal"] if match else name
    return patient, "unknown" if label else "none"


def _official_split(name: str) -> str:
    parts = [part.lower() for part in PurePosixPath(name).parts[:-1]]
    return next((part for part in parts if part in ("train", "val", "test")), "")


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
    """Patients that share a byte-identical image become one, under the least of their keys (union-find)."""
    parent = {patient: patient for patient in table["patient"]}

    def root(patient: str) -> str:
        while parent[patient] != patient:
            patient = parent[patient]
        return patient

    for _, patients in table[table["duplicate_group"] > 0].groupby("duplicate_group")["patient"]:
        least = min(root(patient) for patient in patients)
        for patient in patients:
            parent[root(patient)] = least
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
