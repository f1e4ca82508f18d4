"""Tables, folders and zips as people really have them: the right value, or one line that says what to do."""

import os
import zipfile
from argparse import ArgumentParser

import numpy as np
import pytest
from helpers.data import jpeg
from helpers.dicom import dicom

from fedxray.core.errors import UserError
from fedxray.data.catalogue import build_catalogue, join
from fedxray.data.cohort import draw_cohort
from fedxray.data.datasets import DATASETS
from fedxray.data.patients import secret_of
from fedxray.data.reading import Reading, add_options, from_options, over, reading_of
from fedxray.data.site import load_site
from fedxray.operators.preparation import prepare_site

IMAGES = {f"i{number}.jpeg": jpeg(100 + number) for number in range(4)}
BY_IMAGE = {"patient": "image"}


def put(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def images(*names):
    return {name: jpeg(100 + number) for number, name in enumerate(names)}


def table(*rows, header="image,label"):
    return "\n".join([header, *rows, ""])


def read(path, **values):
    return build_catalogue(path, reading_of(values, "dataset"), 1, path.parent / "salt")


def labels_of(path, **values):
    catalogue = read(path, **(BY_IMAGE | values))[0]
    return dict(zip(catalogue["image"], catalogue["label"], strict=True))


def refused(path, match, **values):
    with pytest.raises(UserError, match=match) as error:
        read(path, **values)
    assert len(str(error.value).splitlines()) == 1


# Folders


def test_a_folder_0_or_1_inside_a_class_folder_does_not_turn_its_label(tmp_path):
    put(tmp_path, images("NORMAL/0/a.jpeg", "NORMAL/1/b.jpeg", "PNEUMONIA/0/c.jpeg", "PNEUMONIA/1/d.jpeg"))
    refused(tmp_path, "folder 1 inside class folder NORMAL", **BY_IMAGE)
    right = {"NORMAL/0/a.jpeg": 0, "NORMAL/1/b.jpeg": 0, "PNEUMONIA/0/c.jpeg": 1, "PNEUMONIA/1/d.jpeg": 1}
    assert labels_of(tmp_path, subfolders="take") == right


def test_a_data_set_called_pneumonia_gives_no_label(tmp_path):
    put(tmp_path, images("pneumonia/NORMAL/a.jpeg", "pneumonia/PNEUMONIA/b.jpeg"))
    assert labels_of(tmp_path) == {"pneumonia/NORMAL/a.jpeg": 0, "pneumonia/PNEUMONIA/b.jpeg": 1}


def test_what_lies_anywhere_in_a_folder_to_drop_is_left_out(tmp_path):
    put(tmp_path, images("NORMAL/a.jpeg", "PNEUMONIA/b.jpeg", "old/NORMAL/c.jpeg", "old/d.jpeg"))
    assert labels_of(tmp_path, labels={"Old": "drop"}) == {"NORMAL/a.jpeg": 0, "PNEUMONIA/b.jpeg": 1}


def test_deleted_files_of_network_storage_are_left_out(tmp_path):
    names = ("#recycle/NORMAL/c.jpeg", "@Recycle/NORMAL/d.jpeg", "@eaDir/NORMAL/e.jpeg", "$RECYCLE.BIN/NORMAL/f.jpeg")
    put(tmp_path, images("NORMAL/a.jpeg", "PNEUMONIA/b.jpeg", *names))
    assert labels_of(tmp_path) == {"NORMAL/a.jpeg": 0, "PNEUMONIA/b.jpeg": 1}


@pytest.mark.parametrize("name", ["a\nb.jpeg", "a\rb.jpeg", "a\u2028b.jpeg"])
def test_a_name_with_a_line_break_is_refused_in_one_line(tmp_path, name):
    put(tmp_path, images("NORMAL/c.jpeg", "PNEUMONIA/d.jpeg", f"NORMAL/{name}"))
    refused(tmp_path, r"NORMAL/a\\\S+b.jpeg: its name is not UTF-8 or has a line break; rename it", **BY_IMAGE)
    assert len(labels_of(tmp_path, bad_images="drop")) == 2


def test_a_date_in_a_name_is_not_a_patient_of_the_nih(tmp_path):
    put(tmp_path, images("NORMAL/20230115_001.jpeg", "NORMAL/20230116_001.jpeg", "PNEUMONIA/20230117_001.jpeg"))
    refused(tmp_path, "the patient is not known")
    other = put(tmp_path / "nih", images("NORMAL/00000013_000.jpeg", "PNEUMONIA/00030805_000.jpeg"))
    assert set(read(other)[0]["patient"]) == {"00000013", "00030805"}


def test_names_of_osirix_are_not_taken_for_kermanys(tmp_path):
    put(tmp_path, images("NORMAL/a/IM-0001-0001.jpeg", "PNEUMONIA/b/IM-0001-0001.jpeg"))
    refused(tmp_path, "say whose images these are by dataset.patient", subfolders="take")


# Tables


def test_a_table_in_the_top_folder_of_a_zip_counts(make_zip):
    files = images("my/a.jpeg", "my/b.jpeg") | {"my/manifest.csv": table("a.jpeg,1", "b.jpeg,0")}
    assert labels_of(make_zip(files)) == {"my/a.jpeg": 1, "my/b.jpeg": 0}


def test_a_table_below_the_top_counts_above_class_folders(tmp_path):
    files = images("data/NORMAL/a.jpeg", "data/PNEUMONIA/b.jpeg")
    put(tmp_path, files | {"data/manifest.csv": table("NORMAL/a.jpeg,1", "PNEUMONIA/b.jpeg,0")})
    assert labels_of(tmp_path) == {"data/NORMAL/a.jpeg": 1, "data/PNEUMONIA/b.jpeg": 0}
    put(tmp_path, {"more/manifest.csv": table("c.jpeg,1")})
    refused(tmp_path, "several tables", **BY_IMAGE)


def test_a_tsv_and_a_folder_of_a_tables_name(tmp_path):
    put(tmp_path, images("a.jpeg", "b.jpeg") | {"m.tsv": "image\tlabel\na.jpeg\t0\nb.jpeg\t1\n"})
    assert labels_of(tmp_path / "m.tsv") == {"a.jpeg": 0, "b.jpeg": 1}
    folder = put(tmp_path / "set.csv", images("NORMAL/a.jpeg", "PNEUMONIA/b.jpeg"))
    assert labels_of(folder) == {"NORMAL/a.jpeg": 0, "PNEUMONIA/b.jpeg": 1}


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("images/i3.jpeg", "images/i3.jpeg: listed, but not there; did you mean i3.jpeg"),
        ("I3.JPEG", "did you mean i3.jpeg"),
        ("i3", "did you mean i3.jpeg"),
        ("C:\\data\\i3.jpeg", "did you mean i3.jpeg"),
        ("https://x.org/i3.jpeg", "did you mean i3.jpeg"),
        ("../other/i3.jpeg", "outside the folder of the table"),
        ("/other/i3.jpeg", "outside the folder of the table"),
        ('"i\n3.jpeg"', "row 4: column image has a line's end inside a cell"),
        (".", "listed, but not there"),
    ],
)
def test_what_a_table_lists_and_is_not_there_is_said_first(tmp_path, image, said):
    put(tmp_path, IMAGES | {"manifest.csv": table("i0.jpeg,0", "i1.jpeg,1", f"{image},1")})
    refused(tmp_path, said, **BY_IMAGE)


def test_what_is_near_has_the_same_folders(tmp_path):
    put(tmp_path, images(*(f"{name}/p{number}/a.jpeg" for name in ("NORMAL", "PNEUMONIA") for number in range(3))))
    put(tmp_path, {"manifest.csv": table("x/PNEUMONIA/p1/a.jpeg,1")})
    refused(tmp_path, r"did you mean PNEUMONIA/p1/a.jpeg\?", **BY_IMAGE)


def test_absolute_paths_by_the_link_that_the_user_knows(tmp_path):
    real = put(tmp_path / "disk", images("a.jpeg", "b.jpeg"))
    (tmp_path / "link").symlink_to(real)
    put(real, {"manifest.csv": table(f"{tmp_path}/link/a.jpeg,0", f"{real}/b.jpeg,1")})
    assert labels_of(tmp_path / "link") == {"a.jpeg": 0, "b.jpeg": 1}


def test_a_damaged_table_in_a_zip(tmp_path):
    path, text = tmp_path / "a.zip", table("a.jpeg,0", "b.jpeg,1")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.csv", text)
    path.write_bytes(path.read_bytes().replace(text.encode(), text.upper().encode()))
    refused(path, "manifest.csv: damaged in the archive", **BY_IMAGE)


def test_a_word_of_the_user_replaces_the_same_word_of_another_case(tmp_path):
    put(tmp_path, images("NORMAL/a.jpeg", "Pneumonia/b.jpeg", "viral/c.jpeg"))
    words = {"pneumonia ": "drop", "Viral": 1}
    assert labels_of(tmp_path, labels=words) == {"NORMAL/a.jpeg": 0, "viral/c.jpeg": 1}
    assert over(DATASETS["nih"].reading, {"labels": {"infiltration": 1}})["labels"]["infiltration"] == 1
    with pytest.raises(UserError, match="twice, with two meanings"):
        read(tmp_path, labels={"Viral": 1, "viral": 0})


def test_a_finding_with_a_mark_at_its_end(tmp_path):
    put(tmp_path, IMAGES | {"manifest.csv": table("i0.jpeg,NORMAL|", "i1.jpeg,1;", "i2.jpeg,0", "i3.jpeg,1")})
    assert labels_of(tmp_path) == {"i0.jpeg": 0, "i1.jpeg": 1, "i2.jpeg": 0, "i3.jpeg": 1}


@pytest.mark.parametrize(("one", "other"), [("P17", "p17"), ("7", "7.0"), ("A 1", "A  1")])
def test_patients_that_may_be_one_are_refused(tmp_path, one, other):
    rows = (f"i{number}.jpeg,{number % 2},{(one, other)[number // 2]}" for number in range(4))
    put(tmp_path, IMAGES | {"manifest.csv": table(*rows, header="image,label,patient")})
    refused(tmp_path, f"column patient: {one} and {other} may be one patient|{other} and {one}")


def test_patients_of_names_that_may_be_one_are_refused(tmp_path):
    put(tmp_path, images("NORMAL/P17_1.jpeg", "PNEUMONIA/p17_2.jpeg"))
    refused(tmp_path, "dataset.patient: P17 and p17 may be one patient", patient="(?i)/(p[0-9]+)_")


def test_a_line_break_is_one_line_in_a_name_and_refused_in_a_cell(tmp_path):
    rows = [f"i{number}.jpeg,{number % 2},P {number // 2}" for number in range(4)]
    put(tmp_path, IMAGES | {"manifest.csv": table(*rows, header='image,label,"Patient\nID"')})
    assert list(read(tmp_path)[0]["patient"]) == ["P 0", "P 0", "P 1", "P 1"]
    rows[1] = 'i1.jpeg,1,"P\r0"'  # a stray quote may have swallowed a row
    put(tmp_path, {"manifest.csv": table(*rows, header="image,label,patient")})
    refused(tmp_path, "row 3: column patient has a line's end inside a cell; look for a stray quote")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_inside_quoted_names_of_columns_do_not_count(tmp_path, separator):
    names = separator.join(("image", '"a, b; c, d; e,\t\tf;"', '"Label\n"'))
    rows = (separator.join((f"i{number}.jpeg", "x", str(number % 2))) for number in range(4))
    put(tmp_path, IMAGES | {"manifest.csv": table(*rows, header=names)})
    assert labels_of(tmp_path) == {"i0.jpeg": 0, "i1.jpeg": 1, "i2.jpeg": 0, "i3.jpeg": 1}


def test_views_are_compared_without_case_and_named_if_no_image_is_left(tmp_path):
    rows = [f"i{number}.jpeg,{number % 2},frontal" for number in range(4)]
    put(tmp_path, IMAGES | {"manifest.csv": table(*rows, header="image,label,view")})
    refused(tmp_path, "no image is NORMAL.*4 another view: FRONTAL.*dataset.views", **BY_IMAGE)
    assert len(labels_of(tmp_path, views=["frontal"])) == 4


# Zips and paths


def test_zips_of_other_programs(make_zip):
    files = images("NORMAL/a.jpeg", "PNEUMONIA/b.jpeg")
    wanted = {"top/NORMAL/a.jpeg": 0, "top/PNEUMONIA/b.jpeg": 1}
    for written in ("./top/{}", "top\\{}", "top/{}"):
        names = {
            written.format(name if "/{" in written else name.replace("/", "\\")): data for name, data in files.items()
        }
        assert labels_of(make_zip(names)) == wanted
    mixed = {f"top/{name}".replace("/", "\\", number): data for number, (name, data) in enumerate(files.items(), 1)}
    assert labels_of(make_zip(mixed)) == wanted
    refused(make_zip(mixed | files | {"./NORMAL/a.jpeg": b""}), "NORMAL/a.jpeg is in it twice", **BY_IMAGE)


def test_paths_that_are_no_source(tmp_path):
    put(tmp_path, {"a.tar.gz": b"\x1f\x8b..", "a.jpeg": jpeg(9)})
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "a.tar.gz", "give a folder, a zip or a .csv")
    refused(tmp_path / "a.jpeg", "give a folder, a zip or a .csv")
    refused(tmp_path / "pipe", "neither a file nor a folder")
    refused(tmp_path / ("a" * 300), "cannot be read")
    refused(tmp_path / "a.jpeg" / "b", "no such file|cannot be read")


# A hospital's own command


def test_a_table_of_several_hospitals_is_not_one_hospitals_data(tmp_path):
    rows = [f"i{number}.jpeg,{number % 2},P{number},{('us', 'asia')[number // 20]}" for number in range(40)]
    files = {f"i{number}.jpeg": jpeg(60 + number) for number in range(40)}
    put(tmp_path / "in", files | {"manifest.csv": table(*rows, header="image,label,patient,site")})
    with pytest.raises(UserError, match=r"names several hospitals \(asia, us\).*is of us alone.*--sites='asia'=drop"):
        prepare_site(tmp_path / "in", "us", 16, tmp_path / "out", own_validation=0.2)
    reading = reading_of({"sites": {"asia": "drop"}}, "dataset")
    prepare_site(tmp_path / "in", "us", 16, tmp_path / "out", own_validation=0.2, reading=reading)
    assert set(load_site(tmp_path / "out").table["image"]) == {f"i{number}.jpeg" for number in range(20)}


# Several sources


def test_a_person_in_two_parts_of_one_data_set_is_one(tmp_path):
    parts = {}
    for number, part in enumerate(("one", "two")):
        names = (f"NORMAL/{13 + 4 * number:08d}_00{number}.jpeg", f"PNEUMONIA/00000013_01{number}.jpeg")
        put(tmp_path / part, {name: jpeg(100 + 10 * number + index) for index, name in enumerate(names)})
        parts[part] = read(tmp_path / part)[0]
    assert join(parts)["patient"].nunique() == 3  # of two hospitals that count alike
    together = join(parts, {"one": "nih", "two": "nih"})
    assert list(together["patient"]) == ["nih/00000013", "nih/00000013", "nih/00000017", "nih/00000013"]
    assert list(together["image"].str.split("/").str[0]) == ["one", "one", "two", "two"]
    settings = {"seed": 1, "test": "redraw", "test_fraction": 0.2, "validation_fraction": 0.1, "balance": "none"}
    with pytest.raises(UserError, match=r"1 patients are at two hospitals.*nih/00000013: one .* and two"):
        draw_cohort(
            together.assign(acquisition=together["image"].str.split("/").str[0]),
            ["one", "two"],
            partition="acquisition",
            **settings,
        )


# Words on a command line


@pytest.mark.parametrize(
    "values",
    [
        {"labels": {"-1": "drop", "a=b": 1, "--x": 0, " two words": "drop"}},
        {"columns": {"label": "a=b", "image": "-x"}, "sites": {"-": "us", "St. Mary's": "drop"}},
        {"patient": r"-(\d+)", "views": ["", "pa"], "greys": [-1024, 3071.5], "splits": {"-": "test"}},
        {"labels": {"normal": "drop"}, "unlabelled": "drop", "subfolders": "take", "multiple": "any"},
        *(dict(dataset.reading) for dataset in DATASETS.values()),
    ],
)
def test_a_reading_comes_back_from_its_command_line(values):
    parser = ArgumentParser()
    add_options(parser)
    reading = reading_of(values, "dataset")
    assert from_options(parser.parse_args(reading.options())) == reading


def test_a_secret_that_is_cut_short_is_refused(tmp_path):

    assert len(secret_of(tmp_path / "salt")) > 32
    (tmp_path / "salt").write_text("\n")
    with pytest.raises(UserError, match="not a secret"):
        secret_of(tmp_path / "salt")


def test_a_reading_has_a_default():
    assert reading_of({}, "dataset") == Reading()


def test_dicoms_of_one_patient_in_two_cases_are_named_without_the_patient(tmp_path):
    for number, patient in enumerate(("Qx 1", "QX  1", "Qx 2")):
        pixels = np.full((9, 9), 40 + number, np.uint8)
        content = dicom(pixels, PatientID=patient, ViewPosition="PA")
        put(tmp_path, {f"{('NORMAL', 'PNEUMONIA')[number % 2]}/{number}.dcm": content})
    with pytest.raises(UserError, match=r"NORMAL/0.dcm and PNEUMONIA/1.dcm: their PatientIDs differ in case") as error:
        read(tmp_path)
    assert "qx" not in str(error.value).replace(str(tmp_path), "").casefold()
    (tmp_path / "PNEUMONIA" / "1.dcm").write_bytes(dicom(pixels + 9, PatientID="Qx 2", ViewPosition="PA"))
    assert read(tmp_path, greys=[0, 255])[2]["patients"] == 2  # Qx 1 and Qx 2
