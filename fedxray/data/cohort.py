"""The cohort: which patient is in which split and at which site. No patient is ever in two of either."""

import logging
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from fedxray.core.errors import UserError
from fedxray.core.seeds import stream
from fedxray.data.catalogue import check_waves
from fedxray.data.labels import AETIOLOGIES, CLASSES, SHARED, SPLITS
from fedxray.data.names import HASHED

log = logging.getLogger(__name__)

PARTITIONS = ["iid", "acquisition", "dirichlet", "quantity", "aetiology"]
LEAST_SHARE = 0.1  # a site of a dirichlet partition gets at least this part of an equal share of each label's images
DRAWS = 10_000  # so often at most the shares are drawn until each site has that much


def draw_cohort(
    catalogue: pd.DataFrame,
    sites: list[str],
    seed: int,
    test: str,
    test_fraction: float,
    validation_fraction: float,
    balance: str,
    partition: str,
    alpha: float = math.nan,
    power: float = math.nan,
    viral_share: float = math.nan,
    conflicts: str = "stop",
    train_waves: Sequence[int] = (),
) -> pd.DataFrame:
    """Draw the splits and the sites; returns one row per image: image, label, aetiology, patient, split, site,
    hospital.

    Patients go to train, validation and test, and those of train and test to sites, within each aetiology in the
    wanted proportion of images. `test="official"` keeps Kaggle's test patients. There is one validation set, which all
    sites share (site `shared`), and each of its patients has a `hospital` too, the site at which it would be; elsewhere
    `hospital` is `site`. The shares of the sites are the same in train, test and validation: equal (`iid`), or by
    `alpha` (`dirichlet`), `power` (`quantity`) or `viral_share` (`aetiology`); `acquisition` takes the device or the
    site that a manifest names. A patient at two sites, or in two official splits, is settled by `conflicts`: `stop`,
    `merge` or `first` (`settle`).

    If the catalogue has waves (`join`), wave 1 is drawn as if there were no others, and so is each later one by draws
    of its own, of the patients who are new in it; the table then has a column `wave`. A patient who comes again keeps
    split and site, and his new images count to the wave in which they came. Not used are images that are in an earlier
    wave too, and the new ones of a patient by whom two earlier patients would be one. Of `train_waves`, if any are
    named, are the training images; those of other waves are not used. Validation and test sets are of all.

    Raises UserError for fractions that leave nothing, too few patients for so many sites, a wave without a new image,
    and a partition that does not fit or whose parameter is out of range. It does not check that each site has what it
    needs: `check_split` does.
    """
    waves = catalogue["wave"] if "wave" in catalogue else pd.Series(1, catalogue.index)
    check_waves(waves, "waves")
    places, parts, shares = pd.DataFrame(columns=["split", "hospital"]), [], None
    for number, whole in catalogue.groupby(waves):
        streams = ("cohort",) if number == 1 else ("cohort", "wave", int(number))
        rows = _used(whole, places, sites, test, partition, conflicts)
        new = rows[~rows["patient"].isin(places.index)]
        if number == 1:
            _check_patients(new, sites)
        if len(new):
            patients = _patients(new)
            if partition != "acquisition" and shares is None:  # later waves are shared out as the first
                shares = _site_shares(patients, sites, seed, partition, alpha, power, viral_share)
            split = _draw_splits(new, patients, seed, streams, test, test_fraction, validation_fraction)
            hospital = _draw_hospitals(patients, split, shares, seed, streams)
            places = pd.concat([places, pd.DataFrame({"split": split, "hospital": hospital})])
        table = _placed(whole, rows.index, places)
        if balance == "undersample":
            for name in sites:
                table.loc[_surplus(table, name, seed, streams), "split"] = "unused"
        parts.append(table)
    table = pd.concat(parts).loc[catalogue.index]
    if missing := sorted({*train_waves} - {*waves}):
        raise UserError(
            f"update.strategy: no image is of wave {missing[0]}; say which are (docs/data.md), or leave it out"
        )
    if train_waves:
        table.loc[(table["split"] == "train") & ~waves.isin([*train_waves]), "split"] = "unused"
    return table.assign(wave=waves) if len(parts) > 1 else table


def _used(
    rows: pd.DataFrame, places: pd.DataFrame, sites: list[str], test: str, partition: str, conflicts: str
) -> pd.DataFrame:
    """The images of a wave that are used, with new patients settled by `conflicts`.

    `places` has the split and hospital of each patient of earlier waves.
    """
    if partition == "acquisition":
        _check_names(rows, sites, every=places.empty)
    if len(places):
        rows = _new_images(rows, places, partition, conflicts)
    known = rows["patient"].isin(places.index)
    new = rows[~known]
    if partition == "acquisition":
        new = settle(new, "acquisition", sites, conflicts)
    if test == "official":
        testing = new["official_split"] == "test"
        new = new.assign(official_split=testing.map({True: "test", False: ""}))
        new = settle(new, "official_split", ["test"], conflicts)
    return pd.concat([rows[known], new]).loc[rows.index[known | rows.index.isin(new.index)]] if known.any() else new


def _new_images(rows: pd.DataFrame, places: pd.DataFrame, partition: str, conflicts: str) -> pd.DataFrame:
    """The images of a later wave that are used, of which each is new; what is left out is logged.

    `places` has the split and hospital of each patient of earlier waves. Raises UserError if none is left, and as
    `settle` for a patient who comes again at another hospital.
    """
    number, kept = rows["wave"].iloc[0], rows[~rows["again"] & ~rows["torn"]]
    known = kept[kept["patient"].isin(places.index)]
    counts = {
        "new patients": kept["patient"].nunique() - known["patient"].nunique(),
        "patients who come again": known["patient"].nunique(),
        "images of these": len(known),
        "images left out because an earlier wave has them": int(rows["again"].sum()),
        "images left out because they would make two earlier patients one": len(rows) - len(kept) - rows["again"].sum(),
    }
    log.info("wave %d: %s", number, ", ".join(f"{count} {what}" for what, count in counts.items()))
    if kept.empty:
        raise UserError(f"wave {number}: no image is new; each is in an earlier wave too: give its own images alone")
    if partition != "acquisition":
        return kept
    moved = known[known["acquisition"] != known["patient"].map(places["hospital"])]
    if len(moved) and conflicts == "stop":
        one = moved.iloc[0]
        raise UserError(
            f"split: {moved['patient'].nunique()} patients of earlier waves come again at another hospital, such as "
            f"{one['patient']}: {one['image']}; correct the table, or settle it by split.conflicts: merge (they stay "
            "where they were) or first (these images are left out)"
        )
    return kept if conflicts == "merge" else kept.drop(moved.index)


def settle(catalogue: pd.DataFrame, column: str, order: list[str], conflicts: str) -> pd.DataFrame:
    """The catalogue in which each patient has one value of `column`: the hospital, or the official split.

    The one that comes first in `order` counts: with `merge` for all images of the patient, with `first` for those that
    have it, and the others are left out. Raises UserError, which names a patient, for `stop`.
    """
    places = catalogue.groupby("patient")[column].nunique()
    torn = places.index[places > 1]
    if not len(torn):
        return catalogue
    rows = catalogue[catalogue["patient"].isin(torn)]
    kind = "hospitals" if column == "acquisition" else "official splits"
    if conflicts == "stop":
        two = rows[rows["patient"] == torn[0]].drop_duplicates(column)
        where = " and ".join(f"{value or 'none'} ({image})" for value, image in two[[column, "image"]].to_numpy()[:2])
        raise UserError(
            f"split: {len(torn)} patients are at two {kind}, or share an image with one there, such as {torn[0]}: "
            f"{where}; correct the table, or settle it by split.conflicts: merge (all images of each to the first) or "
            "first (only the images there)"
        )
    rank = rows[column].map(lambda value: order.index(value) if value in order else len(order))
    best = rows.assign(rank=rank).sort_values("rank", kind="stable").groupby("patient")[column].first()
    log.warning("%d patients are at two %s, settled by split.conflicts: %s", len(torn), kind, conflicts)
    if conflicts == "merge":
        return catalogue.assign(**{column: catalogue["patient"].map(best).fillna(catalogue[column])})
    return catalogue.drop(rows.index[rows[column] != rows["patient"].map(best)])


def allocate(sizes: np.ndarray, shares: np.ndarray, rng: np.random.Generator, fit: bool = False) -> np.ndarray:
    """Put groups of `sizes` images into bins in proportion to `shares`; returns each group's bin, int (groups,).

    The groups are taken in random order, larger ones first, and each goes into the bin that lacks the largest share of
    its target: so every bin gets its part of the large groups too. A bin is off its target by at most about one group.
    With `fit` a bin takes a group only if it lacks at least half of it, unless no bin does: one large group does not
    flood a bin of a very small share, which may stay empty. `fit` changes nothing where the shares are equal; without
    it no share may be 0.
    """
    target = shares / shares.sum() * sizes.sum()
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled, bins = np.zeros(len(shares)), np.zeros(len(sizes), dtype=int)
    for group in order:
        missing = target - filled
        open_bins = np.flatnonzero(missing >= sizes[group] / 2) if fit else np.arange(len(shares))
        if len(open_bins):
            bins[group] = open_bins[np.argmax(missing[open_bins] / target[open_bins])]
        else:
            bins[group] = np.argmax(missing)
        filled[bins[group]] += sizes[group]
    return bins


def check_split(table: pd.DataFrame, sites: list[str]) -> pd.DataFrame:
    """Check a split; returns the images and patients of each site, split and aetiology.

    Raises UserError for a patient in two splits or two sites, or a site with fewer than two training images or no test
    image of a class.
    """
    used = table[table["split"] != "unused"]
    for column in ("split", "site"):
        places = used.groupby("patient")[column].nunique()
        if (places > 1).any():
            raise UserError(f"patient {places.idxmax()} is in {places.max()} {column}s; a patient must be in one")
    for site, split in [(SHARED, "validation"), *((site, split) for site in sites for split in ("train", "test"))]:
        labels = used["label"][(used["site"] == site) & (used["split"] == split)]
        needed, remedy = (2, "smaller split.test") if split == "train" else (1, f"larger split.{split}")
        for label, name in enumerate(CLASSES):
            images = (labels == label).sum()
            if images < needed:
                raise UserError(
                    f"site {site} has {images or 'no'} {name} image in {split} and needs {needed}: take a milder "
                    "split.partition (larger split.alpha, smaller split.power), more patients, fewer sites, "
                    f"a {remedy}_fraction, or another split.seed"
                )
    groups = used.groupby(["site", "split", "aetiology"])
    return groups.agg(images=("image", "size"), patients=("patient", "nunique")).reset_index()


def heterogeneity(table: pd.DataFrame, sites: list[str]) -> dict:
    """Measure how much the sites of a split differ in their training images; the split must have passed `check_split`.

    Returns `label_divergence` and `aetiology_divergence` in bits (0: the sites do not differ), `size_ratio`, the images
    of the largest site over those of the smallest, and `sites`: {site: its `images` and its `prevalence`, the share of
    pneumonia}.
    """
    train = table[table["split"] == "train"]
    labels = train.groupby("site")["label"].agg(["size", "mean"]).loc[sites]
    return {
        "label_divergence": _divergence(train["site"], train["label"]),
        "aetiology_divergence": _divergence(train["site"], train["aetiology"]),
        "size_ratio": float(labels["size"].max() / labels["size"].min()),
        "sites": {site: {"images": int(size), "prevalence": float(mean)} for site, size, mean in labels.itertuples()},
    }


def _divergence(site: pd.Series, kind: pd.Series) -> float:
    """Generalised Jensen-Shannon divergence of the sites' distributions of `kind`, weighted by size, in bits.

    It is the entropy of the pool minus the mean entropy of the sites (Lin 1991, IEEE Trans. Inf. Theory 37:145), which
    is the mutual information of site and kind.
    """
    joint = pd.crosstab(site, kind, normalize=True).to_numpy()
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    present = joint > 0
    return max(0.0, float(np.sum(joint[present] * np.log2(joint[present] / independent[present]))))


def _check_names(catalogue: pd.DataFrame, sites: list[str], every: bool = True) -> None:
    """Raise UserError unless the images name these sites alone, and `every` one."""
    named = sorted(set(catalogue["acquisition"]))
    unknown = [name for name in named if name not in sites]
    absent = [site for site in sites if site not in named] if every else []
    if named == [""]:
        raise UserError(
            "split.partition: acquisition, but no image says its hospital; name the column that does, by "
            "dataset.columns: {site: NAME}, or give each source its `site`"
        )
    if unknown or absent:
        shown = ", ".join(name or "(none)" for name in named[:8]) + (", ..." if len(named) > 8 else "")
        example = f"{{{unknown[0] or 'NAME'}: {(absent or sites)[0]}}}" if unknown else ""
        raise UserError(
            f"split.partition: acquisition, but the images name {shown}, and `sites` {', '.join(sites)}; names must be "
            "the same: change `sites`, or say which is which by dataset.sites"
            + (f", such as {example}; drop leaves a hospital out" if example else "")
        )


def _check_patients(catalogue: pd.DataFrame, sites: list[str]) -> None:
    """Raise UserError if a class has too few patients for every site's train and test and the validation set."""
    needed = 2 * len(sites) + 1
    for label, name in enumerate(CLASSES):
        patients = catalogue["patient"][catalogue["label"] == label].nunique()
        if patients < needed:
            raise UserError(
                f"sites: {len(sites)} sites need {needed} patients with {name} images (each site one in train and one "
                f"in test, and one in validation), but there are {patients}; name fewer sites or add patients"
            )


def _patients(catalogue: pd.DataFrame) -> pd.DataFrame:
    """One row per patient, with its key as the index: images, aetiology (the last of `AETIOLOGIES`), acquisition."""
    rank = catalogue["aetiology"].map(AETIOLOGIES.index)
    # Hashed keys differ with the secret of a hospital, so their order must not decide what is drawn.
    hashed = (catalogue["patient_from"] == HASHED).any()
    groups = catalogue.assign(rank=rank).groupby("patient", sort=not hashed)
    table = groups.agg(images=("image", "size"), rank=("rank", "max"), acquisition=("acquisition", "first"))
    return table.assign(aetiology=[AETIOLOGIES[number] for number in table["rank"]])


def _draw_splits(
    catalogue: pd.DataFrame,
    patients: pd.DataFrame,
    seed: int,
    streams: Sequence[str | int],
    test: str,
    test_fraction: float,
    validation: float,
) -> pd.Series:
    """The split of each patient: train, validation or test."""
    if test_fraction + validation >= 1:
        raise UserError("split: test_fraction and validation_fraction leave nothing to train on; their sum must be < 1")
    official = pd.Series(False, index=patients.index)
    if test == "official":
        official = patients.index.to_series().isin(catalogue["patient"][catalogue["official_split"] == "test"])
        if not official.any():
            raise UserError("split.test: official, but no image is in an official test folder; set split.test: redraw")
        test_fraction = 0.0
    shares = {"train": 1 - test_fraction - validation, "validation": validation, "test": test_fraction}
    shares = {split: share for split, share in shares.items() if share}
    by_aetiology = pd.DataFrame(shares, index=list(AETIOLOGIES))
    split = _allocate_strata(patients[~official], by_aetiology, stream(seed, *streams, "split"))
    return split.reindex(patients.index).fillna("test")


def _draw_hospitals(
    patients: pd.DataFrame, split: pd.Series, shares: pd.DataFrame | None, seed: int, streams: Sequence[str | int]
) -> pd.Series:
    """The hospital of each patient, drawn in each split by the `shares` of the sites; None: that of the images."""
    hospital = patients["acquisition"].copy()
    for part in SPLITS if shares is not None else ():
        drawn = _allocate_strata(patients[split == part], shares, stream(seed, *streams, "sites", part), fit=True)
        hospital[drawn.index] = drawn
    return hospital


def _placed(whole: pd.DataFrame, used: pd.Index, places: pd.DataFrame) -> pd.DataFrame:
    """The images `whole` of a wave with split, site and hospital of their patients by `places`.

    `used` has its rows that are not left out.
    """
    table = whole[["image", "label", "aetiology", "patient"]].copy()
    table["split"] = table["patient"].map(places["split"]).where(table.index.isin(used), "unused")
    table["site"] = table["patient"].map(places["hospital"].where(places["split"] != "validation", SHARED))
    table["hospital"] = table["patient"].map(places["hospital"])
    return table


def _allocate_strata(
    patients: pd.DataFrame, shares: pd.DataFrame, rng: np.random.Generator, fit: bool = False
) -> pd.Series:
    """The bin of each patient, by `allocate` within each aetiology.

    `shares` has a row for each aetiology and a column for each bin.
    """
    names, result = shares.columns.to_numpy(), pd.Series(index=patients.index, dtype=object)
    for aetiology, stratum in patients.groupby("aetiology"):
        bins = allocate(stratum["images"].to_numpy(), shares.loc[aetiology].to_numpy(), rng, fit)
        result[stratum.index] = names[bins]
    return result


def _site_shares(
    patients: pd.DataFrame, sites: list[str], seed: int, partition: str, alpha: float, power: float, viral_share: float
) -> pd.DataFrame:
    """The share of each aetiology's images (row) that each site (column) gets, relative to the other sites."""
    shares: np.ndarray | float = 1.0
    if partition == "dirichlet":
        shares = _dirichlet_shares(len(sites), alpha, stream(seed, "cohort", "sites", "shares"))
    elif partition == "quantity":
        shares = _quantity_shares(len(sites), power)
    elif partition == "aetiology":
        shares = _aetiology_shares(patients.groupby("aetiology")["images"].sum(), len(sites), viral_share)
    return pd.DataFrame(shares, index=list(AETIOLOGIES), columns=sites)


def _dirichlet_shares(sites: int, alpha: float, rng: np.random.Generator) -> np.ndarray:
    """Label skew: for each label the shares of the sites are Dirichlet(alpha); float (aetiologies, sites).

    Alpha is as in Hsu, Qi, Brown 2019 (arXiv:1909.06335), who draw the labels of each site. Here the sites of each
    label are drawn, so that all images are used, as by Yurochkin et al. 2019 (arXiv:1905.12022). The draw is repeated
    until each site has `LEAST_SHARE` of each label, much as Li et al. 2022 (arXiv:2102.02079) repeat theirs until each
    site has a least size. Raises UserError if `DRAWS` are not enough.
    """
    if not 0 < alpha < np.inf:
        raise UserError(f"split.alpha: {alpha}, but dirichlet needs a number above 0; 0.1 is much skew, 10 little")
    for _ in range(DRAWS):
        normal, pneumonia = rng.dirichlet(np.full(sites, alpha), 2)
        if min(*normal, *pneumonia) >= LEAST_SHARE / sites:
            return np.array([normal if aetiology == "none" else pneumonia for aetiology in AETIOLOGIES])
    raise UserError(
        f"split.alpha: {alpha} is too small for {sites} sites: in none of {DRAWS} draws had each site "
        f"{LEAST_SHARE:.0%} of an equal share of each label; take a larger split.alpha or fewer sites"
    )


def _quantity_shares(sites: int, power: float) -> np.ndarray:
    """Sizes by a power law: the site of rank r, counted from 1, gets r^-power; float (aetiologies, sites)."""
    if not 0 <= power < np.inf:
        raise UserError(f"split.power: {power}, but quantity needs 0 (equal sites) or more")
    return np.tile(np.arange(1.0, sites + 1) ** -power, (len(AETIOLOGIES), 1))


def _aetiology_shares(images: pd.Series, sites: int, viral_share: float) -> np.ndarray:
    """The last site gets `viral_share` of the viral images, the others the rest; float (aetiologies, sites).

    The pneumonia that is not viral makes up for it: each site gets what it lacks of an equal number of pneumonia
    images, which is none for a last site with more viral images than that. `images` is {aetiology: images}.
    """
    if not 0 < viral_share <= 1:
        raise UserError(f"split.viral_share: {viral_share}, but aetiology needs a share above 0 and at most 1")
    if "virus" not in images:
        raise UserError(
            "split.partition: aetiology, but no image is known to be viral (Kaggle's file names show it: "
            "person1_virus_2.jpeg); choose another split.partition"
        )
    virus = np.append(np.full(sites - 1, (1 - viral_share) / max(1, sites - 1)), viral_share)
    others = np.maximum(0, images.drop("none", errors="ignore").sum() / sites - virus * images["virus"])
    return np.array([{"none": np.ones(sites), "virus": virus}.get(aetiology, others) for aetiology in AETIOLOGIES])


def _surplus(table: pd.DataFrame, site: str, seed: int, streams: Sequence[str | int]) -> pd.Index:
    """The rows to leave out of this site's train set so that both classes have as many, drawn at random."""
    train = table[(table["site"] == site) & (table["split"] == "train")]
    positive, negative = train.index[train["label"] == 1], train.index[train["label"] == 0]
    larger = positive if len(positive) >= len(negative) else negative
    surplus = len(larger) - min(len(positive), len(negative))
    return pd.Index(stream(seed, *streams, "undersample", site).permutation(larger)[:surplus])
