"""From a hospital's own images to its data set, by the same code as the workflow's; nothing is sent.

Beside the data set lie the account of every file and the catalogue, by which new patients can be added as a further
wave; both stay at the site.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, read_table, write_array, write_json, write_table, write_text
from fedxray.data import account
from fedxray.data.catalogue import bind, build_catalogue, named_apart, read_catalogue
from fedxray.data.cohort import check_split, draw_cohort
from fedxray.data.labels import SHARED
from fedxray.data.names import HASHED
from fedxray.data.patients import stop_for_unlike
from fedxray.data.pixels import resample
from fedxray.data.reading import DEFAULT, Reading
from fedxray.data.site import SiteData, digest_of_all, load_site, make_site, origin, waves_of

ACCOUNT, ACCOUNT_PAGE, CATALOGUE, SUMMARY = "account.csv", "account.html", "catalogue.csv", "catalogue.json"
ACCOUNTS = (ACCOUNT, ACCOUNT_PAGE)


def prepare_site(
    images: Path,
    site: str,
    image_size: int,
    output: Path,
    *,
    seed: int = 1,
    test_fraction: float = 0.2,
    shared: Path | None = None,
    own_validation: float = 0.0,
    reading: Reading = DEFAULT,
    fit: str = "stretch",
    salt: Path | None = None,
    processes: int = 1,
) -> None:
    """Write the site's directory into `output`: its patients in train and test, and a validation set.

    The validation set is the organiser's `shared` (a directory in the same form), or `own_validation`, a share of the
    site's own patients. Beside it lies the account of every file, and `salt`, the secret by which the patients of
    DICOMs are hashed (by default beside `output`); both stay at the site. Raises UserError as `build_catalogue`, and if
    there is none or both, if the shared set does not fit or has images of this hospital in it, and if a class is
    missing in a split.
    """
    if (shared is None) == (not own_validation):
        raise UserError(
            "the site needs one validation set: --shared DIR, the organiser's (ask for it), or --own-validation 0.1, "
            "a tenth of your own patients, whose images are then not trained on"
        )
    fractions = {"test_fraction": test_fraction, "validation_fraction": own_validation}
    if not 0 < test_fraction < 1 or not 0 <= own_validation < 1:
        raise UserError("--test-fraction and --own-validation are shares of the patients, between 0 and 1")
    with tempfile.TemporaryDirectory(dir=_parent(output)) as scratch:
        scratch = Path(scratch)
        catalogue, source, files = _read(
            images,
            image_size,
            fit,
            reading,
            salt or output.with_name("salt"),
            processes,
            scratch,
            check=lambda found: _stop_for_others(images, found, site),
        )
        split = draw_cohort(bind(catalogue), [site], seed, test="redraw", balance="none", partition="iid", **fractions)
        if shared is not None:
            split = _append(split, shared, image_size, scratch / "pixels.npy")
        _check(images, split, site)
        write_table(scratch / "split.csv", split)
        provenance = source | {"split": {"seed": seed, **fractions}}
        if shared is not None:
            provenance["shared_sha256"] = _checksum(shared)
        _write(scratch, site, output, provenance, files)
        _keep(scratch, output)


def extend_site(
    images: Path,
    image_size: int,
    old: Path,
    output: Path,
    *,
    reading: Reading = DEFAULT,
    fit: str = "stretch",
    salt: Path,
    processes: int = 1,
) -> None:
    """Write the data set `old` of a site with the new patients of `images` as a further wave into the new `output`.

    Images, patients and splits of `old` stay as they are, and come first. New patients are split by the same seed and
    fractions, by draws of their own; one who comes again keeps his split. The card counts each wave, and has the
    checksums of the `earlier` versions. `output` appears at the end, whole. Raises UserError as `build_catalogue`, if
    `output` is there, if `old` is not of this size or `fit` or lacks its catalogue, if patients could not be known
    again, if an image is in the shared validation set, and if `reading` says a wave.
    """
    if reading.wave:
        raise UserError(f"--wave {reading.wave}: new patients are the next wave by themselves; leave it out")
    if output.exists():
        raise UserError(f"{output}: is there already; remove it if nobody uses it, or give another --output")
    site, card = load_site(old), read_json(old / "card.json")
    made, before = card["provenance"], _catalogue_of(old)
    if (site.images.shape[1], made["fit"]) != (image_size, fit):
        raise UserError(
            f"{old}: images of {site.images.shape[1]} pixels and fit {made['fit']}, but the federation has "
            f"{image_size} and {fit}; prepare all images again"
        )
    if (before["patient_from"] == HASHED).any() and not salt.exists():
        raise UserError(f"{salt}: missing; without it no patient of {old} is known again: put it back")
    wave = int(before["wave"].max()) + 1
    with tempfile.TemporaryDirectory(dir=_parent(output)) as scratch:
        scratch = Path(scratch)
        of_wave = replace(reading, wave=str(wave))

        def check(found: pd.DataFrame) -> None:
            _stop_for_others(images, found, site.name)
            stop_for_unlike(str(images), before, found)

        catalogue, source, files = _read(images, image_size, fit, of_wave, salt, processes, scratch, check)
        summaries = read_json(old / SUMMARY), read_json(scratch / SUMMARY)
        greys = _same_greys(images, *(summary["greys"] for summary in summaries))
        catalogue = pd.concat([before, named_apart(catalogue, f"wave{wave}/", "")], ignore_index=True)
        fractions = {key: made["split"][key] for key in ("test_fraction", "validation_fraction")}
        words = {"test": "redraw", "balance": "none", "partition": "iid"}
        bound = bind(catalogue)
        drawn = draw_cohort(bound, [site.name], made["split"]["seed"], **words, **fractions)
        new = drawn["wave"] == wave
        own = site.table["own"].to_numpy(bool)
        rows = _split_of(site)
        _stop_for_changed(old, rows[own], drawn[~new & (drawn["split"] != "unused")])
        pixels = np.load(scratch / "pixels.npy")
        _stop_for_shared(old, drawn["image"][new], pixels, site.images[~own])
        split = pd.concat([rows[list(drawn)], drawn[new]], ignore_index=True)
        _check(images, split, site.name)
        write_table(scratch / "split.csv", split)
        write_array(scratch / "pixels.npy", np.concatenate([site.images, pixels]))
        write_table(scratch / CATALOGUE, catalogue)
        provenance = _of_versions(made, source, card["sha256"], wave)
        summary = _together(*summaries, catalogue, bound) | {"greys": greys, "sha256": provenance["source_sha256"]}
        write_json(scratch / SUMMARY, summary)
        files = _listed(read_table(old / ACCOUNT), files, wave, bound)
        write_text(scratch / ACCOUNT_PAGE, account.page(f"Account of {site.name}, waves 1 to {wave}", files, summary))
        _write(scratch, site.name, scratch / "made", provenance, files)
        _keep(scratch, scratch / "made")
        os.rename(scratch / "made", output)


def _listed(before: pd.DataFrame, new: pd.DataFrame, wave: int, bound: pd.DataFrame) -> pd.DataFrame:
    """The account of all waves' files, with patients and groups of the same pixels as in the `bound` catalogue."""
    before = before if "wave" in before else before.assign(wave=1)
    new = new.assign(file=f"wave{wave}/" + new["file"], wave=wave)
    listed = pd.concat([before, new], ignore_index=True)
    for name in ("patient", "duplicate_group"):
        listed.loc[listed["taken"] == "yes", name] = bound[name].to_numpy()
    return listed


def _together(before: dict, new: dict, catalogue: pd.DataFrame, bound: pd.DataFrame) -> dict:
    """The summary of the catalogue of all waves, by those of the waves before and of the new one; `waves` counts each.

    A patient who comes again counts once, and so does one who shares an image.
    """
    counts = ("left_out", "labels", "labels_from", "patients_from", "aetiologies", "official_splits", "sites", "views")
    added = {key: dict(sorted((Counter(before[key]) + Counter(new[key])).items())) for key in counts}
    added |= {key: before[key] + new[key] for key in ("files", "images")}
    groups, patients = bound["duplicate_group"], int(bound["patient"].nunique())
    return {**before, **added} | {
        "patients": patients,
        "patients_known": before["patients_known"] and new["patients_known"],
        "patients_joined": int(catalogue["patient"].nunique()) - patients,
        "columns_not_used": sorted({*before["columns_not_used"], *new["columns_not_used"]}),
        "duplicate_groups": int(groups.max()),
        "duplicates": int((groups > 0).sum()),
        "synthetic": before["synthetic"] or new["synthetic"],
        "waves": {
            str(wave): {"images": len(rows), "patients": int(rows["patient"].nunique())}
            for wave, rows in bound.groupby("wave")
        },
    }


def _split_of(site: SiteData) -> pd.DataFrame:
    """The images of a data set as rows of the split that it was made of, with their `wave`."""
    rows = site.table.assign(site=site.name, hospital=site.name, wave=waves_of(site.table))
    rows.loc[rows["split"] == "validation", "site"] = SHARED
    rows.loc[~rows["own"].to_numpy(bool), "hospital"] = ""
    return rows


def _same_greys(images: Path, before: list[float] | None, now: list[float] | None) -> list[float] | None:
    """The range of greys that became 0 to 255, of the images before or of those of now; None if all have 8 bits.

    Raises UserError if both have a range, and another one.
    """
    if before and now and before != now:
        (low, high), (lowest, highest) = before, now
        raise UserError(
            f"{images}: greys from {lowest:g} to {highest:g} would become 0 to 255, before it was from {low:g} to "
            f"{high:g}; say that they are the same: --greys {low:g} {high:g}"
        )
    return before or now


def _catalogue_of(folder: Path) -> pd.DataFrame:
    """The catalogue of a data set that was prepared; raises UserError if it is not there."""
    for name in (CATALOGUE, SUMMARY, ACCOUNT):
        if not (folder / name).exists():
            raise UserError(
                f"{folder / name}: missing; without it nobody is known again: put it back, or prepare the images of "
                "this data set again, with the same options, and then add the new ones"
            )
    return read_catalogue(folder / CATALOGUE)


def _stop_for_changed(old: Path, rows: pd.DataFrame, drawn: pd.DataFrame) -> None:
    """Raise UserError if the patients of the data set `old` would not stay where they are."""
    columns = ["image", "label", "patient", "split"]
    if sorted(rows[columns].astype(str).itertuples(index=False)) != sorted(
        drawn[columns].astype(str).itertuples(index=False)
    ):
        raise UserError(
            f"{old}: its patients would not stay in their splits; another version of fedxray made it, or its "
            "catalogue has changed: prepare all images again"
        )


def _of_versions(made: dict, source: dict, earlier: dict, wave: int) -> dict:
    """The provenance of a data set `made` before, of which `earlier` are the checksums, with a wave from `source`."""
    waves = made.get("waves", {"1": made["source_sha256"]}) | {str(wave): source["source_sha256"]}
    return made | {
        "source_sha256": digest_of_all(list(waves.values())),
        "synthetic": made["synthetic"] or source["synthetic"],
        "patients_known": made["patients_known"] and source["patients_known"],
        "waves": waves,
        "earlier": [*made.get("earlier", []), earlier],
    }


def prepare_shared(
    images: Path,
    image_size: int,
    output: Path,
    *,
    reading: Reading = DEFAULT,
    fit: str = "stretch",
    salt: Path | None = None,
    processes: int = 1,
) -> None:
    """Write the shared validation set, all of `images`, into `output`; the rest is as in `prepare_site`.

    Hospitals get the directory, so the account lies beside it: `<its name>-account.csv` and `.html`.
    """
    with tempfile.TemporaryDirectory(dir=_parent(output)) as scratch:
        scratch = Path(scratch)
        catalogue, source, files = _read(
            images, image_size, fit, reading, salt or output.with_name("salt"), processes, scratch
        )
        columns = ["image", "label", "aetiology", "patient"]
        write_table(
            scratch / "split.csv", bind(catalogue)[columns].assign(split="validation", site=SHARED, hospital="")
        )
        _write(scratch, SHARED, output, source, files, beside=True)


def _stop_for_others(images: Path, catalogue: pd.DataFrame, site: str) -> None:
    """Raise UserError if the table names several hospitals: the data set is of one."""
    named = sorted(set(catalogue["acquisition"]) - {""})
    if len(named) > 1:
        raise UserError(
            f"{images}: the column site names several hospitals ({', '.join(named[:8])}), and the data set is of "
            f"{site} alone; say which are others, by --sites={named[0]!r}=drop, and which are you, by "
            f"--sites={named[-1]!r}={site}"
        )


def _parent(output: Path) -> Path:
    output.parent.mkdir(parents=True, exist_ok=True)
    return output.parent


def _read(
    images: Path,
    size: int,
    fit: str,
    reading: Reading,
    salt: Path,
    processes: int,
    scratch: Path,
    check: Callable[[pd.DataFrame], None] = lambda _: None,
) -> tuple[pd.DataFrame, dict, pd.DataFrame]:
    """(the catalogue, whose images are all of one wave, by default 1; its provenance for a card; the account).

    Writes `pixels.npy`, the catalogue with its summary, and the account's page into `scratch`. `check` gets the
    catalogue before any image is resampled, which takes long, and raises UserError if it will not do.
    """
    catalogue, files, summary = build_catalogue(images, replace(reading, wave=reading.wave or "1"), processes, salt)
    del summary["waves"], files["wave"]
    print(*account.lines(summary), sep="\n")
    check(catalogue)
    write_text(scratch / ACCOUNT_PAGE, account.page(f"Account of {images}", files, summary))
    write_table(scratch / CATALOGUE, catalogue)
    write_json(scratch / SUMMARY, summary)
    pixels = scratch / "pixels.npy"
    resample(images, scratch / CATALOGUE, size, processes, pixels, fit=fit, greys=summary["greys"])
    return catalogue, origin([summary], fit), files


def _append(split: pd.DataFrame, shared: Path, image_size: int, pixels: Path) -> pd.DataFrame:
    """The split with the rows of the shared set after it, and their images after the site's own in `pixels`.

    A shared patient's key gets a prefix: two hospitals may count their patients alike. It is of no hospital.
    """
    common = load_site(shared)
    if set(common.table["split"]) != {"validation"}:
        raise UserError(f"{shared}: no shared validation set; ask the organiser for the directory of that")
    if common.images.shape[1] != image_size:
        raise UserError(f"{shared}: images of {common.images.shape[1]} pixels, but the federation has {image_size}")
    images = np.load(pixels)
    _stop_for_shared(shared, split["image"], images, common.images)
    write_array(pixels, np.concatenate([images, common.images]))
    rows = common.table.assign(site=SHARED, hospital="", patient=f"{SHARED}/" + common.table["patient"].astype(str))
    return pd.concat([split, rows], ignore_index=True)[list(split)]


def _stop_for_shared(where: Path, names: pd.Series, images: np.ndarray, shared: np.ndarray) -> None:
    """Raise UserError if one of the images, uint8 (n, size, size), of these names is among the shared ones."""
    present = {image.tobytes() for image in shared}
    if here := [name for name, image in zip(names, images, strict=True) if image.tobytes() in present]:
        raise UserError(
            f"{where}: {len(here)} of your images are in the shared validation set too, such as {here[0]}; remove "
            "these patients from your folder, or the validation would know them"
        )


def _check(images: Path, split: pd.DataFrame, site: str) -> None:
    """Check the split; raises UserError in the words of the command."""
    try:
        check_split(split, [site])
    except UserError as error:  # its end is for those who configure the workflow
        what = str(error).split(": take")[0]
        raise UserError(f"{images}: {what}: add patients, or try another --test-fraction or --seed") from error


def _checksum(directory: Path) -> str:
    return read_json(directory / "card.json")["sha256"]["images"]


def _write(scratch: Path, site: str, output: Path, provenance: dict, files: pd.DataFrame, beside: bool = False) -> None:
    """Write the data set, and the account of every file into it or `beside` it."""
    make_site(scratch / "split.csv", [scratch / "pixels.npy"], site, output, provenance)
    table, page = (output.with_name(f"{output.name}-{name}") if beside else output / name for name in ACCOUNTS)
    write_table(table, files)
    write_text(page, (scratch / ACCOUNT_PAGE).read_text(encoding="utf-8"))


def _keep(scratch: Path, output: Path) -> None:
    """Put what a further wave needs beside the data set."""
    for name in (CATALOGUE, SUMMARY):
        write_text(output / name, (scratch / name).read_text(encoding="utf-8"))
