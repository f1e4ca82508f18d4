"""The source of images: a zip, which is never unpacked, or a directory, with or without a manifest."""

import io
import os
import re
import zipfile
from functools import cache
from pathlib import Path, PurePosixPath

import pandas as pd

from fedxray.core.errors import UserError

SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".tif", ".tiff")
LABELS = {"normal": 0, "pneumonia": 1, "0": 0, "1": 1}


class Reader:
    """Reads images by name, and lists none, so that it opens fast; raises BadZipFile for a file that is not a zip."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.root = self.path.parent if self.path.suffix == ".csv" else self.path
        self.zip = None if self.root.is_dir() else zipfile.ZipFile(self.path)

    def read(self, name: str) -> bytes:
        """The bytes of the file `name`."""
        return self.zip.read(name) if self.zip else (self.root / name).read_bytes()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.zip:
            self.zip.close()


@cache
def open_reader(path: Path) -> Reader:
    """The reader of `path`. A process opens it once: reading a zip's directory takes longer than a chunk's images."""
    return Reader(path)


os.register_at_fork(after_in_child=open_reader.cache_clear)  # a fork that kept the open file would share its position


class Source(Reader):
    """A reader that also lists the labelled images; use it as a context manager.

    `names` are sorted, `labels` has 0 (normal) or 1 (pneumonia) of each name, and `manifest` is the manifest as a table
    with one row per name, in the order of `names`, or None. Raises UserError for a path that does not exist, is no zip
    or has no images of one of the classes, and for a manifest that does not fit.
    """

    def __init__(self, path: str | Path):
        if not Path(path).exists():
            raise UserError(f"{path}: no such file or directory; it is where your images should be: check the path")
        try:
            super().__init__(path)
        except zipfile.BadZipFile as error:
            raise UserError(f"{path}: not a zip archive, or cut short; download it again") from error
        if self.zip:
            members = self.zip.namelist()
        else:
            members = [file.relative_to(self.root).as_posix() for file in self.root.rglob("*") if file.is_file()]
        manifest = self.path.name if self.path.suffix == ".csv" else "manifest.csv"
        self.manifest = _manifest(self, manifest, members) if manifest in members else None
        if self.manifest is not None:
            self.names = tuple(self.manifest["image"])
            self.labels = tuple(self.manifest["label"])
        else:
            labelled = sorted(_once(members))
            self.names = tuple(name for name, _ in labelled)
            self.labels = tuple(label for _, label in labelled)
        if not self.names:
            raise UserError(
                f"{path}: no images ({', '.join(SUFFIXES)}) in folders NORMAL and PNEUMONIA, and no manifest.csv"
            )
        for label, name in enumerate(("NORMAL", "PNEUMONIA")):
            if label not in self.labels:
                raise UserError(f"{path}: no image is {name}; both classes are needed")


def _folder_label(name: str) -> int | None:
    """The label by the innermost folder called NORMAL or PNEUMONIA; None without such a folder."""
    folders = [part.lower() for part in PurePosixPath(name).parts[:-1] if part.lower() in ("normal", "pneumonia")]
    return LABELS[folders[-1]] if folders else None


def _once(members: list[str]) -> list[tuple[str, int]]:
    """(name, label) of the images in labelled folders, each once.

    Resource forks, hidden files and the copies in Kaggle's archive are left out.
    """
    images = [
        (name, label)
        for name in members
        if name.lower().endswith(SUFFIXES)
        and (label := _folder_label(name)) is not None
        and "__MACOSX" not in name
        and not PurePosixPath(name).name.startswith(".")
    ]
    present = {name for name, _ in images}
    return [image for image in images if _first_copy(image[0]) == image[0] or _first_copy(image[0]) not in present]


def _first_copy(name: str) -> str:
    """The name that a copy in Kaggle's archive is of: `chest_xray/chest_xray/x` is a copy of `chest_xray/x`."""
    return re.sub(r"(^|/)chest_xray/chest_xray/", r"\1chest_xray/", name)


def _manifest(source: Source, name: str, members: list[str]) -> pd.DataFrame:
    """The manifest `name`, checked, sorted by image, with the labels as 0 or 1.

    Its columns are image and label, and it may have patient, site, split and synthetic.
    """
    path = f"{source.path}: {name}" if source.path.name != name else str(source.path)
    table = pd.read_csv(io.BytesIO(source.read(name)), dtype=str, keep_default_na=False)
    for column in ("image", "label"):
        if column not in table:
            raise UserError(f"{path}: no column {column}; it needs image and label, and may have patient, site, split")
    labels = table["label"].str.strip().str.lower().map(LABELS)
    if labels.isna().any():
        row = int(labels.isna().argmax())
        raise UserError(f"{path}: row {row + 2}: label {table['label'][row]!r}; use NORMAL or PNEUMONIA (or 0 or 1)")
    present = set(members)
    for image in table["image"]:
        if image not in present:
            raise UserError(f"{path}: image {image} is not there; paths are relative to the manifest")
    repeated = table["image"][table["image"].duplicated()]
    if len(repeated):
        raise UserError(f"{path}: image {repeated.iloc[0]} is listed twice")
    return table.assign(label=labels.astype(int)).sort_values("image", ignore_index=True)
