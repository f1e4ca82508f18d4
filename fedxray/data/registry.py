"""The registry: one table of every site's data set, from the sites' data cards.

In an experiment on this machine it comes from the cards in the sites' folders. In a remote federation it comes from the
cards that the sites and the server sent when they were asked, and from then on their data must stay the same.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from fedxray.core.errors import UserError
from fedxray.core.files import read_table, write_table
from fedxray.data.labels import SHARED, SPLITS
from fedxray.data.site import SCHEMA, wave_count

log = logging.getLogger(__name__)

COLUMNS = (
    *("site", "schema", "image_size", "fit", "images", "patients"),
    *(f"{split}_{count}" for split in SPLITS for count in ("images", "patients")),
    *(
        "prevalence",
        "sha256_images",
        "sha256_table",
        "source_sha256",
        "split",
        "synthetic",
        "patients_known",
        "trouble",
        "fedxray",
    ),
)
CHECKSUMS = {"images": "sha256_images", "table": "sha256_table"}  # {key of a card's `sha256`: its column}


def tabulate(cards: Iterable[dict]) -> pd.DataFrame:
    """The registry of these data cards: one row for each site, sorted by name, with `COLUMNS`, all text and numbers.

    The columns `<split>_images` and `<split>_patients` are counts; `prevalence` is the share of pneumonia in train and
    test; `split` is JSON; `source_sha256` and `split` are empty where the card does not have them; `trouble` is what
    was made wrong on purpose, and where, or empty; `fedxray` is the version that wrote the data. If a card has waves,
    a further column is `waves`, the counts of each as JSON, or empty; if a card is of a later version of its data, the
    last is `earlier`, the checksums of those before. Raises UserError for a card of another schema, and for two cards
    of one site.
    """
    cards = list(cards)
    rows = [_row(card) for card in cards]
    sites = [row["site"] for row in rows]
    if repeated := sorted(site for site in set(sites) if sites.count(site) > 1):
        raise UserError(f"registry: {repeated[0]} has two cards; give one data set of each site")
    columns = [*COLUMNS]
    of_waves = {"waves": [card.get("waves") for card in cards]}
    of_waves |= {"earlier": [card["provenance"].get("earlier") for card in cards]}
    for column, values in of_waves.items():
        if any(values):
            columns.append(column)
            texts = [json.dumps(value) if value else "" for value in values]
            rows = [row | {column: text} for row, text in zip(rows, texts, strict=True)]
    return pd.DataFrame(sorted(rows, key=lambda row: row["site"]), columns=columns)


def tabulate_cohorts(cohorts: Mapping[str, Iterable[dict]]) -> pd.DataFrame:
    """The registry of several cohorts, {name: data cards}: the rows of each, with its name in the column `cohort`."""
    return pd.concat([tabulate(cards).assign(cohort=cohort) for cohort, cards in cohorts.items()])


def write_registry(path: Path, cards: Mapping[str, dict], image_size: int, fit: str, waves: int = 1) -> None:
    """Write the registry of a remote federation, from {participant: its data card}, to `path`.

    Raises UserError if a participant holds images of another size than `image_size` (pixels of a side) or another
    `fit`, or none of a split that it needs, or more than `waves` waves of patients, and if `path` exists and has other
    checksums of one: only a later version of the same data, by whose card they are an earlier one, takes their place.
    """
    for name, card in cards.items():
        if (has := wave_count(card)) > waves:
            raise UserError(
                f"{name}: its data have {has} waves of patients, and federation.waves is {waves}; set it to {has}, if "
                "the new patients are meant to take part"
            )
        if card["image_size"] != image_size:
            raise UserError(
                f"{name}: images of {card['image_size']} pixels; set image_size to that, or make its data again"
            )
        if card["provenance"].get("fit", fit) != fit:
            raise UserError(f"{name}: fit is {card['provenance']['fit']}; set fit to that, or make its data again")
        for split in ("validation",) if name == SHARED else SPLITS:
            if not card["splits"].get(split, {}).get("images"):
                raise UserError(f"{name}: no {split} images; make its data again, and restart its kit")
    table = tabulate({**card, "site": name} for name, card in cards.items())
    if path.exists():
        before = read_checksums(path)
        for name, checksums in _checksums(table).items():
            if before.get(name, checksums) == checksums:
                continue
            earlier = cards[name]["provenance"].get("earlier", [])
            old = {key: before[name][key] for key in CHECKSUMS}
            if old in earlier:
                number = earlier.index(old) + 1
                log.info("%s: version %d of its data takes the place of version %d", name, len(earlier) + 1, number)
            else:
                raise UserError(
                    f"{name}: its data are no longer those in {path}; put them back, or delete that file, and all are "
                    "asked again"
                )
    write_table(path, table)


def read_checksums(path: Path, sites: list[str] | None = None) -> dict[str, dict]:
    """{participant: checksums} of `sites` and of the shared validation set, as a job takes them; without `sites`, of
    all in the registry `path`.

    Raises UserError if one is not in it.
    """
    checksums = _checksums(read_table(path, ("site", *CHECKSUMS.values())))
    wanted = list(checksums) if sites is None else [*sites, SHARED]
    if missing := [name for name in wanted if name not in checksums]:
        raise UserError(f"{path}: {missing[0]} is not in the registry; delete the file, and all are asked again")
    return {name: checksums[name] for name in wanted}


def train_images(path: Path, sites: Iterable[str]) -> dict[str, int]:
    """{site: its number of training images} of `sites`, of the registry `path`."""
    table = read_table(path, ("site", "train_images")).set_index("site")["train_images"]
    return {site: int(table[site]) for site in sites}


def train_patients(path: Path, sites: Iterable[str]) -> tuple[int, bool]:
    """(the training patients of all `sites`, whether all are known), of the registry `path`.

    Where they are not known, each image counts as one.
    """
    table = read_table(path, ("site", "train_patients", "patients_known")).set_index("site").loc[list(sites)]
    return int(table["train_patients"].sum()), bool(table["patients_known"].all())


def own_validation(path: Path) -> list[str]:
    """The sites in the registry `path` that validate on patients of their own, and not on the shared set."""
    table = read_table(path, ("site", "split"))
    splits = zip(table["site"], table["split"], strict=True)
    return [site for site, split in splits if split and json.loads(split).get("validation_fraction")]


def note_of(path: Path, further: Iterable[dict] = ()) -> str:
    """The note that each figure, page and model must have if data in the registry `path`, or of the cards `further`,
    are synthetic, if in some of them nobody knows which images are of one patient, or if something was made wrong on
    purpose; else empty.
    """
    table = read_table(path, ("synthetic", "patients_known", "trouble"))
    origins = [card["provenance"] for card in further]
    synthetic = [*table["synthetic"], *(origin["synthetic"] for origin in origins)]
    known = [*table["patients_known"], *(origin["patients_known"] for origin in origins)]
    troubles = ", ".join(filter(None, dict.fromkeys(table["trouble"])))
    notes = ["Synthetic phantom data"] * any(synthetic)
    notes += ["patients unknown: each image counts as one"] * (not all(known))
    return "; ".join(notes + [f"trouble on purpose: {troubles}"] * bool(troubles))


def _checksums(table: pd.DataFrame) -> dict[str, dict]:
    """{participant: checksums} of each row; of data in waves also how many `waves` these are."""
    rows = zip(table["site"], *(table[column] for column in CHECKSUMS.values()), strict=True)
    checksums: dict[str, dict] = {site: dict(zip(CHECKSUMS, values, strict=True)) for site, *values in rows}
    for site, text in zip(table["site"], table.get("waves", ()), strict=False):
        if text:
            checksums[site]["waves"] = wave_count({"waves": json.loads(text)})
    return checksums


def _row(card: dict) -> dict:
    """A data card as a row."""
    if card.get("schema") != SCHEMA:
        raise UserError(
            f"site {card.get('site')}: its card has schema {card.get('schema')}, this library {SCHEMA}; "
            "make the site's data again"
        )
    splits, provenance = card["splits"], card["provenance"]
    parts = [splits[split] for split in ("train", "test") if split in splits] or list(splits.values())
    images = sum(part["images"] for part in parts)
    counts = {
        f"{split}_{count}": splits.get(split, {}).get(count, 0) for split in SPLITS for count in ("images", "patients")
    }
    return {
        **{key: card[key] for key in ("site", "schema", "image_size")},
        "fit": provenance.get("fit", ""),
        **{key: card[key] for key in ("images", "patients")},
        **counts,
        "prevalence": round(sum(part["prevalence"] * part["images"] for part in parts) / images, 4),
        **{column: card["sha256"][key] for key, column in CHECKSUMS.items()},
        "source_sha256": provenance.get("source_sha256", ""),
        "split": json.dumps(provenance["split"], sort_keys=True) if "split" in provenance else "",
        "synthetic": bool(provenance.get("synthetic")),
        "patients_known": bool(provenance.get("patients_known", True)),
        "trouble": "{kind} at {site}".format(**provenance["trouble"]) if "trouble" in provenance else "",
        "fedxray": provenance["fedxray"],
    }
