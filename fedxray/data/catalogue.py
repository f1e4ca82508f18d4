"""The catalogue: one row per image, with its patient and label; and the account of every file of its source."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from fedxray.core.errors import UserError
from fedxray.core.files import read_table
from fedxray.core.workers import in_chunks
from fedxray.data import source
from fedxray.data.labelling import Said, by_folders, by_table, find_table
from fedxray.data.labels import CLASSES
from fedxray.data.names import BY_IMAGE, OF_IMAGES, shown
from fedxray.data.patients import aetiologies_of, persons_of, stop_for_unlike
from fedxray.data.pixels import Facts, Unreadable, common_range, inspect
from fedxray.data.reading import Reading, way
from fedxray.data.source import open_reader, open_source
from fedxray.data.tables import Table

COLUMNS = [
    *("image", "label", "aetiology", "patient", "patient_from", "official_split", "acquisition", "view"),
    *("width", "height", "mode", "sha256", "sha256_pixels", "duplicate_group"),
]
ACCOUNT = [
    *("file", "taken", "why", "label", "label_from", "patient", "patient_from", "acquisition", "official_split"),
    *("view", "duplicate_group", "sha256"),
]
DARK = 0.25  # DICOMs without a window whose values all span less of their range would be nearly black, or nearly white


def build_catalogue(
    path: Path, reading: Reading, processes: int, salt: Path
) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """Read every file of the source `path`; returns (catalogue with `COLUMNS`, account with `ACCOUNT`, summary).

    The catalogue has a row per image that is taken, sorted by name, the account one per file. The catalogue's patients
    are those that the source names, so that another source finds each of them by his key: `join` makes those who share
    an image one. In the account and the summary they are one already. If there are waves, both tables have a column
    `wave` too. A DICOM's PatientID is hashed with the
    secret in the file `salt`, which is made if a hash needs it. Raises UserError for whatever is not known and
    `reading` has no word for: a label, a patient, an image that cannot be read, a view, a range of greys, a wave; and
    for waves that leave a gap.
    """
    with open_source(path) as reader:
        files = source.list_files(reader, reading.known)
        table = find_table(reader, files, reading)
        said = by_folders(files, reading) if table is None else by_table(table, files, reader, reading)
    _stop_for_words(path, said, table, reading)
    _stop_for_classes(path, said, table)
    if not any(source.may_be_dicom(one.file) for one in said if not one.why):  # else its header may say whose it is
        persons_of(path, said, [], table, reading, salt)
    said, looked = _look(path, said, table, reading, processes)
    facts = [row for one, row in zip(said, looked, strict=True) if not one.why]
    account = pd.DataFrame(said).rename(columns={"split": "official_split", "site": "acquisition"})
    # Of a file that was opened and not read to its end the word "-" says so: if it changes, it has to be opened again.
    opened = account["why"].str.startswith(source.NOT_AN_IMAGE).map({True: "-", False: ""})
    account["sha256"] = [row.get("sha256", none) for row, none in zip(looked, opened, strict=True)]
    account["patient"], account["patient_from"], account["duplicate_group"] = "", "", 0
    taken = account["why"] == ""
    if reading.site:
        account.loc[taken, "acquisition"] = reading.site
    _stop_for_classes(path, said, table)
    images = account[taken].reset_index(drop=True)
    persons, origin = persons_of(path, said, facts, table, reading, salt)
    images["patient"], images["patient_from"] = [person.patient for person in persons], origin
    images["aetiology"] = aetiologies_of(path, images, persons)
    for name in ("width", "height", "mode", "sha256_pixels"):
        images[name] = [row[name] for row in facts]
    images = _in_waves(path, images.rename(columns={"file": "image"}), table, reading)
    named = images["patient"]
    images = bind(images)
    for name in ("patient", "patient_from", "duplicate_group"):
        account.loc[taken, name] = images[name].to_numpy()
    account["taken"] = taken.map({True: "yes", False: "no"})
    account["label"] = account["label"].map({-1: "", **dict(enumerate(CLASSES))})
    summary = _summary(account, images, facts, named.nunique() - images["patient"].nunique(), table, reading)
    images = images.assign(patient=named)
    if "wave" not in images:
        return images[COLUMNS], account[ACCOUNT], summary
    account["wave"] = pd.Series(images["wave"].to_numpy(), account.index[taken], dtype=object)
    return images[[*COLUMNS, "wave"]], account[[*ACCOUNT, "wave"]], summary


def read_catalogue(path: str | Path) -> pd.DataFrame:
    """The catalogue in a file, its words as text."""
    return read_table(path, tuple(COLUMNS))


def join(catalogues: Mapping[str, pd.DataFrame], patients: Mapping[str, str] | None = None) -> pd.DataFrame:
    """One catalogue of several sources, {name: its catalogue}: images and patients get the source's name before them.

    `patients` gives {source: another name for its patients}: where two have the same name, as parts of one published
    data set do, a key is the same person. Patients who share an image are made one. A single catalogue's names stay as
    they are, and so do those in the only one of wave 1, so that later waves change nothing in it. If one of
    them has waves, the others are of wave 1. Raises UserError as `bind`, whose images may here be of two sources,
    for a gap between waves, and for sources of the same patients that tell or write them in different ways.
    """
    waves = any("wave" in table for table in catalogues.values())
    if len(catalogues) == 1 and not waves:
        return bind(next(iter(catalogues.values())))
    if waves:
        catalogues = {name: table if "wave" in table else table.assign(wave=1) for name, table in catalogues.items()}
        check_waves((wave for table in catalogues.values() for wave in table["wave"].unique()), "dataset.sources")
    first = [name for name, table in catalogues.items() if not waves or (table["wave"] == 1).any()]
    whose = {name: (patients or {}).get(name, name) for name in catalogues}
    plain = first[0] if len(first) == 1 else None
    parts, same = [], {}  # {whose patients: the catalogues that have them}
    for name, table in catalogues.items():
        if others := same.get(whose[name]):
            stop_for_unlike(f"dataset.sources: {name}", pd.concat(others), table)
        same[whose[name]] = [*same.get(whose[name], []), table]
        prefix = "" if name == plain else f"{name}/"
        before = "" if plain is not None and whose[name] == whose[plain] else f"{whose[name]}/"
        parts.append(named_apart(table, prefix, before, waves))
    return bind(pd.concat(parts, ignore_index=True))


def named_apart(table: pd.DataFrame, prefix: str, before: str, waves: bool = True) -> pd.DataFrame:
    """The catalogue with `prefix` before the names of its images and `before` those of its patients.

    Where there are `waves`, a patient of whom only an image is known gets the prefix of images: another file of the
    same name, in another wave, is not known to be of the same patient.
    """
    known = table["patient_from"] != BY_IMAGE if waves else pd.Series(True, table.index)
    patients = (before + table["patient"]).where(known, prefix + table["patient"])
    return table.assign(image=prefix + table["image"], patient=patients)


def bind(table: pd.DataFrame) -> pd.DataFrame:
    """The catalogue with `duplicate_group` (from 1, 0 for none) and with patients who share an image made one.

    Images are the same if their decoded pixels are. Where there are waves, what a later one tells changes no patient of
    an earlier one; the further columns are then `again` (whether an image is in an earlier wave) and `torn` (whether it
    is of a patient who would make two of earlier waves one, there or before). Raises
    UserError if the labels of one image differ.
    """
    repeated = table["sha256_pixels"].duplicated(keep=False)
    numbers = {digest: number for number, digest in enumerate(table["sha256_pixels"][repeated].unique(), 1)}
    table = table.assign(duplicate_group=table["sha256_pixels"].map(numbers).fillna(0).astype(int))
    groups = [rows for _, rows in table[repeated].groupby("duplicate_group")]
    for rows in groups:
        if rows["label"].nunique() > 1:
            one, other = rows.drop_duplicates("label")["image"][:2]
            raise UserError(f"{one} and {other} are the same image, but labelled differently; remove one of them")
    if "wave" in table:
        return _bind_waves(table)
    return table.assign(patient=_joined(table["patient"], [rows["patient"] for rows in groups]))


def check_waves(waves: Iterable[int], where: str, count: int = 1) -> None:
    """Raise UserError if `waves`, those of all images of `where`, lack one up to their last, or up to `count`."""
    present = set(waves)
    last = max(*present, count)
    if missing := sorted({*range(1, last + 1)} - present):
        raise UserError(f"{where}: no image is of wave {missing[0]}, of {last}; number the waves from 1 without a gap")


def _in_waves(path: Path, images: pd.DataFrame, table: Table | None, reading: Reading) -> pd.DataFrame:
    """The images with a column `wave`, from 1, if there are several waves, or if `reading` gives one for all."""
    column = table.headers.get("wave", "") if table else ""
    if reading.wave and column:
        raise UserError(
            f"{path}: column {column} says waves, and all images are of wave {reading.wave} (dataset.sources, or "
            "fedxray-site prepare); take the column out of the table, or do not say the wave"
        )
    if reading.waves and not column:
        raise UserError(
            f"{path}: dataset.waves has days, but no column says an image's day; name it: dataset.columns: {{wave: "
            "NAME}"
        )
    if reading.wave:
        return images.assign(wave=int(reading.wave))
    if not column:
        return images.drop(columns="wave")
    check_waves(images["wave"], f"{path}: column {column}", len(reading.waves) + 1)
    return images if images["wave"].max() > 1 else images.drop(columns="wave")


def _bind_waves(table: pd.DataFrame) -> pd.DataFrame:
    """The catalogue with each patient of wave 1 as `bind` makes him of that wave alone, and of later ones as above.

    A patient is known again by the name that an earlier wave has for him, or by an image of the same pixels.
    """
    known: dict[str, str] = {}  # {a name in earlier waves: whose it is}
    seen: dict[str, str] = {}  # {pixels in earlier waves: whose they are}
    apart: set[str] = set()  # patients of earlier waves, each of whom is one with another of them
    parts = []
    for _, rows in table.groupby("wave"):
        names, pixels = rows["patient"], rows["sha256_pixels"]
        repeated = rows[pixels.duplicated(keep=False)].groupby("sha256_pixels", sort=False)
        here = _joined(names, [group["patient"] for _, group in repeated])
        old: dict[str, set[str]] = {patient: set() for patient in here}  # the earlier patients that each would be
        for patient, name, digest in zip(here, names, pixels, strict=True):
            old[patient].update(whose[key] for whose, key in ((known, name), (seen, digest)) if key in whose)
        patient = here.map({one: min(earlier, default=one) for one, earlier in old.items()})
        torn = here.map({one: len(earlier) > 1 or bool(earlier & apart) for one, earlier in old.items()})
        apart |= {one for earlier in old.values() if len(earlier) > 1 for one in earlier}
        parts.append(rows.assign(patient=patient, again=pixels.isin(seen.keys()), torn=torn))
        known |= {name: one for name, one in zip(names, patient, strict=True) if name not in known}
        seen |= {digest: one for digest, one in zip(pixels, patient, strict=True) if digest not in seen}
    return pd.concat(parts).loc[table.index]


def _joined(patients: pd.Series, groups: Sequence[pd.Series]) -> pd.Series:
    """Each image's patient, where the patients of a group are one, under the first of their keys.

    The patients are joined by union-find, so that a chain of shared images makes one patient too.
    """
    parent = {patient: patient for patient in patients}

    def root(patient: str) -> str:
        while parent[patient] != patient:
            parent[patient] = patient = parent[parent[patient]]
        return patient

    for group in groups:
        first = min(root(patient) for patient in group)
        for patient in group:
            parent[root(patient)] = first
    return patients.map(root)


def _stop_for_words(path: Path, said: Sequence[Said], table: Table | None, reading: Reading) -> None:
    """Raise UserError for files that are left out, and for which `reading` has no word."""
    unlabelled = [one for one in said if one.why.startswith((source.NO_LABEL, source.NOT_AN_IMAGE))]
    if not any(one.why == "" or one.why.startswith((source.UNREADABLE, source.UNLISTED)) for one in said):
        tables = [one.file for one in said if one.file.lower().endswith(".csv") and "/" not in one.file]
        near = f"; there is {tables[0]}: if it lists the images, give it in place of the folder" if tables else ""
        kinds = sorted({one.why for one in unlabelled})[:3]
        reasons = f" ({'; '.join(kinds)})" if kinds else ""
        raise UserError(
            f"{path}: no images of a known label{reasons}; they lie in folders NORMAL and PNEUMONIA, or a manifest.csv "
            f"lists them; other words are declared by dataset.labels{near}"
        )
    _stop_for_bad(path, [one for one in said if one.why.startswith((source.UNREADABLE, source.UNLISTED))], reading)
    if unlabelled and reading.unlabelled == "stop":
        kinds = Counter(one.why for one in unlabelled)
        listed = "; ".join(f"{count} {why}" for why, count in kinds.most_common(4)) + (
            "; ..." if len(kinds) > 4 else ""
        )
        inside = (
            " Folders inside class folders: " + way("subfolders", "take") + "." if " inside class" in listed else ""
        )
        raise UserError(
            f"{path}: {len(unlabelled)} files have no label: {listed}, such as "
            f"{shown([one.file for one in unlabelled])}; declare the words by dataset.labels, or leave these files "
            f"out: {way('unlabelled', 'drop')}.{inside}"
        )


def _stop_for_bad(path: Path, bad: Sequence[Said], reading: Reading) -> None:
    if bad and reading.bad_images == "stop":
        listed = "; ".join(f"{one.file}: {one.why.removeprefix(f'{source.UNREADABLE}: ')}" for one in bad[:5])
        raise UserError(
            f"{path}: {len(bad)} images cannot be read: {listed}{'; ...' if len(bad) > 5 else ''}; put them right, or "
            f"leave them out: {way('bad_images', 'drop')}"
        )


def _stop_for_classes(path: Path, said: Sequence[Said], table: Table | None) -> None:
    """Raise UserError if no image of a class is left, with what was left out."""
    taken, why = {one.label for one in said if not one.why}, Counter(one.why for one in said if one.why)
    for label, name in enumerate(CLASSES):
        if label not in taken:
            where = f"column {table.headers['label']}" if table else "folders"
            counts = ", ".join(f"{count} {reason}" for reason, count in why.most_common(4))
            left_out = f" (left out: {counts})" if why else ""
            raise UserError(
                f"{path}: no image is {name}{left_out}; both classes are needed: declare the words of the {where} by "
                "dataset.labels, and the views to take by dataset.views"
            )


def _look(
    path: Path, said: Sequence[Said], table: Table | None, reading: Reading, processes: int
) -> tuple[list[Said], list[dict]]:
    """(what is said, with reasons for images that are not taken after all, what each that was looked at is, or {}).

    Raises UserError for images that cannot be read, of a view that is not stated, with annotations burned in, and of
    greys that are not known.
    """
    names = tuple(one.file for one in said if not one.why)
    rows = (row for chunk in in_chunks(_inspect, names, processes, "catalogue", path) for row in chunk)
    looked: list[dict] = [{} if one.why else next(rows) for one in said]
    after, viewed = [], table is not None and "view" in table.headers
    for one, row in zip(said, looked, strict=True):
        why = one.why or _why_not(row, one.view, viewed, reading)
        after.append(one._replace(why=why, view=row.get("view") or one.view, label=-1 if why else one.label))
    _stop_for_bad(path, [one for one in after if one.why.startswith(source.UNREADABLE)], reading)
    if unstated := [one.file for one in after if one.why == f"{source.VIEW}: not stated"]:
        raise UserError(
            f"{path}: {len(unstated)} images do not say their view, such as {shown(unstated)}; if they are frontal, "
            'take them: dataset.views: [PA, AP, ""] (--views PA AP "")'
        )
    annotated = [one.file for one in after if one.why == source.BURNED_IN]
    if annotated and reading.burned_in == "stop":
        raise UserError(
            f"{path}: {len(annotated)} images have annotations burned into their pixels, such as {shown(annotated)}; "
            f"look at them, and then {way('burned_in', 'drop')} or take"
        )
    return after, looked


def _why_not(row: dict, view: str, viewed: bool, reading: Reading) -> str:
    """Why an image that was looked at is not taken; empty if it is. `viewed` is whether a column says the views."""
    if row["unreadable"]:
        return f"{source.UNREADABLE}: {row['unreadable']}"
    if row["burned_in"] and reading.burned_in != "take":
        return source.BURNED_IN
    view = row["view"] or view
    if (row["dicom"] or viewed) and view not in reading.views:
        return f"{source.VIEW}: {view or 'not stated'}"
    return ""


def _inspect(names: tuple, path: Path) -> list[dict]:
    """Of each image what `Facts` has, the `sha256` of its bytes, and why it is `unreadable`, if it is."""
    rows, reader = [], open_reader(path)
    for name in names:
        row = dict.fromkeys(Facts.__dataclass_fields__) | {"sha256": "-", "unreadable": ""}
        try:
            data = reader.read(name)
            row["sha256"] = hashlib.sha256(data).hexdigest()
            row |= vars(inspect(data))
        except Unreadable as error:
            row["unreadable"] = str(error)
        except OSError as error:
            row["unreadable"] = error.strerror or "cannot be read"
        except source.DAMAGED:
            row["unreadable"] = "damaged in the archive"
        rows.append(row)
    return rows


def _summary(
    account: pd.DataFrame,
    images: pd.DataFrame,
    facts: Sequence[dict],
    joined: int,
    table: Table | None,
    reading: Reading,
) -> dict:
    """Counts for the report, one SHA-256 over every image's name and content, and the greys of the whole source."""
    left_out = account["why"][account["taken"] == "no"].str.split(":").str[0]
    groups = images["duplicate_group"]
    return {
        "files": len(account),
        "images": len(images),
        "left_out": left_out.value_counts().sort_index().to_dict(),
        "labels": {name: int((images["label"] == label).sum()) for label, name in enumerate(CLASSES)},
        "labels_from": images["label_from"]
        .str.replace(r"^folder .*", "folder", regex=True)
        .value_counts()
        .sort_index()
        .to_dict(),
        "patients": int(images["patient"].nunique()),
        "patients_from": images["patient_from"].value_counts().sort_index().to_dict(),
        "patients_known": not images["patient_from"]
        .isin([BY_IMAGE, *(f"names as of {name}" for name in OF_IMAGES)])
        .any(),
        "columns_not_used": table.unused if table else [],
        "duplicate_groups": int(groups.max()) if len(groups) else 0,
        "duplicates": int((groups > 0).sum()),
        "patients_joined": joined,
        "aetiologies": images["aetiology"].value_counts().sort_index().to_dict(),
        "official_splits": images["official_split"].value_counts().sort_index().to_dict(),
        "sites": images["acquisition"].value_counts().sort_index().to_dict(),
        "views": images["view"].value_counts().sort_index().to_dict(),
        "greys": _greys(facts, reading),
        "synthetic": bool(images["synthetic"].any()),
        "sha256": _digest(images),
    } | ({"waves": {str(wave): _of_wave(rows) for wave, rows in images.groupby("wave")}} if "wave" in images else {})


def _of_wave(images: pd.DataFrame) -> dict:
    """Counts of a wave, and the SHA-256 that its images would have as a source of their own."""
    return {"images": len(images), "patients": int(images["patient"].nunique()), "sha256": _digest(images)}


def _digest(images: pd.DataFrame) -> str:
    """One SHA-256 over every image's name and content, as 64 hexadecimal digits."""
    contents = "\n".join(f"{name} {digest}" for name, digest in zip(images["image"], images["sha256"], strict=True))
    return hashlib.sha256(contents.encode()).hexdigest()


def _greys(facts: Sequence[dict], reading: Reading) -> list[float] | None:
    """The lowest and highest grey of images that do not say it themselves; None if all do.

    Raises UserError if DICOMs without a window use so little of their range that they would be nearly black, and if
    there are such DICOMs beside other images of more than 8 bits, whose range is not theirs.
    """
    if reading.greys:
        return list(reading.greys)
    reaches = [row["reach"] for row in facts if row["reach"] is not None]
    if reaches and max(reaches) < DARK:
        raise UserError(
            f"DICOM: {len(reaches)} images have no window, and their values span at most {max(reaches):.0%} of what "
            "their header allows, so that they would be nearly black; say their lowest and highest value by "
            "dataset.greys"
        )
    deep = [row for row in facts if row["low"] is not None]
    if not deep:
        return None
    if reaches:
        raise UserError(
            f"greys: {len(reaches)} DICOMs without a window and {len(deep)} PNG or TIFF of more than 8 bits are in one "
            "source, and a range found from some is not that of the others; say one range for all by dataset.greys, or "
            "make two sources of them"
        )
    whole = all(row["whole"] for row in deep)
    return list(common_range(min(row["low"] for row in deep), max(row["high"] for row in deep), whole))
