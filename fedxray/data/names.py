"""What an image's file name says: its patient, the aetiology and the official split, in the naming of Kaggle's archive.

The names of every data set are read in this way. The phantom's are like Kaggle's, and in a user's folder an image whose
name has another form counts as a patient by itself.
"""

import re
from pathlib import PurePosixPath

# person23_virus_14.jpeg, IM-0115-0001.jpeg, NORMAL2-IM-0115-0001.jpeg
KAGGLE = re.compile(r"(?:(?P<person>person\d+)_(?P<aetiology>bacteria|virus)_|(?P<normal>(?:NORMAL2-)?IM-\d+)-)\d")


def patient_and_aetiology(name: str, label: int) -> tuple[str, str]:
    """The patient's key and the aetiology of the image `name`, whose label is 0 (normal) or 1 (pneumonia).

    The key has the aetiology in it, because person 23 with bacteria and person 23 with a virus are two patients.
    """
    match = KAGGLE.match(PurePosixPath(name).name)
    if match and match["person"]:
        return f"{match['person']}-{match['aetiology']}", match["aetiology"]
    patient = match["normal"] if match else name
    return patient, "unknown" if label else "none"


def official_split(name: str) -> str:
    """The split whose folder (train, val or test) the image `name` is in; the outermost counts, and "" is for none."""
    folders = [part.lower() for part in PurePosixPath(name).parts[:-1]]
    return next((folder for folder in folders if folder in ("train", "val", "test")), "")
