"""The registry of a remote federation's data: what each site and the server said that they hold, and its checksums."""

from pathlib import Path

import pandas as pd

from fedxray.data.cohort import SHARED
from fedxray.errors import UserError
from fedxray.files import read_table, write_table

SPLITS = ("train", "validation", "test")
CHECKSUMS = ("images_sha256", "table_sha256")


def write_registry(path: Path, cards: dict[str, dict], image_size: int) -> None:
    """Write one row per participant from its card (`fedxray.federation.local.card_of`).

    Raises UserError if one holds images of another size than `image_size`, or a set that is needed is empty.
    """
    rows = []
    for name, card in cards.items():
        row = {"site": name, "image_size": card["image_size"]}
        for split in SPLITS:
            row |= {f"{split}_{what}": card["splits"].get(split, {}).get(what, 0) for what in ("images", "patients")}
        rows.append(row | {f"{what}_sha256": card["sha256"][what] for what in ("images", "table")})
        if card["image_size"] != image_size:
            raise UserError(
                f"{name}: images of {card['image_size']} pixels; set image_size to that, or make its data anew"
            )
        for split in ("validation",) if name == SHARED else SPLITS:
            if not row[f"{split}_images"]:
                raise UserError(f"{name}: no {split} images; make its data again, and restart its kit")
    write_table(path, pd.DataFrame(rows))


def read_registry(path: Path, sites: list[str]) -> dict[str, dict]:
    """{participant: checksums} of `sites` and of the shared validation set, as a job takes them.

    Raises UserError if one is not registered.
    """
    table = read_table(path, ("site", *CHECKSUMS)).set_index("site")
    if missing := [site for site in (*sites, SHARED) if site not in table.index]:
        raise UserError(f"{path}: {missing[0]} is not registered; delete the file, and all are asked again")
    return {
        site: {"images": table.at[site, "images_sha256"], "table": table.at[site, "table_sha256"]}
        for site in (*sites, SHARED)
    }
