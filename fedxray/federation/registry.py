"""The registry of a remote federation's data: what each site and the server said that they hold, and its checksums."""

import json
from pathlib import Path

from fedxray.data.cohort import SHARED
from fedxray.data.site import SPLITS, register
from fedxray.errors import UserError
from fedxray.files import read_table, write_table


def write_registry(path: Path, cards: dict[str, dict], image_size: int) -> None:
    """Write `fedxray.data.site.register` of the participants' data cards.

    Raises UserError if one holds images of another size than `image_size`, or a set that is needed is empty.
    """
    for name, card in cards.items():
        if card["image_size"] != image_size:
            raise UserError(
                f"{name}: images of {card['image_size']} pixels; set image_size to that, or make its data anew"
            )
        for split in ("validation",) if name == SHARED else SPLITS:
            if not card["splits"].get(split, {}).get("images"):
                raise UserError(f"{name}: no {split} images; make its data again, and restart its kit")
    write_table(path, register({**card, "site": name} for name, card in cards.items()))


def read_registry(path: Path, sites: list[str]) -> dict[str, dict]:
    """{participant: checksums} of `sites` and of the shared validation set, as a job takes them.

    Raises UserError if one is not registered.
    """
    table = read_table(path, ("site", "sha256_images", "sha256_table")).set_index("site")
    if missing := [site for site in (*sites, SHARED) if site not in table.index]:
        raise UserError(f"{path}: {missing[0]} is not registered; delete the file, and all are asked again")
    return {
        site: {"images": table.at[site, "sha256_images"], "table": table.at[site, "sha256_table"]}
        for site in (*sites, SHARED)
    }


def own_validation(path: Path) -> list[str]:
    """The sites that validate on patients of their own, not on the shared set."""
    table = read_table(path, ("site", "split"))
    splits = zip(table["site"], table["split"], strict=True)
    return [site for site, split in splits if split and json.loads(split).get("validation_fraction")]
