import pytest
from helpers.data import jpeg

from fedxray.core.errors import UserError
from fedxray.data.catalogue import build_catalogue
from fedxray.data.source import Source

TRAIN = "chest_xray/train"


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


def test_patients_are_number_and_aetiology_not_number_alone(make_zip):
    table, summary = build_catalogue(make_zip(members()), "stop", 1)
    patients = dict(zip(table["image"].str.rsplit("/", n=1).str[1], table["patient"], strict=True))
    assert patients["person23_bacteria_100.jpeg"] == patients["person23_bacteria_101.jpeg"] == "person23-bacteria"
    assert patients["person23_virus_14.jpeg"] == "person23-virus"
    assert patients["IM-0115-0001.jpeg"] == "IM-0115"
    assert patients["NORMAL2-IM-0115-0001.jpeg"] == "NORMAL2-IM-0115"
    assert summary["patients"] == 6
    assert not summary["synthetic"]
    assert set(table["official_split"]) == {"train"}
    assert set(table["mode"]) == {"L", "RGB"}


def test_each_image_of_kaggles_archive_counts_once(make_zip):
    one = members()
    junk = {name.replace("chest_xray/", "chest_xray/chest_xray/", 1): data for name, data in one.items()}
    junk |= {f"chest_xray/__MACOSX/{name.replace('/person', '/._person')}": b"junk" for name in one}
    junk |= {"chest_xray/.DS_Store": b"x", f"{TRAIN}/NORMAL/._IM-0115-0001.jpeg": b"x"}
    table, _ = build_catalogue(make_zip(one | junk), "stop", 1)
    assert sorted(table["image"]) == sorted(one)


def test_a_zip_with_only_the_second_copy_keeps_it(make_zip):
    only = {name.replace("chest_xray/", "chest_xray/chest_xray/", 1): data for name, data in members().items()}
    with Source(make_zip(only)) as source:
        assert len(source.names) == 7


def test_identical_images_make_their_patients_one(make_zip):
    files = members()
    files[f"{TRAIN}/NORMAL/IM-0900-0001.jpeg"] = files[f"{TRAIN}/NORMAL/IM-0115-0001.jpeg"]
    files[f"{TRAIN}/NORMAL/IM-0900-0002.jpeg"] = files[f"{TRAIN}/NORMAL/IM-0523-0001-0003.jpeg"]
    table, _ = build_catalogue(make_zip(files), "stop", 1)
    bound = table[table["image"].str.contains("IM-0115-0001|IM-0900|IM-0523") & ~table["image"].str.contains("NORMAL2")]
    assert set(bound["patient"]) == {"IM-0115"}
    assert sorted(bound["duplicate_group"]) == [1, 1, 2, 2]


def test_identical_images_of_two_labels_are_an_error(make_zip):
    files = members()
    files[f"{TRAIN}/NORMAL/IM-0900-0001.jpeg"] = files[f"{TRAIN}/PNEUMONIA/person23_virus_14.jpeg"]
    with pytest.raises(UserError, match=r"person23_virus_14.*byte-identical"):
        build_catalogue(make_zip(files), "stop", 1)


def test_unreadable_images_stop_or_are_dropped_and_counted(make_zip):
    files = members() | {
        f"{TRAIN}/NORMAL/IM-0001-0001.jpeg": b"",
        f"{TRAIN}/NORMAL/IM-0002-0001.jpeg": jpeg(88, (400, 300))[:900],
    }
    path = make_zip(files)
    with pytest.raises(UserError, match=r"2 images cannot be read.*IM-0001-0001.*IM-0002"):
        build_catalogue(path, "stop", 1)
    table, summary = build_catalogue(path, "drop", 2)
    assert len(table) == 7
    assert len(summary["dropped"]) == 2


def test_a_folder_with_a_manifest(tmp_path):
    for number, name in enumerate("abcd"):
        (tmp_path / f"{name}.jpeg").write_bytes(jpeg(50 + number))
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(
        "image,label,patient,site\na.jpeg,NORMAL,p1,x\nb.jpeg,1,p1,x\nc.jpeg,0,p2,y\nd.jpeg,pneumonia,,y\n"
    )
    for path in (tmp_path, manifest):
        table, _ = build_catalogue(path, "stop", 1)
        assert list(table["label"]) == [0, 1, 0, 1]
        assert list(table["patient"]) == ["p1", "p1", "p2", "d.jpeg"]
        assert list(table["acquisition"]) == ["x", "x", "y", "y"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,kind\na.jpeg,1\n", "no column label"),
        ("image,label\na.jpeg,sick\n", "row 2: label 'sick'"),
        ("image,label\nz.jpeg,1\n", "z.jpeg is not there"),
        ("image,label\na.jpeg,1\n", "no image is NORMAL"),
    ],
)
def test_a_manifest_that_does_not_fit(tmp_path, text, said):
    (tmp_path / "a.jpeg").write_bytes(jpeg(50))
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        Source(tmp_path)


def test_a_path_that_is_no_source(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        Source(tmp_path / "missing.zip")
    (tmp_path / "page.zip").write_text("<html>")
    with pytest.raises(UserError, match="not a zip"):
        Source(tmp_path / "page.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no images"):
        Source(tmp_path / "empty")


def test_the_real_data_set(real_zip):
    table, summary = build_catalogue(real_zip, "stop", 2)
    assert summary["images"] == 5856
    assert summary["patients"] == 4096  # 4,097 keys, two of which share an image
    assert summary["duplicate_groups"] == 30
    assert summary["official_splits"] == {"test": 624, "train": 5216, "val": 16}
    assert table.groupby("patient")["official_split"].nunique().max() == 1
