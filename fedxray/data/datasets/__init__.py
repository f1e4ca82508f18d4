"""The data sets that the workflow knows: a file for each says what it is and how its images come to be here.

A new one is a file beside these with a `DATASET`, which `DATASETS` lists and config/schema.yaml allows as
`dataset.source`. Nothing that computes a result imports this package, so that its words rerun no training, and it
imports no library, because the workflow loads it each time that it plans.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedxray.core.errors import UserError
from fedxray.data.datasets import folder, kermany, nih, phantom, rsna
from fedxray.data.datasets.contract import Dataset
from fedxray.data.reading import Reading, over, reading_of

DATASETS = {
    dataset.name: dataset for dataset in (phantom.DATASET, kermany.DATASET, nih.DATASET, rsna.DATASET, folder.DATASET)
}
OWN = ("archive", "folder", "phantom")  # keys of `dataset` that belong to one source and are not shared
SAME_PATIENTS = ({"nih", "rsna"},)  # RSNA's challenge took its images from those of NIH ChestX-ray14
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
RESERVED = ("pooled", "shared", "train", "validation", "test")  # words that stand where a test set is named


def get(source: str) -> Dataset:
    """The data set that `dataset.source` names; raises KeyError for a name that config/schema.yaml does not allow."""
    return DATASETS[source]


@dataclass(frozen=True)
class Source:
    """A data set as an experiment uses it: where its images are and how they are read."""

    name: str  # the data set's, or that of the hospital it belongs to: no two have the same
    dataset: Dataset
    folder: str  # of its catalogue and pixels, below results/<experiment>
    key: str  # where the configuration gives it, for errors
    section: Mapping[str, Any] = field(repr=False)  # the keys of `dataset` that hold for it

    @property
    def path(self) -> str:
        """Where the user has the images; "" if the data set's rule has to make them."""
        return self.section[self.dataset.path_key] if self.dataset.path_key else ""

    @property
    def site(self) -> str:
        """The hospital that all its images belong to; "" if they are distributed, or belong to several."""
        return self.section.get("site", "")

    @property
    def wave(self) -> int:
        """The wave of all its images; 1 if none is given."""
        return self.section.get("wave", 1)

    @property
    def patients(self) -> str:
        """Whose numbers its patients have: sources of which this is equal have the same patient under the same key."""
        if self.dataset.synthetic:  # each is drawn with persons of its own
            return self.name
        return self.dataset.name if self.dataset.handle else self.name.removesuffix(_of_wave(self.wave))

    @property
    def reading(self) -> Reading:
        """How its files are read."""
        return reading_of(over(self.dataset.reading, self.section), self.key)


def sources(config: Mapping) -> list[Source]:
    """The sources of an experiment, whose images hospitals train on, by its configuration; first is first.

    Raises UserError for a path that is not there or belongs to another source, a hospital that `sites` does not name or
    that no partition heeds, two data sets of the same persons, and a name that two sources have.
    """
    section = config["dataset"]
    if not section["sources"]:
        return [_checked(Source(section["source"], get(section["source"]), "data", "dataset", section))]
    if section["source"] != phantom.DATASET.name:  # the default
        raise UserError(f"config: dataset.source: {section['source']}, but dataset.sources lists others; leave one out")
    entries = [_entry(section, "sources", number) for number in range(len(section["sources"]))]
    for key in OWN:
        if key != "phantom" and section[key]:
            raise UserError(f"config: dataset.{key}: belongs to one source; give it in the entry of dataset.sources")
    for entry in entries:
        site = entry.section.get("site", "")
        if site and site not in config["sites"]:
            raise UserError(f"config: {entry.key}.site: {site} is not one of `sites` ({', '.join(config['sites'])})")
        if site and "acquisition" not in _partitions(config):
            raise UserError(
                f"config: {entry.key}.site: {site}, but split.partition: {config['split']['partition']} deals all "
                "images out to all hospitals; set split.partition: acquisition"
            )
        _refuse_same_patients(entry, entries)
    waves = {entry.wave for entry in entries}
    if missing := sorted({*range(1, max(waves) + 1)} - waves):
        raise UserError(
            f"config: dataset.sources: no entry is of wave {missing[0]}, of {max(waves)}; number the waves from 1 "
            "without a gap"
        )
    return _unique(entries)


def _of_wave(wave: int) -> str:
    """The end of the name of a source of a later wave, whose first one has the name without it."""
    return f"-wave{wave}" if wave > 1 else ""


def check_apart(sources: Iterable[Source], results: Path) -> None:
    """Raise UserError if an experiment's results lie in the folder of its images, and would be read as such."""
    for source in sources:
        path = Path(source.path).resolve()
        folder = path if path.is_dir() else path.parent
        if source.path and path.suffix.lower() != ".zip" and results.resolve().is_relative_to(folder):
            raise UserError(
                f"config: {source.key}.{source.dataset.path_key}: {source.path}: the results would lie among these "
                "images; move the images into a folder of their own"
            )


def _partitions(config: Mapping) -> set[str]:
    """Each value of split.partition that the experiment has, with those that are swept."""
    sweep, key = config["sweep"], "split.partition"
    swept = {point[key] for point in sweep["points"] if key in point}
    return {config["split"]["partition"], *sweep["grid"].get(key, ()), *swept}


def _refuse_same_patients(source: Source, others: list[Source]) -> None:
    """Raise UserError if one of the others has the persons of this source under other names, which nothing can tell."""
    for names in SAME_PATIENTS:
        name = source.dataset.name
        other = next((other.dataset.name for other in others if other.dataset.name in names - {name}), "")
        if other and name in names:
            raise UserError(
                f"config: {source.key}: its patients are those of {other}, on which hospitals train; take a data set "
                "of other patients"
            )


def external(config: Mapping) -> list[Source]:
    """The external tests of an experiment: sources on which no hospital trains, by its configuration.

    Raises UserError as `sources`, for the name of a hospital or of another test set, for a data set whose patients are
    those of a training source, for drawn images that would test a model of real ones, and for a remote federation.
    """
    section = config["dataset"]
    entries = _unique([_entry(section, "external", number) for number in range(len(section["external"]))])
    if entries and config["federation"]["where"] == "remote":
        raise UserError(
            "config: dataset.external: a remote federation predicts at its hospitals alone; leave it empty, and "
            "predict other images with the exported model (fedxray-predict)"
        )
    training = sources(config) if entries else []
    for source in entries:
        if source.name in (*config["sites"], *RESERVED) or not NAME.fullmatch(source.name):
            raise UserError(
                f"config: {source.key}: an external test cannot be called {source.name}; give it a `site` of its own, "
                "of small letters, digits and hyphens, that is no hospital"
            )
        _refuse_same_patients(source, training)
        if source.dataset.synthetic and not any(other.dataset.synthetic for other in training):
            raise UserError(f"config: {source.key}: drawn images say nothing of models of real ones; take it out")
    return entries


def _entry(section: Mapping, kind: str, number: int) -> Source:
    """A source that `dataset.sources` or `dataset.external` lists: {data set: {its keys}, site: hospital}."""
    entry, key = section[kind][number], f"dataset.{kind}.{number}"
    named = [name for name in entry if name in DATASETS]
    if len(named) != 1:
        raise UserError(
            f"config: {key}: name one data set ({', '.join(DATASETS)}), such as {{nih: {{archive: nih.zip}}}}"
        )
    dataset, given = get(named[0]), entry[named[0]] or {}
    if drawn := {"patients", "seed", "second"} & set(given) if dataset.name != phantom.DATASET.name else set():
        raise UserError(f"config: {key}.{dataset.name}.{min(drawn)}: is of the phantom, which is drawn; take it out")
    name = (entry.get("site") or dataset.name) + _of_wave(entry.get("wave", 1))
    folder = f"data/{name}" if kind == "sources" else f"external/{name}"
    shared = {k: value for k, value in section.items() if k not in (*OWN, "source", "sources", "external")}
    paths = {path: given.get(path, "") for path in ("archive", "folder")}
    if kind == "external" and ("wave" in entry or "second" in given):
        raise UserError(
            f"config: {key}: an external test has no waves; take {'wave' if 'wave' in entry else 'second'} out"
        )
    drawn = section["phantom"] | {key: value for key, value in given.items() if key in ("patients", "seed")}
    drawn["second"] = drawn["second"] | (given.get("second", {}) if kind == "sources" else {"patients": 0})
    values = over(shared, given) | paths | {"phantom": drawn, "site": entry.get("site", "")}
    if kind == "sources" and any(other.get("wave", 1) > 1 for other in section[kind]):
        values["wave"] = entry.get("wave", 1)
    return _checked(Source(name, dataset, folder, f"{key}.{dataset.name}", values))


def _checked(source: Source) -> Source:
    """The same source; raises UserError if its images are not where it says, or if it has another source's path."""
    dataset, section = source.dataset, source.section
    for key in ("archive", "folder"):
        if section[key] and key != dataset.path_key:
            others = [other.name for other in DATASETS.values() if other.path_key == key]
            raise UserError(
                f"config: {source.key}.{key} is given, but the source is {dataset.name}, which does not use it; set "
                f"dataset.source to {' or '.join(others)}"
            )
    path = source.path
    if (path or not dataset.rule) and not (path and os.path.exists(path)):
        raise UserError(
            f"config: {source.key}.{dataset.path_key}: {path or 'the empty path'} does not exist, or may not be read; "
            "correct the path"
        )
    _ = source.reading
    return source


def _unique(entries: list[Source]) -> list[Source]:
    names = [source.name for source in entries]
    for source in entries:
        if names.count(source.name) > 1:
            raise UserError(
                f"config: {source.key}: two sources are called {source.name}; give each its own `site`, or `wave`"
            )
    return entries
