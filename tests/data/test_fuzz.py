"""Manifests, folders and cohorts at random: a right table, or one line that says where and what is wrong.

The suite takes a few seconds of them, always the same; FEDXRAY_FUZZ_S=600 takes ten minutes, and others each time.
"""

import csv
import io
import os
import random
import shutil
import time
import unicodedata

import pytest
from helpers.data import jpeg

from fedxray.core.errors import UserError
from fedxray.data.catalogue import build_catalogue
from fedxray.data.cohort import PARTITIONS, draw_cohort
from fedxray.data.labels import SHARED
from fedxray.data.reading import reading_of

SECONDS = float(os.environ.get("FEDXRAY_FUZZ_S", "0"))
CASES = 60  # of each kind in the suite
in_time = pytest.mark.timeout(SECONDS + 120)
IMAGES = ("a.jpeg", "b.JPG", "sub/c.jpeg", "sub/d e.jpeg", "\u00e9.jpeg", "sub/--x,'.jpeg")
TRUTH = {"normal": 0, "pneumonia": 1, "0": 0, "1": 1}  # words that need no declaration
SPACES = ("", "", "", " ", "\t", "\u00a0", "\ufeff", "  ", "\n", "\r\n")
CELLS = (
    *("", "0", "1", "-1", "1.0", "0.0", "NORMAL", "Pneumonia", "pneumonia|normal", "Pneumonia|", "|", "No pneumonia"),
    *(
        "non-pneumonia",
        "TRUE",
        "yes",
        "nan",
        "NaN",
        "None",
        "007",
        "7",
        "7.0",
        "1.2E+15",
        "P1",
        "p1",
        "P 1",
        "a\nb",
        "=1+1",
    ),
    *(
        "a\rb",
        "\u2028",
        "caf\u00e9",
        "cafe\u0301",
        "\U0001f600",
        '"',
        "'",
        ",",
        ";",
        "{x}",
        "..",
        ".",
        "/",
        "../a.jpeg",
        "\\",
    ),
    *(
        "drop",
        "train",
        "Testing",
        "test",
        "val",
        "PA",
        "ap",
        "lateral",
        "us",
        "US ",
        "unknown",
        "x" * 300,
        "%s",
        "$HOME",
    ),
)
NAMES = (
    *("image", "Image", "label", "LABEL ", "patient", "Patient ID", "patient_id", "site", "split", "view", "synthetic"),
    *("File Name", "diagnosis", "MRN", "", "x", "note", "image\n", "\ufefflabel", "subject"),
)


def draws(name):
    """A generator of random numbers for each case: some, always the same, or others for as long as is wanted."""
    start, number = time.monotonic(), 0
    base = f"{name} {time.time_ns()}" if SECONDS else name
    while number < CASES or time.monotonic() - start < SECONDS / 3:
        yield random.Random(f"{base} {number}")
        number += 1
    print(f"{name}: {number} cases")


def mostly(rng, common, pool, share=0.9):
    """One of `common`, or rarely any of `pool`."""
    return rng.choice(common) if rng.random() < share else rng.choice(pool)


def spaced(rng, text):
    return rng.choice(SPACES) + text + rng.choice(SPACES)


def outcome(build):
    """What `build` returns, or None if it raises the one error that users read, in one line that says where."""
    try:
        return build()
    except UserError as error:
        text = str(error)
        assert len(text.splitlines()) == 1, text
        assert "; " in text or ": " in text, text
        assert text.isprintable() or not text.isascii(), repr(text)
        return None


def plain(cell):
    """A cell as a reader of the table means it, by other means than the code's: one line and form, no spaces around."""
    return " ".join(unicodedata.normalize("NFC", cell).replace("\ufeff", " ").split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    for number, name in enumerate(IMAGES):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(jpeg(60 + 20 * number, size=(12, 9)))
    return folder


def a_manifest(rng):
    """(bytes, rows as dictionaries by clean names of columns, or None if the rows do not say what they are)."""
    strange = rng.choice([0, 0, 0, 0.02, 0.1])  # the share of cells that are anything
    further = ("patient", "Patient ID", "site", "Split", "view", "synthetic", "note")
    names = ["image", "label", *rng.sample(further, rng.randint(0, 4))]
    if rng.random() < 0.2:
        names = rng.sample(NAMES, rng.randint(1, 6))
    rng.shuffle(names)
    role = {name: "".join(plain(name).casefold().split()).replace("_", "") for name in names}
    rows = []
    for image in rng.sample(IMAGES, rng.choice([len(IMAGES), len(IMAGES), len(IMAGES), 3])) * rng.choice([1, 1, 1, 2]):
        row, number = [], IMAGES.index(image)
        for name in names:
            common = {
                "image": [image, f"./{image}", unicodedata.normalize("NFD", image), image.replace("/", "\\")],
                "label": [["0", "NORMAL", "normal", "0.0"], ["1", "pneumonia", "Pneumonia", "1.0"]][number % 2],
                "patient": [f"P{number % 3}"],
                "patientid": [f"P{number % 3}"],
                "split": [("train", "test", "")[number % 3]],
                "site": [("us", "asia")[number % 2]],
                "view": [("PA", "AP")[number % 2]],
                "synthetic": ["yes"],
            }.get(role[name], CELLS)
            row.append(spaced(rng, mostly(rng, common, CELLS, 1 - strange)))
        rows.append(row)
    text = io.StringIO()
    broken = any(end in cell for row in [names, *rows] for cell in row for end in "\r\n")
    separator, quoting = rng.choice(",;\t"), csv.QUOTE_ALL if broken else rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    writer = csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=rng.choice(["\n", "\r\n", "\r"]))
    writer.writerows([names, *rows])
    text, encoding = (
        text.getvalue(),
        rng.choice([*["utf-8", "utf-8-sig", "utf-16"] * 4, "latin-1", "cp1252", "utf-16-le"]),
    )
    data = text.encode(encoding, "replace")
    damage = rng.random()
    if damage < 0.05:
        data = data[: rng.randrange(len(data) + 1)]
    elif damage < 0.1:
        place = rng.randrange(len(data))
        data = data[:place] + rng.choice([b"\0", b'"', b"\xff", b",", b"\n", b""]) + data[place + 1 :]
    clean = [plain(name) for name in names]
    whole = damage >= 0.1 and encoding.startswith("utf") and len(set(clean)) == len(clean)
    return data, [dict(zip(clean, row, strict=True)) for row in rows] if whole else None


def a_reading(rng):
    """Values of the section dataset, as they come from a configuration."""
    values = {}
    if rng.random() < 0.6:
        values["patient"] = rng.choice([*["image"] * 9, "nih", "kermany", r"(.)\.", "(", "x", "(?i)^([^.]+)"])
    if rng.random() < 0.3:
        values["labels"] = {rng.choice(CELLS): rng.choice(["0", "1", "drop", 0, 1]) for _ in range(3)}
    if rng.random() < 0.2:
        roles = ["image", "label", "patient", "site", "split", "view"]
        values["columns"] = {rng.choice(roles): rng.choice(NAMES) for _ in range(rng.randint(1, 2))}
    if rng.random() < 0.2:
        values["sites"] = {rng.choice(CELLS): rng.choice(["us", "drop"])}
    if rng.random() < 0.2:
        values["splits"] = {rng.choice(CELLS): rng.choice(["train", "test", "drop"])}
    for key in ("unlabelled", "bad_images"):
        values[key] = rng.choice(["stop", "drop", "drop"])
    values["multiple"] = rng.choice(["", "stop", "any", "only"])
    values["views"] = rng.choice([["PA", "AP"], ["pa"], ["PA", "AP", ""]])
    return values


@in_time
def test_manifests_at_random(folder, tmp_path):
    taken = 0
    for rng in draws("manifests"):
        data, rows = a_manifest(rng)
        values = a_reading(rng)
        (folder / "manifest.csv").write_bytes(data)

        def build(values=values):
            return build_catalogue(folder, reading_of(values, "dataset"), 1, tmp_path / "salt")

        try:
            result = outcome(build)
        except Exception as error:
            raise AssertionError(f"{data!r} {values!r}") from error
        if result is None:
            continue
        taken += 1
        catalogue, account, _ = result
        assert sorted(account["file"][account["taken"] == "yes"]) == sorted(catalogue["image"])
        assert {*IMAGES, "manifest.csv"} <= set(account["file"])
        assert set(catalogue["image"]) <= set(IMAGES)
        if rows is not None and "columns" not in values:
            agrees(catalogue, rows, values)
    print(f"{taken} taken")
    assert taken > CASES / 10


def agrees(catalogue, rows, values):
    """Each row of the catalogue says what the cells say, read by other means."""
    role = {name: "".join(name.casefold().split()).replace("_", "") for name in rows[0]}
    key = {kind: name for name, kind in role.items() if kind in ("image", "label", "site", "split")}
    patient = next((name for name, kind in role.items() if kind in ("patient", "patientid")), None)
    said = {plain(word).casefold(): str(value) for word, value in values.get("labels", {}).items()}
    said = {word: None if value == "drop" else int(value) for word, value in said.items()}
    truth = TRUTH | {{"1.0": "1", "0.0": "0", "7.0": "7"}.get(word, word): value for word, value in said.items()}
    for image, label, official, acquisition in zip(
        *(catalogue[name] for name in ("image", "label", "official_split", "acquisition")), strict=True
    ):
        lines = [line for line in rows if os.path.normpath(plain(line[key["image"]]).replace("\\", "/")) == image]
        assert lines, image
        for line in lines:
            word = plain(line[key["label"]]).casefold()
            parts = [{"1.0": "1", "0.0": "0", "7.0": "7"}.get(part.strip(), part.strip()) for part in word.split("|")]
            parts = [word] if word in truth else [part for part in parts if part]
            found = {truth[part] for part in parts}
            assert label in found, (image, label, line)
            assert len(found) == 1 or (values["multiple"] == "any" and label == 1), (label, line)
            if "split" in key and plain(line[key["split"]]) in ("train", "test", "val") and "splits" not in values:
                assert official == plain(line[key["split"]])
            if "site" in key and "sites" not in values:
                assert acquisition == plain(line[key["site"]])
    if patient and values.get("patient", "image") == "image":
        images = {os.path.normpath(plain(line[key["image"]]).replace("\\", "/")): plain(line[patient]) for line in rows}
        keys = dict(zip(catalogue["image"], catalogue["patient"], strict=True))
        unknown = {"", "nan", "none", "unknown"}
        for one, one_key in keys.items():
            for other, other_key in keys.items():
                if images[one] == images[other] and images[one].casefold() not in unknown:
                    assert one_key == other_key, (one, other)  # one patient never becomes two
                elif images[one] != images[other]:
                    assert one_key != other_key, (one, other)


FOLDERS = (
    *(
        "NORMAL",
        "PNEUMONIA",
        "normal ",
        "Pneumonia",
        "0",
        "1",
        "train",
        "test",
        "val",
        "Covid-19",
        "viral",
        "x",
        "person1",
    ),
    *(
        ".hidden",
        "__MACOSX",
        "#recycle",
        "No pneumonia",
        "chest_xray",
        "manifest.csv",
        "a\nb",
        "--o",
        "caf\u00e9",
        "a.zip",
    ),
)
FILES = (
    "a.jpeg",
    "b.png",
    "c.txt",
    ".d.jpeg",
    "e",
    "f.dcm",
    "Thumbs.db",
    "g\n.jpeg",
    "h.jpeg",
    "i.jpeg",
    "person1_virus_2.jpeg",
)


@in_time
def test_folders_at_random(tmp_path):
    taken = 0
    for rng in draws("folders"):
        root = tmp_path / "root"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        below = [rng.sample(FOLDERS[: rng.choice([2, 8, len(FOLDERS)])], 2) for _ in range(3)]
        written = {}
        for _ in range(rng.randint(1, 12)):
            parts = [rng.choice(level) for level in below[: rng.randint(0, 3)]]
            path = root.joinpath(*parts, mostly(rng, FILES[:2], FILES))
            if path.exists() or path.is_symlink():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if rng.random() < 0.05:
                path.symlink_to(rng.choice([root, tmp_path / "nowhere", path]), target_is_directory=True)
            else:
                path.write_bytes(
                    mostly(rng, [jpeg(rng.randint(40, 250), size=(12, 9))], [b"", b"\xff\xd8\xff", b"text"], 0.97)
                )
                written["/".join([*parts, path.name])] = parts
        words = {"Covid-19": "drop", "viral": 1} if rng.random() < 0.5 else {}
        values = {"patient": rng.choice(["image", "image", "", "kermany"]), "labels": words}
        values |= {key: rng.choice(["stop", "drop", "drop"]) for key in ("unlabelled", "bad_images")}
        values["subfolders"] = rng.choice(["stop", "take"])

        def build(root=root, values=values):
            return build_catalogue(root, reading_of(values, "dataset"), 1, tmp_path / "salt")

        try:
            result = outcome(build)
        except Exception as error:
            raise AssertionError(f"{sorted(written)} {values!r}") from error
        if result is None:
            continue
        taken += 1
        catalogue, account, _ = result
        assert not account["file"].duplicated().any()
        truth = {"normal": 0, "pneumonia": 1}  # a folder 0 or 1 may be anything
        truth |= {word.casefold(): None if label == "drop" else label for word, label in words.items()}
        for image, label in zip(catalogue["image"], catalogue["label"], strict=True):
            parts = written[image]
            labels = [truth[part.strip().casefold()] for part in parts if part.strip().casefold() in truth]
            assert label == labels[-1], (image, label)  # of the innermost folder that is a word
            assert None not in labels, image
            assert values["subfolders"] == "take" or parts[-1].strip().casefold() in truth, image
            assert not any(part.startswith((".", "_", "#")) for part in (*parts, image.split("/")[-1])), image
            for depth, part in enumerate(parts):  # a level that has both classes in it is not turned by one below
                beside = {truth.get(name.strip().casefold()) for name in os.listdir(root.joinpath(*parts[:depth]))}
                if {0, 1} <= beside and part.strip().casefold() in truth:
                    with_images = {
                        truth[other[depth].strip().casefold()]
                        for name, other in written.items()
                        if other[:depth] == parts[:depth]
                        and len(other) > depth
                        and other[depth].strip().casefold() in truth
                        and name in set(account["file"][account["why"] != "hidden"])
                        and name.endswith((".jpeg", ".png"))
                    }
                    assert len(with_images - {None}) < 2 or truth[part.strip().casefold()] == label, image
    print(f"{taken} taken")
    assert taken > CASES / 20


@in_time
def test_cohorts_at_random(folder, tmp_path):
    """No patient is ever in two splits, or at two hospitals, whatever the partition, and however patients conflict."""
    (folder / "manifest.csv").write_text(
        "image,label,patient\n" + "".join(f'"{n}",{i % 2},{i}\n' for i, n in enumerate(IMAGES))
    )
    one = build_catalogue(folder, reading_of({}, "dataset"), 1, tmp_path / "salt")[0]
    drawn = 0
    for rng in draws("cohorts"):
        size, sites = rng.randint(20, 160), ["us", "europe", "asia"][: rng.randint(1, 3)]
        table = one.sample(size, replace=True, random_state=rng.randrange(2**31)).reset_index(drop=True)
        table["image"] = [f"{number}.jpeg" for number in range(size)]
        table["patient"] = [f"p{rng.randrange(size)}" for _ in range(size)]
        table["label"] = [rng.randint(0, 1) for _ in range(size)]
        table["aetiology"] = [
            rng.choice(["unknown", "virus", "bacteria"]) if label else "none" for label in table["label"]
        ]
        home = {patient: rng.choice(sites) for patient in table["patient"]}
        astray = rng.choice([0, 0.05])
        table["acquisition"] = [
            rng.choice(sites) if rng.random() < astray else home[patient] for patient in table["patient"]
        ]
        late = {patient: rng.random() < 0.3 for patient in table["patient"]}
        table["official_split"] = [
            "test" if late[patient] != (rng.random() < astray) else "" for patient in table["patient"]
        ]
        settings = {
            "seed": rng.randrange(100),
            "test": rng.choice(["redraw", "official"]),
            "test_fraction": rng.choice([0.05, 0.2, 0.5]),
            "validation_fraction": rng.choice([0.05, 0.2]),
            "balance": rng.choice(["none", "undersample"]),
            "partition": rng.choice(PARTITIONS),
            "alpha": rng.choice([0.3, 1.0, 100.0]),
            "power": rng.choice([0.0, 2.0]),
            "viral_share": rng.choice([0.3, 1.0]),
            "conflicts": rng.choice(["stop", "merge", "first"]),
        }

        def draw(table=table, sites=sites, settings=settings):
            return draw_cohort(table, sites, **settings)

        try:
            split = outcome(draw)
        except Exception as error:
            raise AssertionError(f"{table.to_csv()} {sites} {settings}") from error
        if split is None:
            continue
        drawn += 1
        assert list(split["image"]) == list(table["image"])
        used = split[split["split"] != "unused"]
        assert used.groupby("patient")[["split", "site"]].nunique().max().max() == 1, settings
        assert set(used["site"]) <= {*sites, SHARED}
        assert ((used["site"] == SHARED) == (used["split"] == "validation")).all()
        if settings["partition"] == "acquisition" and settings["conflicts"] != "merge":
            here = used[used["site"] != SHARED]
            assert (table.loc[here.index, "acquisition"] == here["site"]).all()
        if settings["test"] == "official":
            official = table["official_split"] == "test"
            assert not official[used.index[used["split"] != "test"]].any()
            if settings["conflicts"] != "merge":
                assert official[used.index[used["split"] == "test"]].all()
    print(f"{drawn} drawn")
    assert drawn > CASES / 4
