"""The cohort: which patient is in which split and at which site. No patient is ever in two."""

import numpy as np
import pandas as pd

from fedxray.errors import UserError
from fedxray.seeds import stream

SEVERITY = ["none", "unknown", "virus", "bacteria"]  # of a patient with several: the last of these
SHARED = "shared"


def draw_cohort(
    catalogue: pd.DataFrame,
    sites: list[str],
    seed: int,
    test: str = "redraw",
    test_fraction: float = 0.2,
    validation_fraction: float = 0.1,
    balance: str = "none",
    partition: str = "iid",
) -> pd.DataFrame:
    """One row per image of the catalogue: image, label, aetiology, patient, split, site.

    Patients go to train, validation and test, and those of train and test to sites, within each aetiology in the
    wanted proportion of images. `test="official"` keeps Kaggle's test patients. The validation set is one, shared
    (site `shared`). Raises UserError for fractions that leave nothing, and for a partition that does not fit.
    """
    if test_fraction + validation_fraction >= 1:
        raise UserError("split: test_fraction and validation_fraction leave nothing to train on; their sum must be < 1")
    patients = _patients(catalogue)
    kept = pd.Series(False, index=patients.index)
    if test == "official":
        kept = patients.index.to_series().isin(catalogue["patient"][catalogue["official_split"] == "test"])
        if not kept.any():
            raise UserError("split.test: official, but no image is in an official test folder; set split.test: redraw")
        test_fraction = 0.0
    shares = {"train": 1 - test_fraction - validation_fraction, "validation": validation_fraction}
    shares |= {"test": test_fraction} if test_fraction else {}
    split = _allocate_strata(patients[~kept], shares, stream(seed, "cohort", "split"))
    split = split.reindex(patients.index).fillna("test")
    site = pd.Series(SHARED, index=patients.index)
    for part in ("train", "test"):
        rows = patients[split == part]
        if partition == "iid":
            drawn = _allocate_strata(rows, dict.fromkeys(sites, 1.0), stream(seed, "cohort", "sites", part))
        else:
            drawn = _natural_sites(rows, sorted(set(catalogue["acquisition"])), sites)
        site[drawn.index] = drawn
    table = catalogue[["image", "label", "aetiology", "patient"]].copy()
    table["split"] = table["patient"].map(split)
    table["site"] = table["patient"].map(site)
    if balance == "undersample":
        for name in sites:
            table.loc[_surplus(table, name, seed), "split"] = "unused"
    return table


def allocate(sizes: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put groups of `sizes` images into bins in proportion to `shares`; returns each group's bin, int (groups,).

    In random order, larger groups first, each into the bin that lacks the largest share of its target: so every bin
    gets its part of the large groups too. Off by at most about one group.
    """
    target = shares / shares.sum() * sizes.sum()
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled, bins = np.zeros(len(shares)), np.zeros(len(sizes), dtype=int)
    for group in order:
        bins[group] = np.argmax((target - filled) / target)
        filled[bins[group]] += sizes[group]
    return bins


def check_split(table: pd.DataFrame, sites: list[str]) -> pd.DataFrame:
    """Images, patients and prevalence of each site, split and aetiology, of a split that holds what it must.

    Raises UserError for a patient in two splits or two sites, or a site without both classes in train or test.
    """
    used = table[table["split"] != "unused"]
    for column in ("split", "site"):
        many = used.groupby("patient")[column].nunique()
        if (many > 1).any():
            raise UserError(f"patient {many.idxmax()} is in {many.max()} {column}s; a patient must be in one")
    for site, split in [(SHARED, "validation"), *((site, split) for site in sites for split in ("train", "test"))]:
        labels = set(used["label"][(used["site"] == site) & (used["split"] == split)])
        for label, name in enumerate(("NORMAL", "PNEUMONIA")):
            if label not in labels:
                raise UserError(
                    f"site {site} has no {name} image in {split}: take more patients, fewer sites, a larger "
                    f"split.{'test' if split == 'test' else 'validation'}_fraction, or another split.seed"
                )
    groups = used.groupby(["site", "split", "aetiology"])
    return groups.agg(images=("image", "size"), patients=("patient", "nunique")).reset_index()


def _patients(catalogue: pd.DataFrame) -> pd.DataFrame:
    """One row per patient, by key: images, aetiology, acquisition."""
    rank = catalogue["aetiology"].map(SEVERITY.index)
    groups = catalogue.assign(rank=rank).groupby("patient")
    table = groups.agg(images=("image", "size"), rank=("rank", "max"), acquisition=("acquisition", "first"))
    return table.assign(aetiology=[SEVERITY[number] for number in table["rank"]])


def _allocate_strata(patients: pd.DataFrame, shares: dict[str, float], rng: np.random.Generator) -> pd.Series:
    """The bin of each patient, by `allocate` within each aetiology."""
    names, result = np.array(list(shares)), pd.Series(index=patients.index, dtype=object)
    for _, stratum in patients.groupby("aetiology"):
        bins = allocate(stratum["images"].to_numpy(), np.array(list(shares.values())), rng)
        result[stratum.index] = names[bins]
    return result


def _natural_sites(patients: pd.DataFrame, values: list[str], sites: list[str]) -> pd.Series:
    """Each patient's site by acquisition: the site of that name, or the sites in the sorted order of the values."""
    if set(values) == set(sites):
        return patients["acquisition"]
    if len(values) != len(sites) or "" in values:
        named = ", ".join(value or "(empty)" for value in values)
        raise UserError(
            f"split.partition: acquisition, but the images name {len(values)} ({named}), `sites` {len(sites)}; "
            "give `sites` as many names, or the same ones"
        )
    return patients["acquisition"].map(dict(zip(values, sites, strict=True)))


def _surplus(table: pd.DataFrame, site: str, seed: int) -> pd.Index:
    """The rows of the larger class in this site's train set that are too many, drawn at random."""
    train = table[(table["site"] == site) & (table["split"] == "train")]
    positive, negative = train.index[train["label"] == 1], train.index[train["label"] == 0]
    larger = max(positive, negative, key=len)
    surplus = len(larger) - min(len(positive), len(negative))
    return pd.Index(stream(seed, "cohort", "undersample", site).permutation(larger)[:surplus])
