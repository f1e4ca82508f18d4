"""What every data set says of itself, for the rules that fetch its images and for the pages that describe it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Dataset:
    """A data set that the configuration's `dataset.source` may name."""

    name: str  # the value of `dataset.source`
    title: str  # as the pages call it
    licence: str
    citation: str  # empty where there is nothing to cite
    synthetic: bool
    made_by: str = ""  # the rule that writes its images into a zip; empty if the user has to have them
    path_key: str = ""  # the key of `dataset` that names images which the user has; empty if there is no such key
    handle: str = ""  # "owner/name" of the data set at Kaggle, for rule fetch_kaggle

    def images(self, section: Mapping, archive: Path) -> str | Path:
        """Where the images are: the path in the configuration's section `dataset`, or the zip that `made_by` writes."""
        return (section[self.path_key] if self.path_key else "") or archive

    def missing(self, section: Mapping, images: str | Path) -> str:
        """The fault of the configuration if the user should have `images` and has not; else empty."""
        path = section[self.path_key] if self.path_key else ""
        if self.made_by and not path:
            return ""
        key = f"config: dataset.{self.path_key}"
        if not path:
            return f"{key}: empty; set it to the path of your images"
        return "" if Path(images).exists() else f"{key}: {path} does not exist; correct the path"
