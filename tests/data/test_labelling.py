"""Labels, hospitals, splits and views by declared words only; a word that is not declared stops or is no label."""

import unicodedata

import pytest
from helpers.data import write_images

from fedxray.core.errors import UserError
from fedxray.data.labelling import by_folders, by_table, find_table
from fedxray.data.reading import reading_of
from fedxray.data.source import File, list_files, open_source


def folders(*names, **values):
    """{name: (label, why)} of files that may be images."""
    said = by_folders([File(name, "") for name in names], reading_of(values, "dataset"))
    return {one.file: (one.label, one.why) for one in said}


@pytest.fixture
def listed(tmp_path):
    """What a manifest of these lines says of files of these names, by name."""

    def listed(text, *names, **values):
        (tmp_path / "x").mkdir(exist_ok=True)
        for name in names or ("a.png",):
            (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "x" / name).touch()
        (tmp_path / "x" / "manifest.csv").write_text(text)
        with open_source(tmp_path / "x") as reader:
            reading, files = reading_of(values, "dataset"), list_files(reader)
            said = by_table(find_table(reader, files, reading), files, reader, reading)
        return {one.file: one for one in said if one.file != "manifest.csv"}

    return listed


def test_the_class_folder_is_the_label_and_no_folder_above_it():
    names = [f"pneumonia/{folder}/a.png" for folder in ("NORMAL", "PNEUMONIA", "COVID19", "Lung_Opacity", "masks")]
    found = folders(*names, "pneumonia/a.png", "a.png")
    assert found["pneumonia/NORMAL/a.png"] == (0, "")
    assert found["pneumonia/PNEUMONIA/a.png"] == (1, "")
    for folder in ("COVID19", "Lung_Opacity", "masks"):
        label, why = found[f"pneumonia/{folder}/a.png"]
        assert label == -1
        assert why.startswith(f"no label: folder {folder} (")
    assert found["pneumonia/a.png"] == found["a.png"] == (-1, "no label: in no class folder")


def test_folders_of_near_words_are_no_class_until_they_are_declared():
    names = [
        f"{folder}/a.png" for folder in ("normal ", "Pneumonia", "PNEUMONIA_viral", "Viral  Pneumonia", "Covid-19")
    ]
    found = folders(*names)
    assert [found[name][0] for name in names] == [0, 1, -1, -1, -1]
    assert found["PNEUMONIA_viral/a.png"][1] == "no label: folder PNEUMONIA_viral (the nearest known is 'pneumonia')"
    words = {"pneumonia_viral": 1, "viral pneumonia": 1, "covid-19": "drop"}
    found = folders(*names, labels=words)
    assert [found[name] for name in names] == [(0, ""), (1, ""), (1, ""), (1, ""), (-1, "dropped")]


def test_words_may_be_redefined():
    names = ["Normal/a.png", "Pneumonia/b.png", "No Finding/c.png"]
    found = folders(*names, labels={"Pneumonia": "drop", "No Finding": 0, "normal": 1})
    assert [found[name] for name in names] == [(1, ""), (-1, "dropped"), (0, "")]


def test_folders_inside_a_class_folder_stop_or_are_taken():
    names = ["NORMAL/p1/a.png", "NORMAL/b.png", "PNEUMONIA/x/y/c.png"]
    found = folders(*names)
    assert found["NORMAL/p1/a.png"] == (-1, "no label: folder p1 inside class folder NORMAL")
    assert found["PNEUMONIA/x/y/c.png"] == (-1, "no label: folder x/y inside class folder PNEUMONIA")
    assert found["NORMAL/b.png"] == (0, "")
    assert [label for label, _ in folders(*names, subfolders="take").values()] == [0, 0, 1]


def test_masks_beside_the_images_of_a_class_are_dropped_by_a_word():
    """The COVID-19 Radiography Database has Normal/images and Normal/masks."""
    names = [f"{folder}/{kind}/a.png" for folder in ("Normal", "Viral Pneumonia") for kind in ("images", "masks")]
    words = {"masks": "drop", "Viral Pneumonia": 1}
    assert list(folders(*names, labels=words, subfolders="take").values()) == [
        *((0, ""), (-1, "dropped")),
        *((1, ""), (-1, "dropped")),
    ]
    assert [label for label, _ in folders(*names, labels=words).values()] == [-1, -1, -1, -1]


@pytest.mark.parametrize("folder", ["0", "1"])
def test_a_folder_that_is_called_by_a_number_is_no_class(folder):
    """It may be a patient's, or a part of a cross-validation: NORMAL/1 is not pneumonia."""
    names = [f"NORMAL/{folder}/a.png", f"PNEUMONIA/{folder}/b.png"]
    assert [label for label, _ in folders(*names).values()] == [-1, -1]
    assert [label for label, _ in folders(*names, subfolders="take").values()] == [0, 1]
    declared = folders(f"{folder}/a.png", f"x/{folder}/a.png", labels={"0": 0, "1": 1})
    assert declared[f"{folder}/a.png"] == (int(folder), "")


def test_a_class_inside_the_other_class_is_no_label():
    names = ["NORMAL/a.png", "PNEUMONIA/b.png", "NORMAL/pneumonia/c.png", "train/NORMAL/d.png", "train/PNEUMONIA/e.png"]
    for subfolders in ("stop", "take"):
        found = folders(*names, subfolders=subfolders)
        assert found["NORMAL/pneumonia/c.png"] == (
            -1,
            "no label: folder pneumonia inside NORMAL, and each may be the class; rename one",
        )
        assert [found[name][0] for name in names if "pneumonia" not in name] == [0, 1, 0, 1]
    names = ["PNEUMONIA/virus/a.png", "PNEUMONIA/b.png", "NORMAL/c.png", "PNEUMONIA/virus/p1/d.png"]
    assert [label for label, _ in folders(*names, labels={"virus": 1}).values()] == [1, 1, 0, -1]  # a finer word
    assert [label for label, _ in folders(*names, labels={"virus": "drop"}).values()] == [-1, 1, 0, -1]
    assert folders("pneumonia/a/NORMAL/b.png", "pneumonia/c/PNEUMONIA/d.png") == {
        "pneumonia/a/NORMAL/b.png": (0, ""),
        "pneumonia/c/PNEUMONIA/d.png": (1, ""),
    }


def test_classes_in_folders_of_hospitals_or_splits():
    names = ["a/NORMAL/x.png", "a/PNEUMONIA/y.png", "b/NORMAL/z.png", "b/more/w.png"]
    found = folders(*names)
    assert [label for label, _ in found.values()] == [0, 1, 0, -1]
    said = by_folders(
        [File(f"{n}/NORMAL/x.png", "") for n in ("Train", "Hold Out", "b")],
        reading_of({"splits": {"hold out": "test", "b": "drop"}}, "d"),
    )
    assert [(one.split, one.why) for one in said] == [("train", ""), ("test", ""), ("", "dropped")]


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        *(("NORMAL", 0), ("normal", 0), (" Pneumonia ", 1), ("0", 0), ("1", 1), ("1.0", 1), ("0.00", 0)),
        *(("No Finding", 0), ("no  finding", 0), ("COVID", -1), ("-1", 1), ("-1.0", 1)),
    ],
)
def test_the_word_of_a_table(listed, cell, label):
    one = listed(f"image,label\na.png,{cell}\n", labels={"No Finding": 0, "Covid": "drop", -1: 1})["a.png"]
    assert (one.label, one.why) == (label, "" if label >= 0 else "dropped")
    assert one.label_from == "column label"


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (
            "Pnuemonia",
            r"row 2: label 'Pnuemonia' is not known; the nearest known is 'pneumonia'; .*'Pnuemonia': 0, 1 or",
        ),
        ("2", "row 2: label '2' is not known; known are 'normal', 'pneumonia', '0', '1'"),
        ("-1", r"label '-1' \(CheXpert's word for uncertain\) is not known; .* \(--labels='-1'=drop\)"),
        ("-1.0", r"label '-1\.0' \(CheXpert's word"),
        ("nan", "label 'nan' is not known"),
        ("Pneumonia|Effusion", "label 'Effusion' is not known"),
        (
            "Pneumonia|Normal",
            r"row 2: label 'Pneumonia\|Normal' has several findings; .*dataset\.multiple: any or only",
        ),
    ],
)
def test_a_word_that_is_not_declared_is_refused_with_the_nearest(listed, cell, said):
    with pytest.raises(UserError, match=said):
        listed(f"image,label\na.png,{cell}\n")


FINDINGS = {"Pneumonia": 1, "No Finding": 0, "Normal variant": 0, "Effusion": "drop", "Infiltration": 1}


@pytest.mark.parametrize(
    ("cell", "any_of", "only"),
    [
        *(("Pneumonia|Effusion", 1, -1), ("Effusion|Pneumonia", 1, -1), ("Pneumonia|Infiltration", 1, 1)),
        *(("No Finding|Normal variant", 0, 0), ("No Finding|Effusion", -1, -1), ("Pneumonia|No Finding", 1, -1)),
        *(("Effusion", -1, -1), ("Effusion|Effusion", -1, -1), (" pneumonia | EFFUSION ", 1, -1)),
        *(("Pneumonia;Infiltration", 1, 1), ('"Pneumonia, Effusion"', 1, -1)),
    ],
)
def test_several_findings(listed, cell, any_of, only):
    text = f"image,label\na.png,{cell}\n"
    assert listed(text, labels=FINDINGS, multiple="any")["a.png"].label == any_of
    assert listed(text, labels=FINDINGS, multiple="only")["a.png"].label == only


def test_a_word_with_a_comma_in_it_may_be_declared_whole(listed):
    text = 'image,label\na.png,"Pneumonia, unspecified"\n'
    assert listed(text, labels={"pneumonia, unspecified": 1})["a.png"].label == 1


def test_an_empty_label_and_a_file_that_no_row_names_have_none(listed):
    said = listed("image,label\na.png,\nb.png,1\n", "a.png", "b.png", "c.png")
    assert said["a.png"][1:3] == ("no label: an empty cell", -1)
    assert said["c.png"][1:3] == ("no label: not in the table", -1)
    assert said["b.png"].label == 1


def test_hospitals_by_name_also_one_that_is_called_na(listed):
    text = "image,label,site\na.png,0,NA\nb.png,0,ST.  Mary\nc.png,0,Test Scanner\nd.png,0,us\ne.png,0,\n"
    said = listed(text, *(f"{name}.png" for name in "abcde"), sites={"St. Mary": "us", "test scanner": "drop"})
    assert [(one.site, one.why) for one in said.values()] == [
        ("NA", ""),
        ("us", ""),
        ("", "dropped"),
        ("us", ""),
        ("", ""),
    ]


@pytest.mark.parametrize("cell", ["Test", "TEST", " test", "holdout"])
def test_the_official_split_by_its_word(listed, cell):
    assert listed(f"image,label,split\na.png,0,{cell}\n", splits={"Holdout": "test"})["a.png"].split == "test"


def test_a_split_that_is_not_declared_and_one_that_is_dropped(listed):
    with pytest.raises(
        UserError, match=r"row 2: split 'testing' is not known; the nearest known is 'test'; .*splits: "
    ):
        listed("image,label,split\na.png,0,testing\n")
    one = listed("image,label,split\na.png,0,pilot\n", splits={"pilot": "drop"})["a.png"]
    assert (one.why, one.split) == ("dropped", "")
    assert listed("image,label,split\na.png,0,\n")["a.png"].split == ""


def test_without_a_column_split_the_folders_of_a_table_say_it(listed):
    """The phantom's archive has Kaggle's folders, and a table."""
    said = listed("image,label\ntest/a.png,0\nb.png,0\nTrain/x/c.png,0\n", "test/a.png", "b.png", "Train/x/c.png")
    assert {name: one.split for name, one in said.items()} == {
        "test/a.png": "test",
        "b.png": "",
        "Train/x/c.png": "train",
    }
    said = listed("image,label,split\ntest/a.png,0,train\nb.png,0,\n", "test/a.png", "b.png")
    assert said["test/a.png"].split == "train"


def test_the_view_and_what_is_synthetic(listed):
    said = listed("image,label,view,synthetic\na.png,0,pa,Yes\nb.png,0,,no\n", "a.png", "b.png")
    assert [(one.view, one.synthetic) for one in said.values()] == [("PA", True), ("", False)]
    with pytest.raises(UserError, match="row 2: synthetic 'maybe'; it is yes or no"):
        listed("image,label,synthetic\na.png,0,maybe\n")


def test_an_image_that_two_rows_describe(listed):
    assert len(listed("image,label\na.png,0\n./a.png,NORMAL\n")) == 1
    for column in ("label", "patient", "site"):
        rows = ["0,p,us", {"label": "1,p,us", "patient": "0,q,us", "site": "0,p,asia"}[column]]
        with pytest.raises(UserError, match=r"row 3: image a\.png is listed twice, with other values; keep one row"):
            listed("image,label,patient,site\n" + "".join(f"a.png,{row}\n" for row in rows))
    with pytest.raises(UserError, match="row 2: no image; name its file"):
        listed("image,label\n,0\n")


@pytest.mark.parametrize("write", ["./{}", "sub/../{}", "{}", ".//{}"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_paths_as_people_write_them(listed, write, form):
    name = unicodedata.normalize("NFD", "sub/Mü 1.png")
    cell = unicodedata.normalize(form, write.format("sub/Mü 1.png"))
    assert listed(f"image,label\n{cell},1\n", name)[name].label == 1


def test_paths_of_windows_and_whole_ones(listed, tmp_path):
    assert listed("image,label\nsub\\a.png,1\n", "sub/a.png")["sub/a.png"].label == 1
    assert listed(f"image,label\n{tmp_path}/x/sub/a.png,1\n", "sub/a.png")["sub/a.png"].label == 1


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("b.png", "listed, but not there; did you mean sub/b.png?"),
        ("sub/bb.png", "listed, but not there; did you mean sub/b.png?"),
        ("other/entirely.png", "listed, but not there; paths are relative to the table"),
        ("sub/B.PNG", "listed, but not there; did you mean sub/b.png?"),
    ],
)
def test_a_file_that_is_not_there_is_named_with_what_is_near(listed, cell, said):
    found = listed(f"image,label\n{cell},1\n", "sub/b.png")
    assert found[cell].label == -1
    assert found[cell].why == f"unreadable: {said}"
    assert found["sub/b.png"].why == "no label: not in the table"


@pytest.mark.parametrize(("name", "why"), [(".a.png", "hidden"), ("a.pdf", "document")])
def test_a_file_that_nobody_would_miss_is_missed_if_it_is_listed(listed, name, why):
    one = listed(f"image,label\n{name},1\n", name)[name]
    assert (one.label, one.why) == (-1, f"unreadable: listed, but {why}")


def test_names_without_their_folders(tmp_path):
    write_images(tmp_path, ["images_001/images/a.png", "images_002/images/b.png"])
    (tmp_path / "Data_Entry_2017.csv").write_text("Image Index,label\na.png,1\nb.png,0\n")
    values = {"table": "Data_Entry*.csv", "anywhere": True, "columns": {"image": "Image Index"}}

    def said():
        with open_source(tmp_path) as reader:
            files, reading = list_files(reader), reading_of(values, "dataset")
            return by_table(find_table(reader, files, reading), files, reader, reading)

    labels = {one.file: one.label for one in said()}
    assert labels == {"Data_Entry_2017.csv": -1, "images_001/images/a.png": 1, "images_002/images/b.png": 0}
    write_images(tmp_path, ["more/b.png"])
    with pytest.raises(UserError, match=r"image b\.png: several files are called so \(.*\); remove all but one"):
        said()


def test_which_table_it_is(tmp_path):
    write_images(tmp_path, ["NORMAL/a.png"])

    def table(path=tmp_path, **values):
        with open_source(path) as reader:
            found = find_table(reader, list_files(reader), reading_of(values, "dataset"))
            return found and found.name

    assert table() is None
    with pytest.raises(UserError, match=r"columns are declared .* no table is called manifest\.csv; give the path"):
        table(columns={"patient": "MRN"})
    with pytest.raises(UserError, match=r"no Data_Entry\*\.csv in it, which says what the images are; get the whole"):
        table(table="Data_Entry*.csv")
    (tmp_path / "Manifest.CSV").write_text("image,label\nNORMAL/a.png,0\n")
    assert table().endswith("Manifest.CSV")
    (tmp_path / "list.csv").write_text("image,label\nNORMAL/a.png,0\n")
    assert table(tmp_path / "list.csv") == str(tmp_path / "list.csv")
    with pytest.raises(UserError, match=r"several tables \(Manifest\.CSV, list\.csv\); keep one"):
        table(table="*[sV]*")


def test_the_wave_of_a_number_or_of_a_day(listed):
    rows = "a.png,0,1\nb.png,0, 2.0\nc.png,drop,x\n"
    said = listed(f"image,label,wave\n{rows}", "a.png", "b.png", "c.png", labels={"drop": "drop"})
    assert [one.wave for one in said.values()] == [1, 2, 0]  # what is left out may say anything
    days = ["2023-12-31", "2024-01-01", "20240101", "2025-06-30", "20250701"]
    names = [f"{number}.png" for number in range(5)]
    rows = "".join(f"{name},0,{day}\n" for name, day in zip(names, days, strict=True))
    values = {"columns": {"wave": "Study Date"}, "waves": ["2024-01-01", "2025-07-01"]}
    said = listed(f"image,label,Study Date\n{rows}", *names, **values)
    assert [said[name].wave for name in names] == [1, 2, 2, 2, 3]


@pytest.mark.parametrize("cell", ["", "0", "-1", "1.5", "second", "2024-01-01", "1e1", "99999"])
def test_a_wave_that_is_no_whole_number(listed, cell):
    with pytest.raises(UserError, match=rf"row 2: wave '{cell}' is no wave; it is a whole number from 1, or a day if"):
        listed(f"image,label,wave\na.png,0,{cell}\n")


@pytest.mark.parametrize("cell", ["", "2", "31.12.2024", "2024-13-01", "2024-02-30", "2024-01-01 10:20", "2024-W05-1"])
def test_a_day_that_cannot_be_read(listed, cell):
    with pytest.raises(UserError, match=rf"row 2: wave '{cell}' is no day, by which dataset.waves tells the wave; wri"):
        listed(f"image,label,wave\na.png,0,{cell}\n", waves=["2024-01-01"])
