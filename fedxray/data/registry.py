"""The registry of a remote federation's data: what each site and the server said that they hold, and its checksums."""

import json
from pathlib import Path

import pandas as pd

from fedxray.core.errors import UserError
from fedxray.core.files import read_table, write_table
from fedxray.data.cohort import SHARED
from fedxray.data.site import SPLITS, register

SUMS = {"images": "sha256_images", "table": "sha256_table"}  # {of what: its column}


def write_registry(path: Path, cards: dict[str, dict], image_size: int) -> None:
    """Write `fedxray.data.site.register` of the participants' data cards.

    Raises UserError if one holds images of another size than `image_size`, a set that is needed is empty, or the file
    is there already and has other data of one.
    """
    for name, card in cards.items():
        if card["image_size"] != image_size:
            raise UserError(
                f"{name}: images of {card['image_size']} pixels; set image_size to that, or make its data anew"
            )
        for split in ("validation",) if name == SHARED else SPLITS:
            if not card["splits"].get(split, {}).get("images"):
                raise UserError(f"{name}: no {split} images; make its data again, and restart its kit")
    table = register({**card, "site": name} for name, card in cards.items())
    if path.exists():
        before = read_registry(path)
        for name, sums in _checksums(table).items():
            if before.get(name, sums) != sums:
                raise UserError(
                    f"{name}: its data are no longer those in {path}; put them back, or delete that file to register "
                    "what all have now"
                )
    write_table(path, table)


def read_registry(path: Path, sites: list[str] | None = None) -> dict[str, dict]:
    """{participant: checksums} of `sites` and of the shared validation set, as a job takes them; without, of all.

    Raises UserError if one is not registered.
    """
    found = _checksums(read_table(path, ("site", *SUMS.values())))
    wanted = list(found) if sites is None else [*sites, SHARED]
    if missing := [site for site in wanted if site not in found]:
        raise UserError(f"{path}: {missing[0]} is not registered; delete the file, and all are asked again")
    return {site: found[site] for site in wanted}


def _checksums(table: pd.DataFrame) -> dict[str, dict]:
    rows = zip(table["site"], *(table[column] for column in SUMS.values()), strict=True)
    return {site: dict(zip(SUMS, values, strict=True)) for site, *values in rows}


def own_validation(path: Path) -> list[str]:
    """The sites that validate on patients of their own, not on the shared set."""
    table = read_table(path, ("site", "split"))
    splits = zip(table["site"], table["split"], strict=True)
    return [site for site, split in splits if split and json.loads(split).get("validation_fraction")]
