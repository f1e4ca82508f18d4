"""What every data set says of itself, for the rules that fetch its images and for the pages that describe it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Dataset:
    """A data set that the configuration's `dataset.source` may name."""

    name: str  # the value of `dataset.source`
    title: str  # as the pages call it
    licence: str
    citation: str  # empty where there is nothing to cite
    about: str  # for the datasheet: where the images come from, who labelled them and how patients are told apart
    synthetic: bool = False
    limits: tuple[str, ...] = ()  # for the datasheet: sentences about what does not follow from it
    model_limits: tuple[str, ...] = ()  # for the model card: sentences about a model that was trained on it
    rule: str = ""  # the rule that writes its images into one zip; empty if the user has to have them
    path_key: str = ""  # the key of `dataset` that names images which the user has; empty if only `rule` makes them
    handle: str = ""  # for rule fetch_kaggle: "owner/name" of a data set, or the name of a competition
    reading: Mapping[str, Any] = field(default_factory=dict)  # how its files are read: values of `Reading`
