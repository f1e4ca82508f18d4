"""What names tell: patients by the naming of a known data set or by the user's expression, and never by a near miss."""

import re

import pytest

from fedxray.core.errors import UserError
from fedxray.data.names import OF_MIMIC, PATTERNS, hint, known_pattern, official_split, people
from fedxray.data.words import word

UUID = "0004cfab-14fd-4e49-80ba-63a80b6bddd6"


@pytest.mark.parametrize(
    ("name", "patient", "aetiology"),
    [
        ("train/PNEUMONIA/person23_bacteria_100.jpeg", "person23-bacteria", "bacteria"),
        ("train/PNEUMONIA/person23_virus_14.jpeg", "person23-virus", "virus"),
        ("train/PNEUMONIA/person447_virus_921_1.jpeg", "person447-virus", "virus"),
        ("train/NORMAL/IM-0523-0001-0003.jpeg", "IM-0523", "none"),
        ("train/NORMAL/NORMAL2-IM-0523-0001.jpeg", "NORMAL2-IM-0523", "none"),
        ("train/PNEUMONIA/BACTERIA-1135262-0001.jpeg", "BACTERIA-1135262", "bacteria"),
        ("train/PNEUMONIA/VIRUS-1980593-0003.jpeg", "VIRUS-1980593", "virus"),
        ("train/NORMAL/NORMAL-28501-0001.jpeg", "NORMAL-28501", "none"),
    ],
)
def test_whose_image_of_kermany_it_is_and_what_they_have(name, patient, aetiology):
    assert people([name], "kermany", "key") == [(patient, aetiology)]
    assert known_pattern([name]) == "kermany"


@pytest.mark.parametrize(
    ("pattern", "name", "patient"),
    [
        ("nih", "images_001/images/00000013_005.png", "00000013"),
        ("nih", "00030805_000.png", "00030805"),
        ("chexpert", "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg", "patient00001"),
        ("chexpert", "NORMAL/patient64540/study12/view2_lateral.jpg", "patient64540"),
        ("mimic", "files/p10/p10000032/s50414267/02aa804e-bde0afdd-112c0b34-7bc16630-4e384014.jpg", "p10000032"),
        ("mimic", f"p10000032/s50414267/{UUID}.jpg", "p10000032"),
        ("rsna", f"stage_2_train_images/{UUID}.dcm", UUID),
        ("vindr", "train/50a418190bc3fb1ef1633bf9678929b3.dicom", "50a418190bc3fb1ef1633bf9678929b3"),
    ],
)
def test_whose_image_of_a_known_data_set_it_is(pattern, name, patient):
    assert people([name], pattern, "key") == [(patient, "")]
    # The names of images tell no patient, so they are never taken for one without the user's word.
    assert known_pattern([name]) == ("" if pattern in ("rsna", "vindr") else pattern)


@pytest.mark.parametrize(
    "name",
    [
        *("ward/NORMAL/0001.png", "NORMAL/person23_fungus_1.png", "NORMAL/person23_virus.png", "NORMAL/IM-1.jpeg"),
        *("20240101_001.png", "0000013_005.png", "x00000013_005.png", "00000013_005_copy.png", "00000013_05.png"),
        *("patient1_study1_view1.jpg", "patient1/view1.jpg", "p123/s50414267/a.jpg", "p10000032/a.jpg", f"{UUID}.png"),
        *("xperson23_virus_1.jpeg", "person23_virus_1"),
    ],
)
def test_a_name_that_only_looks_like_one_tells_nothing(name):
    assert known_pattern([name]) == ""


def test_one_name_of_another_form_and_the_pattern_is_not_applied():
    names = [f"{patient:08d}_{visit:03d}.png" for patient in range(10) for visit in range(3)]
    assert known_pattern(names) == "nih"
    assert known_pattern([*names, "copy.png"]) == ""
    assert hint([*names, "copy.png"]) == "; 30 names are as of nih, but not copy.png"
    with pytest.raises(
        UserError, match=r"^dataset\.patient: 1 of 31 names do not fit 'nih', such as copy\.png; give a"
    ):
        people([*names, "copy.png"], "nih", "dataset.patient")


def test_what_names_of_images_alone_are_is_said():
    assert "names as of rsna, which tell images: patient: rsna takes each as a patient" in hint([f"{UUID}.dcm"])
    assert "names as of vindr" in hint([f"a/{'0af3' * 8}.png"])
    padchest = "216840111366964012283393834152009033102258826_00-059-087.png"
    assert "PadChest's names, which do not tell it: give its table, with the column PatientID" in hint([padchest])
    assert hint(["a.png", "b.png"]) == ""


def test_a_folder_of_a_patient_is_never_hidden_by_the_name_of_an_image():
    """MIMIC's images in folders of patients alone: it is not known what they are, and nothing calls it RSNA's."""
    names = [f"p1000003{number}/{UUID}.jpg" for number in (1, 1, 2)]
    assert known_pattern(names) == ""
    assert hint(names) == r"; they lie in folders of patients as of mimic, which '(?:^|/)(p\\d{8})/' takes"
    assert [person.patient for person in people(names, OF_MIMIC, "key")] == ["p10000031", "p10000031", "p10000032"]


@pytest.mark.parametrize(
    ("pattern", "patient"),
    [
        (r"^ward/(\d+)-", "12"),
        (r"(?P<who>\d+)-(\d+)", "12-3"),
        (r"/(\d+)(?:-(\d+))?(x)?", "12-3"),  # a group that takes no part
    ],
)
def test_the_users_expression(pattern, patient):
    assert people(["ward/12-3.png"], pattern, "key") == [(patient, "")]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (r"ward/\d+", r"^dataset\.patient: .* no group; put the patient's part in parentheses"),
        ("nhi", r"'nhi' is neither image nor a known naming \(kermany, nih, chexpert, mimic, rsna, vindr\), and"),
        (r"ward/(\d+", r"is no regular expression \(missing \)"),
        (r"room/(\d+)", r"2 of 2 names do not fit 'room/\(\\\\d\+\)', such as ward/1-1\.png, ward/2-1\.png"),
        (r"ward/(x*)", "2 of 2 names do not fit"),  # an empty key is no patient
        (r"ward/(1)", r"1 of 2 names do not fit .*, such as ward/2-1\.png"),
    ],
)
def test_an_expression_that_tells_no_patient(pattern, said):
    with pytest.raises(UserError, match=said):
        people(["ward/1-1.png", "ward/2-1.png"], pattern, "dataset.patient")


def test_no_two_known_namings_fit_one_name_but_mimics():
    """MIMIC's images may have names as of RSNA; the folders come first."""
    names = ["person1_virus_2.png", "00000013_005.png", "patient1/study1/view1.png", "p10000032/s50414267/a.png"]
    for name in [*names, f"{UUID}.png", f"{'0af3' * 8}.png"]:
        assert sum(bool(re.search(pattern, name)) for pattern in PATTERNS.values()) == 1
    assert list(PATTERNS).index("mimic") < list(PATTERNS).index("rsna")


def test_the_official_split_is_the_outermost_folder_that_is_called_so():
    splits = {"train": "train", "val": "val", "test": "test", "hold out": "test"}
    for name, split in (
        ("chest_xray/train/NORMAL/a.jpeg", "train"),
        ("chest_xray/VAL/NORMAL/a.jpeg", "val"),
        ("test/train/NORMAL/a.jpeg", "test"),
        ("Hold  Out/NORMAL/a.jpeg", "test"),
        ("NORMAL/train", ""),
        ("testing/NORMAL/a.jpeg", ""),
    ):
        assert official_split(name, splits, word) == split
