import pytest

from fedxray.data.names import official_split, patient_and_aetiology


@pytest.mark.parametrize(
    ("name", "label", "patient", "aetiology"),
    [
        ("train/PNEUMONIA/person23_bacteria_100.jpeg", 1, "person23-bacteria", "bacteria"),
        ("train/PNEUMONIA/person23_virus_14.jpeg", 1, "person23-virus", "virus"),
        ("train/PNEUMONIA/person447_virus_921_1.jpeg", 1, "person447-virus", "virus"),
        ("train/NORMAL/IM-0523-0001-0003.jpeg", 0, "IM-0523", "none"),
        ("train/NORMAL/NORMAL2-IM-0523-0001.jpeg", 0, "NORMAL2-IM-0523", "none"),
        ("ward/NORMAL/0001.png", 0, "ward/NORMAL/0001.png", "none"),
        ("ward/PNEUMONIA/0001.png", 1, "ward/PNEUMONIA/0001.png", "unknown"),
        ("ward/PNEUMONIA/person23_fungus_1.png", 1, "ward/PNEUMONIA/person23_fungus_1.png", "unknown"),
    ],
)
def test_whose_image_it_is_and_what_they_have(name, label, patient, aetiology):
    assert patient_and_aetiology(name, label) == (patient, aetiology)


def test_the_official_split_is_the_outermost_folder_that_is_called_so():
    assert official_split("chest_xray/train/NORMAL/a.jpeg") == "train"
    assert official_split("chest_xray/VAL/NORMAL/a.jpeg") == "val"
    assert official_split("test/train/NORMAL/a.jpeg") == "test"
    assert official_split("NORMAL/train") == ""
