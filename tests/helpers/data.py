"""Small data for tests: images, the directories of sites, tables of runs, and archives laid out as public ones are."""

import io
import uuid
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, SecondaryCaptureImageStorage

from fedxray.core.files import write_array, write_table
from fedxray.data import datasets
from fedxray.data.catalogue import build_catalogue
from fedxray.data.reading import over, reading_of
from fedxray.data.site import make_site
from fedxray.experiment.experiment import Experiment


def jpeg(value, size=(40, 30), mode="L"):
    """A JPEG of one patient's grey, with a gradient that no other value has."""
    ramp = np.linspace(0, value, size[0] * size[1]).reshape(size[1], size[0]).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(ramp).convert(mode).save(file, "JPEG")
    return file.getvalue()


def png(seed, side=12):
    """A PNG of noise that no other seed has."""
    return _png(np.random.default_rng(seed).integers(30, 200, (side, side)).astype(np.uint8), "L")


def write_images(folder, names):
    """Write a PNG of its own to each of these names below `folder`, and return the folder."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(number))
    return folder


def write_patients(folder, patients, first=0):
    """Write 2 images of each patient, named as Kaggle's; every second one has pneumonia. Returns the folder."""
    for number in range(patients):
        label = number % 2
        for image in (1, 2):
            name = f"person{number}_virus_{image}.jpeg" if label else f"IM-{number:04}-{image:04}.jpeg"
            path = folder / ("PNEUMONIA" if label else "NORMAL") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg(40 + 3 * (first + number) + image))
    return folder


def catalogued(path, dataset="", processes=1, salt=None, **values):
    """`build_catalogue` of `path`, read as the section `dataset` of a configuration says by `values`.

    `dataset` is the name of a data set whose own reading is below them.
    """
    reading = reading_of(over(datasets.get(dataset).reading if dataset else {}, values), "dataset")
    return build_catalogue(Path(path), reading, processes, salt or Path(path).with_name("salt"))


def of_images(table, column):
    """{the file's own name: what its row has in the column}."""
    return dict(zip(table["image"].str.rsplit("/", n=1).str[-1], table[column], strict=True))


def make_sites(folder, sites=("us", "europe", "asia"), images=24, size=16, seed=0, waves=1):
    """Directories of `sites` and `shared`: pneumonia is a bright square, so that a model can learn it.

    In each split the patients came in so many `waves`, of equal size.
    """
    rng, rows, pixels = np.random.default_rng(seed), [], []
    parts = [(site, split) for site in sites for split in ("train", "test")] + [("shared", "validation")]
    for site, split in parts:
        for number in range(images):
            label = number % 2
            image = rng.integers(0, 120, (size, size))
            image[4:9, 4:9] += 100 * label
            pixels.append(image.astype(np.uint8))
            name = f"{site}-{split}-{number}"
            aetiology = "virus" if label else "none"
            hospital = sites[number // 2 % len(sites)] if site == "shared" else site
            rows.append((name, label, aetiology, f"p-{name}", split, site, hospital, 1 + number * waves // images))
    columns = ["image", "label", "aetiology", "patient", "split", "site", "hospital", "wave"]
    table = pd.DataFrame(rows, columns=columns)
    write_table(folder / "split.csv", table if waves > 1 else table.drop(columns="wave"))
    write_array(folder / "pixels.npy", np.stack(pixels))
    for site in (*sites, "shared"):
        make_site(folder / "split.csv", [folder / "pixels.npy"], site, folder / site)
    return {site: folder / site for site in sites}


def points_of(*models, cohort=""):
    """A row per (mode, site, lr, seed, validation AUROC[, method]); its path is its number."""
    rows = []
    for number, (mode, site, lr, seed, value, *method) in enumerate(models):
        federated = mode not in ("central", "alone")
        row = {"cohort": cohort, "mode": mode, "method": "".join(method), "site": site, "lr": lr, "epochs": 4}
        row |= {"round": 1.0 if federated else np.nan, "seed": seed, "rounds": 4 if federated else None}
        row |= {"parameters": 9, "bytes_sent": 4000 if federated else 0, "seconds": 2.5}
        row |= {"validation_auroc": value, "validation_accuracy": 0.5, "validation_loss": 0.5, "path": str(number)}
        rows.append(row)
    return pd.DataFrame(rows).astype({"rounds": "Int64"})


def make_settings(**changed):
    """The training settings of config/config.yaml on the CPU, seed 1 and one epoch, with what is `changed`."""
    config = yaml.safe_load((Path(__file__).parents[2] / "config" / "config.yaml").read_text())
    experiment = Experiment.from_config(config)
    return replace(experiment.settings(experiment.runs[0]), **({"device": "cpu", "epochs": 1} | changed))


NIH_CELLS = [  # of the column Finding Labels, and what each is: 0, 1 or None for left out
    *(("No Finding", 0), ("Pneumonia", 1), ("Infiltration", None), ("No Finding", 0), ("Effusion|Pneumonia", 1)),
    *(("Atelectasis|Effusion", None), ("No Finding", 0), ("Edema|Infiltration|Pneumonia", 1)),
]
NIH_HEADER = (  # with commas inside brackets and at its end, as it is
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
RSNA_CLASSES = [("Normal", 0), ("Lung Opacity", 1), ("No Lung Opacity / Not Normal", None)]


def nih_archive(path, patients=40, size=32, seed=0):
    """An archive of the layout of Kaggle's nih-chest-xrays/data, as a zip or, without that suffix, as a folder.

    Each patient has 1 to 3 images, which may be in two of the folders `images_001` to `images_003`, and every seventh
    image is RGBA, as some are. Returns {name: (label, patient)}: 0, 1 or None for an image that the contract leaves
    out, and the number that the table has for the patient. Pneumonia is a bright square, so that a model can learn it.
    """
    rng, files, rows, truth = np.random.default_rng(seed), {}, [], {}
    listed = [(patient, visit) for patient in range(1, patients + 1) for visit in range(1 + patient % 3)]
    for number, (patient, visit) in enumerate(listed):
        cell, label = NIH_CELLS[number % len(NIH_CELLS)]
        image = f"{patient:08d}_{visit:03d}.png"
        name = f"images_{1 + 3 * number // len(listed):03d}/images/{image}"
        view = ("PA", "AP")[number % 2]
        rows.append(f"{image},{cell},{visit},{patient},0{40 + patient % 50}Y,F,{view},2500,2048,0.171,0.171,")
        files[name] = _png(_chest(rng, label, size), "RGBA" if number % 7 == 6 else "L")
        truth[name] = label, str(patient)
    files["Data_Entry_2017.csv"] = "\n".join([NIH_HEADER, *rows, ""]).encode()
    box = f"{rows[1].split(',')[0]},Pneumonia,225.08,547.01,86.7,79.1,,,"
    files["BBox_List_2017.csv"] = f"Image Index,Finding Label,Bbox [x,y,w,h],,,\n{box}\n".encode()
    images = [row.split(",")[0] for row in rows]
    files["train_val_list.txt"] = "\n".join(images[: len(images) // 2]).encode()
    files["test_list.txt"] = "\n".join(images[len(images) // 2 :]).encode()
    for document in ("README", "FAQ", "LOG", "ARXIV_V5"):
        files[f"{document}_CHESTXRAY.pdf"] = b"%PDF-1.4\n"
    _write_archive(path, files)
    return truth


def rsna_archive(path, images=30, tests=4, size=32, seed=0):
    """An archive of the layout of Kaggle's rsna-pneumonia-detection-challenge: a zip or, without that suffix, a folder.

    Its images are DICOM in JPEG, whose PatientID is the file's name. An image with an opacity has a row for each of its
    boxes, here up to 3; the `tests` images of the competition's own test set have none. Returns {name: (label,
    patient)} of the others: 0, 1 or None for an image that the contract leaves out, and its patientId.
    """
    rng, files, truth = np.random.default_rng(seed), {}, {}
    classes, boxes = ["patientId,class"], ["patientId,x,y,width,height,Target"]
    for number in range(images):
        patient = str(uuid.UUID(bytes=rng.bytes(16), version=4))
        word, label = RSNA_CLASSES[number % len(RSNA_CLASSES)]
        name = f"stage_2_train_images/{patient}.dcm"
        files[name] = _dicom(_chest(rng, label, size), patient, ("PA", "AP")[number % 2])
        truth[name] = label, patient
        for box in range(1 + number // len(RSNA_CLASSES) % 3 if label else 1):
            classes.append(f"{patient},{word}")
            boxes.append(f"{patient},{264 + box}.0,152.0,213.0,379.0,1" if label else f"{patient},,,,,0")
    submission = ["patientId,PredictionString"]
    for _ in range(tests):
        patient = str(uuid.UUID(bytes=rng.bytes(16), version=4))
        files[f"stage_2_test_images/{patient}.dcm"] = _dicom(_chest(rng, 0, size), patient, "PA")
        submission.append(f"{patient},0.5 0 0 100 100")
    files["stage_2_detailed_class_info.csv"] = "\n".join([*classes, ""]).encode()
    files["stage_2_train_labels.csv"] = "\n".join([*boxes, ""]).encode()
    files["stage_2_sample_submission.csv"] = "\n".join([*submission, ""]).encode()
    files["GCP Credits Request Link - RSNA.txt"] = b"a link\n"
    _write_archive(path, files)
    return truth


def _chest(rng, label, size):
    """(size, size) greys: noise, with a bright square if the label is 1."""
    image = rng.integers(0, 120, (size, size))
    side = size // 4
    image[side : 2 * side, side : 2 * side] += 100 * (label == 1)
    return image.astype(np.uint8)


def _png(pixels, mode):
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG")
    return file.getvalue()


def _dicom(pixels, patient, view):
    """A DICOM file of 8-bit pixels in JPEG, with the headers that the RSNA's have."""
    jpeg, file, image = io.BytesIO(), io.BytesIO(), Dataset()
    Image.fromarray(pixels).save(jpeg, "JPEG", quality=95)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"2.25.{uuid.UUID(patient).int}"
    image.Modality, image.BodyPartExamined, image.ViewPosition, image.ConversionType = "CR", "CHEST", view, "WSD"
    image.PatientName = image.PatientID = patient
    image.PatientSex, image.PatientAge = "F", "051Y"
    image.PhotometricInterpretation, image.SamplesPerPixel, image.PixelRepresentation = "MONOCHROME2", 1, 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 8, 8, 7
    image.Rows, image.Columns = pixels.shape
    image.LossyImageCompression, image.LossyImageCompressionMethod = "01", "ISO_10918_1"
    image.PixelData = encapsulate([jpeg.getvalue()])
    image["PixelData"].is_undefined_length = True
    image.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _write_archive(path, files):
    """Write {name: bytes} to a zip, or below a folder."""
    if Path(path).suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return
    for name, content in files.items():
        (Path(path) / name).parent.mkdir(parents=True, exist_ok=True)
        (Path(path) / name).write_bytes(content)
