"""What every data set says of itself, for the rules that fetch its images and for the pages that describe it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fedxray.core.errors import UserError


@dataclass(frozen=True)
class Dataset:
    """A data set that the configuration's `dataset.source` may name."""

    name: str  # the value of `dataset.source`
    title: str  # as the pages call it
    licence: str
    citation: str  # empty where there is nothing to cite
    synthetic: bool
    rule: str = ""  # the rule that writes its images into one zip; empty if the user has to have them
    path_key: str = ""  # the key of `dataset` that names images which the user has; empty if only `rule` makes them
    handle: str = ""  # "owner/name" of the data set at Kaggle, for rule fetch_kaggle

    def path(self, section: Mapping) -> str:
        """Where the user has the images, by the configuration's section `dataset`; "" if `rule` has to make them.

        Raises UserError if nothing is there.
        """
        path = section[self.path_key] if self.path_key else ""
        if (path or not self.rule) and not (path and Path(path).exists()):
            raise UserError(
                f"config: dataset.{self.path_key}: {path or 'the empty path'} does not exist; correct the path"
            )
        return path
