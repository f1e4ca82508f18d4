"""From a hospital's own images to its data set, by the same code as the workflow's; nothing is sent."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, write_array, write_table, write_text
from fedxray.data import account
from fedxray.data.catalogue import build_catalogue
from fedxray.data.cohort import check_split, draw_cohort
from fedxray.data.labels import SHARED
from fedxray.data.pixels import resample
from fedxray.data.reading import DEFAULT, Reading
from fedxray.data.site import load_site, make_site, origin

ACCOUNT_PAGE = "account.html"


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
            images, image_size, fit, reading, salt or output.with_name("salt"), processes, scratch
        )
        _stop_for_others(images, catalogue, site)
        split = draw_cohort(catalogue, [site], seed, test="redraw", balance="none", partition="iid", **fractions)
        if shared is not None:
            split = _append(split, shared, image_size, scratch / "pixels.npy")
        try:
            check_split(split, [site])
        except UserError as error:  # its end is for those who configure the workflow
            what = str(error).split(": take")[0]
            raise UserError(f"{images}: {what}: add patients, or try another --test-fraction or --seed") from error
        write_table(scratch / "split.csv", split)
        provenance = source | {"split": {"seed": seed, **fractions}}
        if shared is not None:
            provenance["shared_sha256"] = _checksum(shared)
        _write(scratch, site, output, provenance, files)


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
    """Write the shared validation set, all of `images`, into `output`; the rest is as in `prepare_site`."""
    with tempfile.TemporaryDirectory(dir=_parent(output)) as scratch:
        scratch = Path(scratch)
        catalogue, source, files = _read(
            images, image_size, fit, reading, salt or output.with_name("salt"), processes, scratch
        )
        columns = ["image", "label", "aetiology", "patient"]
        write_table(scratch / "split.csv", catalogue[columns].assign(split="validation", site=SHARED, hospital=""))
        _write(scratch, SHARED, output, source, files)


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
    images: Path, size: int, fit: str, reading: Reading, salt: Path, processes: int, scratch: Path
) -> tuple[pd.DataFrame, dict, pd.DataFrame]:
    """(the catalogue, its provenance for a card, the account).

    Writes `pixels.npy` and the account's page into `scratch`.
    """
    catalogue, files, summary = build_catalogue(images, reading, processes, salt)
    print(*account.lines(summary), sep="\n")
    write_text(scratch / ACCOUNT_PAGE, account.page(f"Account of {images}", files, summary))
    write_table(scratch / "catalogue.csv", catalogue)
    pixels = scratch / "pixels.npy"
    resample(images, scratch / "catalogue.csv", size, processes, pixels, fit=fit, greys=summary["greys"])
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
    present = {image.tobytes() for image in common.images}
    if here := [name for name, image in zip(split["image"], images, strict=True) if image.tobytes() in present]:
        raise UserError(
            f"{shared}: {len(here)} of your images are in the shared validation set too, such as {here[0]}; remove "
            "these patients from your folder, or the validation would know them"
        )
    write_array(pixels, np.concatenate([images, common.images]))
    rows = common.table.assign(site=SHARED, hospital="", patient=f"{SHARED}/" + common.table["patient"].astype(str))
    return pd.concat([split, rows], ignore_index=True)[list(split)]


def _checksum(directory: Path) -> str:
    return read_json(directory / "card.json")["sha256"]["images"]


def _write(scratch: Path, site: str, output: Path, provenance: dict, files: pd.DataFrame) -> None:
    make_site(scratch / "split.csv", [scratch / "pixels.npy"], site, output, provenance)
    write_table(output / "account.csv", files)
    write_text(output / ACCOUNT_PAGE, (scratch / ACCOUNT_PAGE).read_text())
