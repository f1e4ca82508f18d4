"""The catalogue: patients against the truth by name, labels and hospitals by name, and an account of every file."""

import hashlib
import hmac
import os
import random
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from conftest import REAL
from helpers.data import catalogued, jpeg, nih_archive, of_images, png, rsna_archive, write_images
from helpers.dicom import SECRETS, dicom
from PIL import Image

from fedxray.core.errors import UserError
from fedxray.core.files import read_table, write_table
from fedxray.data import account
from fedxray.data.catalogue import ACCOUNT, COLUMNS, bind, join, read_catalogue
from fedxray.data.names import BY_IMAGE, HASHED
from fedxray.data.patients import secret_of

TRAIN = "chest_xray/train"
CLASSES = ("NORMAL", "PNEUMONIA")


def members():
    return {
        f"{TRAIN}/PNEUMONIA/person23_bacteria_100.jpeg": jpeg(200),
        f"{TRAIN}/PNEUMONIA/person23_bacteria_101.jpeg": jpeg(201),
        f"{TRAIN}/PNEUMONIA/person23_virus_14.jpeg": jpeg(202),
        f"{TRAIN}/PNEUMONIA/person447_virus_921_1.jpeg": jpeg(203, mode="RGB"),
        f"{TRAIN}/NORMAL/IM-0115-0001.jpeg": jpeg(90),
        f"{TRAIN}/NORMAL/IM-0523-0001-0003.jpeg": jpeg(91),
        f"{TRAIN}/NORMAL/NORMAL2-IM-0115-0001.jpeg": jpeg(92),
    }


@pytest.fixture
def listed(tmp_path):
    """A folder of 40 images i0.png to i39.png; writes its manifest of a header and a row for each."""
    folder = write_images(tmp_path / "x", [f"i{number}.png" for number in range(40)])

    def listed(header, row, more="", name="manifest.csv"):
        rows = "".join(f"{row(number)}\n" for number in range(40))
        (folder / name).write_text(f"{header}\n{rows}{more}")
        return folder

    return listed


def label(number):
    return CLASSES[number // 4 % 2]


def test_patients_are_number_and_aetiology_not_number_alone(make_zip):
    table, _, summary = catalogued(make_zip(members()))
    patients = of_images(table, "patient")
    assert patients["person23_bacteria_100.jpeg"] == patients["person23_bacteria_101.jpeg"] == "person23-bacteria"
    assert patients["person23_virus_14.jpeg"] == "person23-virus"
    assert patients["IM-0115-0001.jpeg"] == "IM-0115"
    assert patients["NORMAL2-IM-0115-0001.jpeg"] == "NORMAL2-IM-0115"
    assert summary["patients"] == 6
    assert summary["aetiologies"] == {"bacteria": 2, "none": 3, "virus": 2}
    assert summary["patients_known"]
    assert not summary["synthetic"]
    assert set(table["official_split"]) == {"train"}
    assert set(table["mode"]) == {"L", "RGB"}
    assert list(table) == COLUMNS


def test_a_name_that_says_another_class_than_its_folder(make_zip):
    files = members()
    files[f"{TRAIN}/NORMAL/person9_virus_1.jpeg"] = jpeg(5)
    with pytest.raises(
        UserError, match=r"person9_virus_1\.jpeg: its name says pneumonia \(virus\), but its label is NORMAL"
    ):
        catalogued(make_zip(files))


def test_each_image_of_kaggles_archive_counts_once(make_zip):
    one = members()
    junk = {name.replace("chest_xray/", "chest_xray/chest_xray/", 1): data for name, data in one.items()}
    junk |= {f"chest_xray/__MACOSX/{name.replace('/person', '/._person')}": b"junk" for name in one}
    junk |= {"chest_xray/.DS_Store": b"x", f"{TRAIN}/NORMAL/._IM-0115-0001.jpeg": b"x"}
    table, _, summary = catalogued(make_zip(one | junk), "kermany")
    assert sorted(table["image"]) == sorted(one)
    assert summary["left_out"] == {"copy": 7, "hidden": 9}


def test_identical_pixels_make_their_patients_one_whatever_their_bytes(make_zip):
    files = members()
    files[f"{TRAIN}/NORMAL/IM-0900-0001.jpeg"] = files[f"{TRAIN}/NORMAL/IM-0115-0001.jpeg"]
    files[f"{TRAIN}/NORMAL/IM-0900-0002.jpeg"] = files[f"{TRAIN}/NORMAL/IM-0523-0001-0003.jpeg"] + b"more bytes"
    table, found, summary = catalogued(make_zip(files))
    chosen = found["file"].str.contains("IM-0115-0001|IM-0900|IM-0523") & ~found["file"].str.contains("NORMAL2")
    bound = found[chosen]
    assert set(bound["patient"]) == {"IM-0115"}
    assert set(table["patient"]) > {"IM-0115", "IM-0523", "IM-0900"}  # for other sources, until they are joined
    assert list(join({"": table})["patient"]) == list(found["patient"])
    assert sorted(bound["duplicate_group"]) == [1, 1, 2, 2]
    assert (summary["duplicates"], summary["duplicate_groups"], summary["patients_joined"]) == (4, 2, 2)
    assert summary["patients"] == 5  # of 7


def test_identical_images_of_two_labels_are_an_error(make_zip):
    files = members()
    files[f"{TRAIN}/NORMAL/IM-0900-0001.jpeg"] = files[f"{TRAIN}/PNEUMONIA/person23_virus_14.jpeg"]
    with pytest.raises(UserError, match=r"person23_virus_14.*are the same image, but labelled differently; remove one"):
        catalogued(make_zip(files))


def test_unreadable_images_stop_or_are_dropped_and_counted(make_zip):
    files = members() | {
        f"{TRAIN}/NORMAL/IM-0001-0001.jpeg": b"",
        f"{TRAIN}/NORMAL/IM-0002-0001.jpeg": jpeg(88, (400, 300))[:900],
    }
    path = make_zip(files)
    with pytest.raises(UserError, match=r"2 images cannot be read: .*IM-0001-0001.*IM-0002.*--bad-images drop"):
        catalogued(path)
    table, files, summary = catalogued(path, processes=2, bad_images="drop")
    assert len(table) == 7
    assert summary["left_out"] == {"unreadable": 2}
    left = files[files["taken"] == "no"].set_index("file")["why"]
    assert all(why.startswith("unreadable: ") for why in left)
    assert len(left) == 2


def test_a_damaged_member_of_a_zip_is_one_bad_image(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_STORED) as archive:
        for number in range(8):
            archive.writestr(f"{CLASSES[number % 2]}/p{number}.png", png(number))
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[data.find(b"IDAT") + 20] ^= 255
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(UserError, match=r"1 images cannot be read: NORMAL/p0\.png: damaged in the archive; put them"):
        catalogued(tmp_path / "x.zip", patient="image")
    assert len(catalogued(tmp_path / "x.zip", patient="image", bad_images="drop")[0]) == 7


@pytest.mark.parametrize("column", ["patient", "Patient", "patient_id", "Patient ID", "PatientID", "PATIENT-ID"])
def test_the_patient_of_a_column_however_its_name_is_written(listed, column):
    table, _, summary = catalogued(listed(f"image,label,{column}", lambda n: f"i{n}.png,{label(n)},p{n // 4}"))
    assert of_images(table, "patient") == {f"i{n}.png": f"p{n // 4}" for n in range(40)}
    assert summary["patients_from"] == {f"column {column}": 40}


@pytest.mark.parametrize("column", ["subject_id", "Subject", "person", "MRN", "medical record", "patient number"])
def test_a_column_that_may_be_the_patient_is_asked_about(listed, column):
    path = listed(f"image,label,{column}", lambda n: f"i{n}.png,{label(n)},p{n // 4}")
    with pytest.raises(UserError, match=f"no column patient, but {column}: if that is it, say so: dataset.columns: "):
        catalogued(path)
    table, _, _ = catalogued(path, columns={"patient": column})
    assert of_images(table, "patient") == {f"i{n}.png": f"p{n // 4}" for n in range(40)}
    assert catalogued(path, patient="image")[2]["patients"] == 40


def test_a_patient_is_text(listed):
    words = ["007", "7", " 7", "7.5", "1e5", "100000", "inf", "True", "7 ", "Zoë"]
    table, _, summary = catalogued(listed("image,label,patient", lambda n: f"i{n}.png,{label(n)},{words[n // 4]}"))
    expected = {f"i{n}.png": words[n // 4].strip() for n in range(40)}
    assert of_images(table, "patient") == expected
    assert summary["patients"] == 8  # three of the words are 7


def test_a_patient_survives_its_file(listed, tmp_path):
    words = ["007", "7", "inf", "1e5", "True", "p,1", 'p"2', "-0", "00", "Zoë"]
    quoted = [f'"{word.replace(chr(34), chr(34) * 2)}"' for word in words]
    table, _, _ = catalogued(listed("image,label,patient", lambda n: f"i{n}.png,{label(n)},{quoted[n // 4]}"))
    write_table(tmp_path / "catalogue.csv", table)
    read = read_catalogue(tmp_path / "catalogue.csv")
    assert of_images(read, "patient") == {f"i{n}.png": words[n // 4] for n in range(40)}
    assert read.equals(table.astype(read.dtypes))


@pytest.mark.parametrize("cell", ["", " ", "NA", "n/a", "nan", "None", "unknown", "ANONYMOUS", "-", "NULL"])
def test_a_word_for_no_patient_is_none(listed, cell):
    path = listed("image,label,patient", lambda n: f"i{n}.png,{label(n)},{cell if n in (3, 17) else f'p{n // 4}'}")
    with pytest.raises(
        UserError, match=r"the patient of 2 images is not known, such as of i17\.png, i3\.png; .*: image"
    ):
        catalogued(path)
    table, _, summary = catalogued(path, patient="image")
    expected = {f"i{n}.png": f"i{n}.png" if n in (3, 17) else f"p{n // 4}" for n in range(40)}
    assert of_images(table, "patient") == expected
    assert summary["patients_from"] == {"column patient": 38, BY_IMAGE: 2}
    assert not summary["patients_known"]


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["1.2E+15"], r"column patient: 1\.2E\+15 is a number that Excel has shortened, and may be several patients"),
        (["1,2E+15"], "that Excel has shortened"),
        (["9E+09"], "that Excel has shortened"),
        (["7", "7.0"], r"column patient: 7 and 7\.0 may be one patient; write it in one way"),
    ],
)
def test_numbers_that_a_program_has_changed(listed, cells, said):
    path = listed("image,label,patient", lambda n: f'i{n}.png,{label(n)},"{cells[n % len(cells)]}"')
    with pytest.raises(UserError, match=said):
        catalogued(path)


def test_folders_of_names_as_of_nih_or_chexpert_tell_the_patient(tmp_path):
    nih = [f"{CLASSES[p % 2]}/{p:08d}_{v:03d}.png" for p in range(20) for v in range(3)]
    table, _, summary = catalogued(write_images(tmp_path / "nih", nih))
    assert of_images(table, "patient") == {f"{p:08d}_{v:03d}.png": f"{p:08d}" for p in range(20) for v in range(3)}
    assert summary["patients_from"] == {"names as of nih": 60}
    chexpert = [f"{CLASSES[p % 2]}/patient{p:05}/study{s}/view1_frontal.png" for p in range(6) for s in (1, 2)]
    table, _, summary = catalogued(write_images(tmp_path / "chexpert", chexpert), subfolders="take")
    assert dict(zip(table["image"], table["patient"], strict=True)) == {name: name.split("/")[1] for name in chexpert}
    assert summary["patients"] == 6


def test_names_of_mimic_tell_the_patient_and_are_not_rsnas(tmp_path):
    dicom_id = "02aa804e-bde0-afdd-112c-0b347bc16630"  # as a UUID, which RSNA's names are
    names = [f"{CLASSES[p % 2]}/p1000000{p}/s5041426{s}/{dicom_id}.png" for p in range(6) for s in (1, 2)]
    table, _, summary = catalogued(write_images(tmp_path / "x", names), subfolders="take")
    assert dict(zip(table["image"], table["patient"], strict=True)) == {name: name.split("/")[1] for name in names}
    assert summary["patients_known"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "{:08x}-4e49-4e49-80ba-63a80b6bddd6.png",
            "names as of rsna, which tell images: patient: rsna takes each as a",
        ),
        ("{:032x}.png", "names as of vindr, which tell images: patient: vindr takes each"),
        (
            "{:039}_00-059-087.png",
            "these are PadChest's names, which do not tell it: give its table, with the column Pat",
        ),
        ("scan{}.png", "the patient is not known, such as of NORMAL/scan0.png"),
        ("p1000003{}/02aa804e-bde0-afdd-112c-0b347bc16630.png", "folders of patients as of mimic"),
    ],
)
def test_names_that_tell_no_patient_stop_with_the_word_to_say(tmp_path, name, said):
    path = write_images(tmp_path / "x", [f"{CLASSES[n % 2]}/{name.format(n)}" for n in range(6)])
    with pytest.raises(UserError, match=said) as error:
        catalogued(path, subfolders="take")
    assert "dataset.patient: image (--patient image)" in str(error.value)
    _, _, summary = catalogued(path, subfolders="take", patient="image")
    assert (summary["patients"], summary["patients_known"]) == (6, False)


def test_named_as_of_rsna_each_image_is_a_patient_and_it_is_said(tmp_path):
    names = [f"{CLASSES[n % 2]}/{n:08x}-4e49-4e49-80ba-63a80b6bddd6.png" for n in range(6)]
    _, _, summary = catalogued(write_images(tmp_path / "x", names), patient="rsna")
    assert (summary["patients"], summary["patients_known"]) == (6, False)
    assert summary["patients_from"] == {"names as of rsna": 6}


def test_the_users_expression_tells_the_patient(tmp_path):
    path = write_images(tmp_path / "x", [f"{CLASSES[p % 2]}/ward-{p:02}-{v}.png" for p in range(6) for v in range(2)])
    table, _, summary = catalogued(path, patient=r"ward-(\d+)-\d")
    assert set(table["patient"]) == {"00", "01", "02", "03", "04", "05"}
    assert summary["patients_known"]
    with pytest.raises(UserError, match=r"dataset\.patient: 2 of 12 names do not fit"):
        catalogued(path, patient=r"ward-0([0-4])-")
    with pytest.raises(UserError, match="is no regular expression"):
        catalogued(path, patient="ward-(")


def test_the_users_word_is_above_the_table_that_has_a_column_patient(listed):
    path = listed("image,label,patient", lambda n: f"i{n}.png,{label(n)},p")
    assert catalogued(path, patient=r"i(\d+)")[2]["patients"] == 40
    assert catalogued(path, patient=r"i(\d+)", columns={"patient": "patient"})[2]["patients"] == 1


@pytest.fixture
def of_dicom(tmp_path):
    """A folder of DICOMs of two classes and the patients QX-0 to QX-3, two images each."""
    for number in range(8):
        values = np.random.default_rng(number).integers(0, 255, (12, 10)).astype(np.uint8)
        path = tmp_path / "x" / CLASSES[number // 2 % 2] / f"IM{number:06}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dicom(values, PatientID=f" QX-{number // 2} "))
    return tmp_path / "x"


def test_a_dicoms_patient_is_hashed_with_a_secret_that_stays(of_dicom, tmp_path):
    salt = tmp_path / "kit" / "salt"
    table, files, summary = catalogued(of_dicom, salt=salt)
    assert oct(salt.stat().st_mode & 0o777) == "0o600"
    expected = {
        f"IM{n:06}": hmac.new(salt.read_bytes(), f"QX-{n // 2}".encode(), hashlib.sha256).hexdigest()[:16]
        for n in range(8)
    }
    assert of_images(table, "patient") == expected
    assert len(set(expected.values())) == 4
    assert summary["patients_from"] == {HASHED: 8}
    assert catalogued(of_dicom, salt=salt)[0].equals(table)  # the same secret, the same keys
    other, _, _ = catalogued(of_dicom, salt=tmp_path / "other")
    assert not set(other["patient"]) & set(table["patient"])
    written = [table.to_csv(), files.to_csv(), str(summary), account.page("x", files, summary)]
    written += account.lines(summary)
    for secret in ("QX-0", *SECRETS.values()):
        assert not [text for text in written if secret in text]


def test_an_empty_secret_is_none(of_dicom, tmp_path):
    (tmp_path / "salt").touch()
    with pytest.raises(UserError, match=r"salt: not a secret of fedxray, or cut short; delete it"):
        catalogued(of_dicom)


def test_catalogues_that_are_made_at_once_have_one_secret(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        drawn = set(pool.map(secret_of, [tmp_path / "kit" / "salt"] * 40))
    assert [path.name for path in (tmp_path / "kit").iterdir()] == ["salt"]
    assert drawn == {(tmp_path / "kit" / "salt").read_bytes()}


def test_a_dicom_without_a_patient_is_not_known(of_dicom):
    (of_dicom / "NORMAL" / "IM000000").write_bytes(dicom(np.zeros((9, 9), np.uint8), PatientID=" "))
    with pytest.raises(UserError, match="the patient of 1 images is not known, such as of NORMAL/IM000000;"):
        catalogued(of_dicom)
    table, _, summary = catalogued(of_dicom, patient="image")
    assert of_images(table, "patient_from")["IM000000"] == BY_IMAGE
    assert not summary["patients_known"]


def test_a_table_is_above_the_header_and_no_salt_is_made(of_dicom, tmp_path):
    rows = [f"{CLASSES[n // 2 % 2]}/IM{n:06},{n // 2 % 2},p{n}" for n in range(8)]
    (of_dicom / "manifest.csv").write_text("\n".join(["image,label,patient", *rows]))
    table, _, summary = catalogued(of_dicom)
    assert summary["patients"] == 8
    assert set(table["view"]) == {"PA"}
    assert not (tmp_path / "salt").exists()


def test_views_that_are_not_frontal_are_left_out_and_one_that_is_not_stated_stops(of_dicom):
    def write(number, **header):
        values = np.random.default_rng(number).integers(0, 255, (12, 10)).astype(np.uint8)
        (of_dicom / "NORMAL" / f"IM{number:06}").write_bytes(dicom(values, PatientID="QX-9", **header))

    write(20, ViewPosition="LL")
    _, _, summary = catalogued(of_dicom)
    assert summary["left_out"] == {"another view": 1}
    assert summary["views"] == {"PA": 8}
    write(21, ViewPosition=None)
    with pytest.raises(UserError, match=r"1 images do not say their view, such as NORMAL/IM000021; .*views: .PA, AP, "):
        catalogued(of_dicom)
    assert catalogued(of_dicom, views=["PA", ""])[2]["images"] == 9
    assert catalogued(of_dicom, views=["LL", "PA", ""])[2]["images"] == 10
    write(22, BurnedInAnnotation="YES")
    with pytest.raises(UserError, match=r"1 images have annotations burned into their pixels, .*burned_in: drop"):
        catalogued(of_dicom, views=["PA", ""])
    for burned_in, images in (("drop", 9), ("take", 10)):
        assert catalogued(of_dicom, views=["PA", ""], burned_in=burned_in)[2]["images"] == images


def test_an_empty_cell_of_the_column_view_is_a_view_that_is_not_stated(listed):
    views = ["PA", "ap", "LL", ""]
    path = listed("image,label,patient,view", lambda n: f"i{n}.png,{label(n)},p{n},{views[n % 4]}")
    with pytest.raises(UserError, match=r"10 images do not say their view, such as i11\.png, .*views: .PA, AP, "):
        catalogued(path)
    summary = catalogued(path, views=["PA", "AP", ""])[2]
    assert summary["views"] == {"": 10, "AP": 10, "PA": 10}
    assert summary["left_out"] == {"another view": 10, "document": 1}


def test_labels_by_name_and_what_is_unlabelled_needs_a_word(tmp_path):
    folders = ("NORMAL", "PNEUMONIA", "COVID19", "masks")
    path = write_images(tmp_path / "x", [f"pneumonia/{name}/p{n}.png" for name in folders for n in range(6)])
    (path / "pneumonia" / "NORMAL" / "movie.mp4").touch()
    with pytest.raises(UserError, match=r"13 files have no label: .*COVID19.*--unlabelled drop") as error:
        catalogued(path, patient="image")
    assert "6 no label: folder masks" in str(error.value)
    table, files, summary = catalogued(path, patient="image", unlabelled="drop")
    assert {name.split("/")[1] for name in table["image"][table["label"] == 0]} == {"NORMAL"}
    assert {name.split("/")[1] for name in table["image"][table["label"] == 1]} == {"PNEUMONIA"}
    assert summary["labels"] == {"NORMAL": 6, "PNEUMONIA": 6}
    assert summary["left_out"] == {"no label": 12, "not an image": 1}
    assert summary["labels_from"] == {"folder": 12}
    assert files["label"].value_counts().to_dict() == {"": 13, "NORMAL": 6, "PNEUMONIA": 6}
    words = {"covid19": 1, "masks": "drop"}
    assert catalogued(path, patient="image", unlabelled="drop", labels=words)[2]["labels"]["PNEUMONIA"] == 12


def test_hospitals_by_name_and_all_at_one(listed):
    path = listed("image,label,patient,site", lambda n: f"i{n}.png,{label(n)},p{n},{('US', 'NA', ' asia ')[n % 3]}")
    table, _, summary = catalogued(path, sites={"US": "us"})
    assert of_images(table, "acquisition") == {f"i{n}.png": ("us", "NA", "asia")[n % 3] for n in range(40)}
    assert summary["sites"] == {"NA": 13, "asia": 13, "us": 14}
    assert set(catalogued(path, site="guangzhou")[0]["acquisition"]) == {"guangzhou"}
    assert catalogued(path, sites={"NA": "drop"})[2]["left_out"] == {"document": 1, "dropped": 13}


def test_official_splits_by_name(listed):
    path = listed(
        "image,label,patient,split",
        lambda n: f"i{n}.png,{label(n)},p{n},{'train' if n < 24 else 'test' if n < 32 else 'Test'}",
    )
    assert catalogued(path)[2]["official_splits"] == {"test": 16, "train": 24}


def test_one_class_alone_stops(tmp_path):
    path = write_images(tmp_path / "x", ["NORMAL/a.png", "NORMAL/b.png"])
    with pytest.raises(
        UserError, match=r"no image is PNEUMONIA; both classes are needed: .* folders by dataset\.labels"
    ):
        catalogued(path, patient="image")


def test_a_source_without_an_image_of_a_known_label(tmp_path):
    with pytest.raises(UserError, match="x: no images of a known label; they lie in folders NORMAL and PNEUMONIA"):
        catalogued(write_images(tmp_path / "x", ["README.txt"]))
    path = write_images(tmp_path / "y", ["a.png", "list.csv"])
    with pytest.raises(
        UserError, match=r"\(no label: in no class folder\).*; there is list\.csv: if it lists the images"
    ):
        catalogued(path)


def test_a_manifest_names_its_images_whole_and_its_columns(listed):
    path = listed("image,label,patient,Age,Sex", lambda n: f"i{n}.png,{label(n)},p{n},7,F", "gone.png,NORMAL,q,1,M\n")
    with pytest.raises(UserError, match=r"1 images cannot be read: gone\.png: listed, but not there; "):
        catalogued(path)
    table, files, summary = catalogued(path, bad_images="drop")
    assert len(table) == 40
    assert summary["columns_not_used"] == ["Age", "Sex"]
    assert files.set_index("file").at["gone.png", "taken"] == "no"


def test_a_manifest_by_its_own_path_is_the_same(listed):
    folder = listed("image,label,patient", lambda n: f"i{n}.png,{label(n)},p{n}", name="list.csv")
    table, _, summary = catalogued(folder / "list.csv")
    assert len(table) == 40
    folder = listed("image,label,patient", lambda n: f"i{n}.png,{label(n)},p{n}")
    (folder / "list.csv").unlink()
    assert catalogued(folder)[2]["sha256"] == summary["sha256"]


def test_linked_folders_are_read_and_counted(tmp_path):
    path = write_images(tmp_path / "x", [f"{name}/p{n}.png" for name in CLASSES for n in range(12)])
    more = write_images(tmp_path / "more", [f"m{n}" for n in range(24)] + [f"NORMAL/p{n}.png" for n in range(12)])
    (path / "batch2").symlink_to(more)
    for number in range(24):
        (more / f"m{number}").unlink()  # so that the images of this batch have seeds of their own
    assert catalogued(path, patient="image")[2]["images"] == 36
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in CLASSES:
        (linked / name).symlink_to(path / name)
    assert catalogued(linked, patient="image")[2]["labels"] == {"NORMAL": 12, "PNEUMONIA": 12}


def test_a_folder_that_may_not_be_listed_and_a_file_that_may_not_be_read_stop(tmp_path, monkeypatch):
    path = write_images(tmp_path / "x", [f"{name}/p{n}.png" for name in (*CLASSES, "batch2") for n in range(3)])
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith("batch2"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(
        UserError, match="1 images cannot be read: batch2/: a folder that may not be listed: Permission"
    ):
        catalogued(path, patient="image")
    assert catalogued(path, patient="image", bad_images="drop")[2]["images"] == 6
    (path / "NORMAL" / "p1.png").unlink()
    (path / "NORMAL" / "p1.png").mkdir()  # what is no file cannot be read, even by root
    os.rename(path / "NORMAL" / "p1.png", path / "NORMAL" / "p1")
    (path / "NORMAL" / "p1.png").symlink_to("p1.png")  # a link to itself
    assert catalogued(path, patient="image", bad_images="drop")[2]["left_out"] == {
        "a folder that may not be listed": 1,
        "unreadable": 1,
    }


def test_a_name_that_is_not_utf_8_is_one_line(tmp_path):
    path = write_images(tmp_path / "x", [f"{name}/p{n}.png" for name in CLASSES for n in range(3)])
    os.rename(path / "NORMAL" / "p1.png", os.fsencode(path / "NORMAL") + b"/caf\xe9.png")
    with pytest.raises(
        UserError, match=r"1 images cannot be read: NORMAL/caf\\xe9\.png: its name is not UTF-8 or has a line break"
    ):
        catalogued(path, patient="image")
    table, files, _ = catalogued(path, patient="image", bad_images="drop")
    assert len(table) == 5
    write_table(tmp_path / "account.csv", files)
    assert r"NORMAL/caf\xe9.png" in set(read_table(tmp_path / "account.csv")["file"])


def test_a_checkpoint_with_the_pixels_of_an_image_is_no_further_one(tmp_path):
    path = write_images(tmp_path / "x", [f"{name}/p{n}.png" for name in CLASSES for n in range(12)])
    (path / "NORMAL" / ".ipynb_checkpoints").mkdir()
    (path / "NORMAL" / ".ipynb_checkpoints" / "p5-checkpoint.png").write_bytes(png(5) + b"other bytes")
    table, _, summary = catalogued(path, patient="image")
    assert len(table) == 24
    assert not table["image"].str.contains("checkpoint").any()
    assert summary["left_out"] == {"hidden": 1}


def test_greys_are_of_the_whole_source(tmp_path):
    for number, name in enumerate(("NORMAL/a.png", "PNEUMONIA/b.png")):
        (tmp_path / "x" / name).parent.mkdir(parents=True)
        values = np.linspace(0, (1000, 3000)[number], 64).reshape(8, 8).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / "x" / name)
    assert catalogued(tmp_path / "x", patient="image")[2]["greys"] == [0, 4095]
    assert catalogued(tmp_path / "x", patient="image", greys=[0, 3000])[2]["greys"] == [0, 3000]
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    values = np.linspace(0, 4095, 64).reshape(8, 8).astype(np.uint16)
    (tmp_path / "x" / "NORMAL" / "c.dcm").write_bytes(dicom(values, BitsStored=12, HighBit=11, **window))
    assert catalogued(tmp_path / "x", patient="image")[2]["greys"] == [0, 4095]
    (tmp_path / "x" / "NORMAL" / "c.dcm").write_bytes(dicom(values, BitsStored=12, HighBit=11))
    with pytest.raises(UserError, match=r"greys: 1 DICOMs without a window and 2 PNG or TIFF .*; say one range"):
        catalogued(tmp_path / "x", patient="image")
    assert catalogued(tmp_path / "x", patient="image", greys=[0, 3000])[2]["greys"] == [0, 3000]


def test_the_contract_of_nih_reads_its_archive_as_zip_and_folder(tmp_path):
    truth = nih_archive(tmp_path / "nih.zip")
    nih_archive(tmp_path / "nih")
    wanted = {name: known for name, known in truth.items() if known[0] is not None}
    for path in (tmp_path / "nih.zip", tmp_path / "nih"):
        table, files, summary = catalogued(path, "nih")
        found = zip(table["image"], zip(table["label"], table["patient"], strict=True), strict=True)
        assert dict(found) == wanted
        assert summary["left_out"]["dropped"] == len(truth) - len(wanted)
        assert set(summary["left_out"]) == {"document", "dropped", "known, without a label"}
        assert summary["patients_from"] == {"column Patient ID": len(wanted)}
        assert summary["patients_known"]
        assert len(files) == summary["files"]
    only = catalogued(tmp_path / "nih.zip", "nih", multiple="only")[0]
    assert set(only["label"]) == {0, 1}
    assert len(only) < len(wanted)
    kept = catalogued(tmp_path / "nih.zip", "nih", labels={"Infiltration": 1})[0]
    assert len(kept) > len(wanted)


def test_the_contract_of_rsna_reads_its_archive_as_zip_and_folder(tmp_path):
    truth = rsna_archive(tmp_path / "rsna.zip")
    rsna_archive(tmp_path / "rsna")
    wanted = {name: known for name, known in truth.items() if known[0] is not None}
    for path in (tmp_path / "rsna.zip", tmp_path / "rsna"):
        table, _, summary = catalogued(path, "rsna")
        found = zip(table["image"], zip(table["label"], table["patient"], strict=True), strict=True)
        assert dict(found) == wanted
        assert summary["left_out"] == {"document": 1, "dropped": 10, "known, without a label": 7}
        assert not summary["patients_known"]
        assert set(table["view"]) == {"PA", "AP"}
    (tmp_path / "rsna" / "stage_2_detailed_class_info.csv").unlink()
    with pytest.raises(UserError, match=r"no stage_2_detailed_class_info\.csv in it"):
        catalogued(tmp_path / "rsna", "rsna")


def rows(*images):
    """A catalogue of (image, label, patient, pixels)."""
    table = pd.DataFrame(images, columns=["image", "label", "patient", "sha256_pixels"])
    return table.reindex(columns=COLUMNS, fill_value="")


def test_a_chain_of_shared_images_makes_one_patient():
    chain = [(f"i{n}", 0, patient, pixels) for n, (patient, pixels) in enumerate(["ca", "cb", "bb", "bd", "ae", "fe"])]
    table = bind(rows(*((image, label, patient, pixels) for image, label, patient, pixels in chain)))
    # c-b by pixels b, and a-f by pixels e: c, b and a, f.
    assert list(table["patient"]) == ["b", "b", "b", "b", "a", "a"]
    assert list(table["duplicate_group"]) == [0, 1, 1, 0, 2, 2]


@pytest.mark.parametrize("seed", range(5))
def test_patients_who_share_an_image_are_the_components_of_a_graph(seed):
    rng = random.Random(seed)
    images = [(f"i{n}", 0, f"p{rng.randrange(30)}", f"x{rng.randrange(40)}") for n in range(45)]
    found = bind(rows(*images))
    group = {patient: {patient} for _, _, patient, _ in images}
    for _ in images:  # so often at most, until nothing changes
        for _, _, one, pixels in images:
            for _, _, other, same in images:
                if pixels == same:
                    group[one] |= group[other]
                    group[other] = group[one]
                    for patient in group[one]:
                        group[patient] = group[one]
    assert list(found["patient"]) == [min(group[patient]) for _, _, patient, _ in images]


def test_several_sources_have_patients_of_their_own_unless_they_share_an_image():
    one = rows(("a.png", 0, "7", "x"), ("b.png", 1, "8", "y"))
    other = rows(("a.png", 0, "7", "z"), ("c.png", 1, "9", "y"))
    table = join({"guangzhou": one, "nih": other})
    assert list(table["image"]) == ["guangzhou/a.png", "guangzhou/b.png", "nih/a.png", "nih/c.png"]
    assert list(table["patient"]) == ["guangzhou/7", "guangzhou/8", "nih/7", "guangzhou/8"]
    assert join({"only": one}).equals(one.assign(duplicate_group=0))
    with pytest.raises(UserError, match=r"one/b\.png and two/c\.png are the same image, but labelled differently"):
        join({"one": one, "two": rows(("c.png", 0, "9", "y"))})


def test_a_patient_of_a_data_set_is_known_in_its_other_part_by_each_of_his_names(listed):
    """3 and 8 share an image in the first part, so that they are one; 8 is in the second part too."""
    path = listed("image,label,patient", lambda n: f"i{n}.png,{label(n)},{n}")
    (path / "i8.png").write_bytes((path / "i3.png").read_bytes())
    first = catalogued(path)[0]
    other = rows(("x.png", 0, "8", "x")).assign(patient_from="column patient")
    table = join({"us": first, "asia": other}, {"us": "nih", "asia": "nih"})
    assert dict(zip(table["image"], table["patient"], strict=True))["asia/x.png"] == "nih/3"


def test_waves_are_in_catalogue_account_and_summary(listed, tmp_path):
    path = listed("image,label,patient,wave", lambda n: f"i{n}.png,{label(n)},p{n % 20},{1 + n // 25}")
    table, files, summary = catalogued(path)
    assert of_images(table, "wave") == {f"i{n}.png": 1 + n // 25 for n in range(40)}
    assert [summary["waves"][wave]["images"] for wave in ("1", "2")] == [25, 15]
    assert [summary["waves"][wave]["patients"] for wave in ("1", "2")] == [20, 15]
    assert account.lines(summary)[5:] == ["wave 1: 25 images of 20 patients", "wave 2: 15 images of 15 patients"]
    write_table(tmp_path / "account.csv", files)
    assert read_table(tmp_path / "account.csv").set_index("file")["wave"]["i30.png"] == 2
    alone = listed("image,label,patient", lambda n: f"i{n}.png,{label(n) if n < 25 else 'later'},p{n % 20}")
    before, _, of_first = catalogued(alone, labels={"later": "drop"})
    assert of_first["sha256"] == summary["waves"]["1"]["sha256"]
    assert "waves" not in of_first
    assert list(before) == COLUMNS
    whole, _, of_second = catalogued(alone, labels={"later": "drop"}, wave=2)
    assert set(whole["wave"]) == {2}
    assert of_second["waves"] == {"2": summary["waves"]["1"]}


@pytest.mark.parametrize(
    ("wave", "values", "said"),
    [
        ("{}", {"wave": 2}, r"x: column wave says waves, and all images are of wave 2 .*; take the column out"),
        ("3{}", {}, r"x: column wave: no image is of wave 1, of 31; number the waves from 1 without a gap$"),
        ("2024-01-0{}", {"waves": ["2024-01-02"]}, r"no image is of wave 2, of 2"),
        ("2024-01-0{}", {"waves": ["2023-01-01", "2024-01-01"]}, r"no image is of wave 1, of 3"),
        ("", {"waves": ["2023-01-01"]}, r"wave '' is no day"),
    ],
)
def test_waves_that_leave_a_gap_or_are_said_twice(listed, wave, values, said):
    path = listed("image,label,patient,wave", lambda n: f"i{n}.png,{label(n)},p{n},{wave.format(1)}")
    with pytest.raises(UserError, match=said):
        catalogued(path, **values)


def test_days_without_a_column_and_a_column_of_one_wave(listed):
    path = listed("image,label,patient", lambda n: f"i{n}.png,{label(n)},p{n}")
    with pytest.raises(UserError, match=r"dataset\.waves has days, but no column says an image's day; name it"):
        catalogued(path, waves=["2023-01-01"])
    before = catalogued(path)
    path = listed("image,label,patient,wave", lambda n: f"i{n}.png,{label(n)},p{n},1")
    table, files, _ = catalogued(path)
    assert (list(table), list(files)) == (list(before[0]), list(before[1]))


def in_waves(*images):
    """A catalogue of (image, patient, pixels, wave)."""
    return rows(*((image, 0, patient, pixels) for image, patient, pixels, _ in images)).assign(
        wave=[wave for *_, wave in images]
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_later_wave_knows_patients_again_and_makes_no_two_of_them_one(seed):
    rng = random.Random(seed)
    images = [(f"i{n}", f"p{rng.randrange(60)}", f"x{rng.randrange(90)}", 1 + n // 25) for n in range(75)]
    found = bind(in_waves(*images))
    first = bind(rows(*((image, 0, patient, pixels) for image, patient, pixels, wave in images if wave == 1)))
    assert list(found["patient"][:25]) == list(first["patient"])
    whose = dict(zip(found["image"], found["patient"], strict=True))
    torn = dict(zip(found["image"], found["torn"], strict=True))
    for wave in (1, 2, 3):
        here = [one for one in images if one[3] == wave]
        assert [image in set(found["image"][found["again"]]) for image, *_ in here] == [
            pixels in {one[2] for one in images if one[3] < wave} for _, _, pixels, _ in here
        ]
    sharing = [(a, b) for a in images for b in images if a[0] < b[0] and (a[1] == b[1] or a[2] == b[2])]
    for one, other in sharing:
        if not torn[one[0]] and not torn[other[0]]:
            assert whose[one[0]] == whose[other[0]]
    group = {image: {image} for image, *_ in images}
    for one, other in sharing * 3:
        if one[0] not in group[other[0]]:
            both = group[one[0]] | group[other[0]]
            group |= dict.fromkeys(both, both)
    for one in images:
        for other in images:
            if whose[one[0]] == whose[other[0]]:
                assert other[0] in group[one[0]]


def test_two_patients_whom_a_later_wave_makes_one_get_no_new_images_in_later_ones():
    first = [("1", "A", "a", 1), ("2", "B", "b", 1), ("3", "C", "c", 1)]
    both = [("4", "N", "a", 2), ("5", "N", "b", 2)]
    found = bind(in_waves(*first, *both, ("7", "A", "u", 3), ("8", "N", "v", 3), ("9", "C", "w", 3)))
    assert list(found["torn"]) == [False] * 3 + [True] * 4 + [False]


def test_a_patient_of_an_earlier_archive_is_known_by_each_of_his_names():
    """A and B share an image in wave 1, so that they are one; in wave 2 he comes as B."""
    one, two = in_waves(("1", "A", "x", 1), ("2", "B", "x", 1)), in_waves(("1", "B", "y", 2), ("2", "C", "z", 2))
    table = join({"nih": one, "nih-wave2": two}, {"nih": "nih", "nih-wave2": "nih"})
    assert list(table["image"]) == ["1", "2", "nih-wave2/1", "nih-wave2/2"]
    assert list(table["patient"]) == ["A", "A", "A", "C"]
    assert list(table["wave"]) == [1, 1, 2, 2]
    other = join({"us": one, "us-wave2": two}, {"us": "us", "us-wave2": "us-wave2"})
    assert list(other["patient"]) == ["A", "A", "us-wave2/B", "us-wave2/C"]
    three = join({"us": one, "asia": one.drop(columns="wave"), "us-wave2": two}, {"us-wave2": "us"})
    assert list(three["patient"]) == ["asia/A"] * 5 + ["us/C"]  # x is in both


def test_people_who_are_told_or_written_in_another_way_in_another_source_of_theirs_stop():
    one, two = in_waves(("1", "A12", "x", 1)), in_waves(("1", "a12", "y", 2))
    whose = {"us": "us", "us-wave2": "us"}
    with pytest.raises(UserError, match=r"^dataset\.sources: us-wave2: A12 and a12 may be one patient"):
        join({"us": one, "us-wave2": two}, whose)
    assert len(join({"us": one, "us-wave2": two})) == 2  # two hospitals
    hashed = two.assign(patient_from=HASHED)
    said = r"^dataset\.sources: us-wave2: patients are told by DICOM PatientID, hashed, and before by .*in the same way"
    with pytest.raises(UserError, match=said):
        join({"us": one, "us-wave2": hashed}, whose)


def test_the_account_has_a_row_of_every_file_and_reads_back(make_zip, tmp_path):
    files = members() | {"chest_xray/.DS_Store": b"", "chest_xray/notes.txt": b""}
    table, found, summary = catalogued(make_zip(files))
    assert list(found) == ACCOUNT
    assert list(found["file"]) == sorted(files)
    assert found["taken"].value_counts().to_dict() == {"yes": 7, "no": 2}
    taken = found[found["taken"] == "yes"]
    for column in ("patient", "patient_from", "official_split", "sha256", "duplicate_group"):
        assert list(taken[column]) == list(table[column])
    assert set(taken["label_from"]) == {"folder NORMAL", "folder PNEUMONIA"}
    assert all(
        digest == hashlib.sha256(files[name]).hexdigest()
        for name, digest in zip(taken["file"], taken["sha256"], strict=True)
    )
    write_table(tmp_path / "account.csv", found)
    assert list(read_table(tmp_path / "account.csv", tuple(ACCOUNT))["why"]) == list(found["why"])
    assert summary["files"] == 9


def real(name):
    if not (REAL / name).exists():
        pytest.skip(f"{name} (real radiographs) is not on this machine")
    return REAL / name


def test_the_real_data_set_of_kermany(tmp_path):
    path = real("chest-xray-pneumonia-224.zip")
    table, _, summary = catalogued(path, "kermany", 2, tmp_path / "salt")
    assert summary["images"] == 5856
    assert summary["patients"] == 4096  # 4,097 keys, two of which share an image
    assert summary["patients_joined"] == 1
    assert summary["duplicate_groups"] == 30
    assert table[table["sha256"].duplicated(keep=False)]["sha256"].nunique() == 30  # by bytes as by pixels
    assert summary["official_splits"] == {"test": 624, "train": 5216, "val": 16}
    assert table.groupby("patient")["official_split"].nunique().max() == 1
    assert summary["patients_from"] == {"names as of kermany": 5856}
    assert summary["left_out"] == {}


def test_the_real_data_set_of_nih(tmp_path):
    path = real("nih-1000-224.zip")
    table, _, summary = catalogued(path, "nih", 2, tmp_path / "salt")
    assert summary["images"] == 1000
    assert summary["patients"] == 682
    assert summary["labels"] == {"NORMAL": 500, "PNEUMONIA": 500}
    numbers = table["image"].str.rsplit("/", n=1).str[-1].str[:8].astype(int).astype(str)
    assert list(table["patient"]) == list(numbers)  # the table's column agrees with the names
