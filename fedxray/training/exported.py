"""An exported model: a directory that says what the model is and how to use it, and the command that predicts with it.

A hospital's installation can predict; exporting needs onnx and onnxscript too (the extra `workflow`).
"""

import argparse
import shutil
import sys
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from torch import nn

from fedxray.core import cli
from fedxray.core.errors import UserError
from fedxray.core.files import atomic, is_output, printable, read_json, sha256, write_json, write_table
from fedxray.core.listing import UNLISTED, walk
from fedxray.core.parameters import load_model
from fedxray.data.pixels import Unreadable, to_grey
from fedxray.data.reading import day_of
from fedxray.data.source import SUFFIXES
from fedxray.experiment.settings import Compute, Settings
from fedxray.experiment.start import FORM
from fedxray.training import score_log
from fedxray.training.models import build_model, set_parameters
from fedxray.training.onnx import INPUT, PROBABILITY, write_onnx
from fedxray.training.trainer import predict

MODEL, ONNX, CONFIG = "model.safetensors", "model.onnx", "config.json"
LINEAGE = "lineage"  # in the config of a version that was promoted: its parent, its data, its gate
WARNING = "Research software, not a medical device"
BATCH = 256  # images in memory at once
# A probability that is less than this below the threshold counts as reaching it. The threshold is the probability of
# one validation image, whose last bits differ between batches and kinds of processor (by about 1e-8).
PRECISION = 1e-6


class Prediction(NamedTuple):
    """One image: the probability of pneumonia, and `PNEUMONIA` (at the threshold or above) or `normal`."""

    path: Path
    probability: float
    decision: str


def export_model(
    model: Path, settings: Settings, output: Path, *, threshold: float, origin: dict[str, str], fit: str, note: str = ""
) -> None:
    """Write `model.safetensors` (a copy of the file `model`), `model.onnx` and `config.json` into `output`.

    `origin` says which model it is: its experiment, cohort, mode and run (the run's folder below `runs/`); `fit` how
    the images that it learned from became squares.
    It writes `config.json` last, so that a directory with this file is complete. The same model gives the same bytes.
    Raises UserError if the model is missing or does not fit `settings`, and for a threshold outside 0 to 1.
    """
    check_threshold(threshold)
    network = _load_network(model, settings.model, settings.image_size, settings.norms, settings.standardise)
    output.mkdir(parents=True, exist_ok=True)
    (output / CONFIG).unlink(missing_ok=True)
    with atomic(output / MODEL) as temporary:
        shutil.copyfile(model, temporary)
    warning = f"{WARNING}. {note}".strip()
    write_onnx(output / ONNX, network, settings.image_size, about=warning)
    write_config(output, settings, threshold=threshold, origin=origin, fit=fit, note=note)


def write_config(
    output: Path, settings: Settings, *, threshold: float, origin: dict[str, str], fit: str, note: str
) -> None:
    """Write `config.json` beside the model that is in `output`, with which that is a model directory; see above."""
    config = {
        "model": settings.model,
        "image_size": settings.image_size,
        **{key: vars(settings)[key] for key in FORM if vars(settings)[key] != FORM[key]},
        "fit": fit,
        "threshold": threshold,
        **origin,
        "probability": PROBABILITY,
        "decision": f"PNEUMONIA if the probability is at least the threshold less {PRECISION:g}, else normal",
        "input": INPUT,
        "warning": WARNING,
        "note": note,
        "sha256": {name: sha256(output / name) for name in (MODEL, ONNX) if (output / name).exists()},
    }
    write_json(output / CONFIG, config)


def read_config(folder: Path) -> dict:
    """The `config.json` of a model directory. Raises UserError if it is missing or has another form."""
    path = folder / CONFIG
    kinds = {"model": str, "image_size": int, "norms": str, "standardise": str, "fit": str, "threshold": (int, float)}
    kinds |= {"experiment": str, "cohort": str, "mode": str, "run": str}
    kinds |= {"warning": str, "note": str, "sha256": dict}
    try:
        config: dict = FORM | read_json(path)
        wrong = [key for key, kind in kinds.items() if not isinstance(config[key], kind)]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path}: no such file; give a directory that scripts/export_model.py wrote") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a model's configuration ({error!r}); export the model again") from error
    if wrong:
        raise UserError(f"{path}: {', '.join(wrong)} of a wrong type; export the model again")
    check_threshold(config["threshold"])
    return config


def check_threshold(threshold: float) -> None:
    """Raise UserError unless `threshold` is a probability."""
    if not 0 <= threshold <= 1:
        raise UserError(f"threshold: {threshold} is not between 0 and 1; it is compared with a probability")


def _load_network(path: Path, name: str, image_size: int, norms: str, standardise: str) -> nn.Module:
    """The network `name` of this form with the parameters of the file `path`. Raises UserError if they do not fit."""
    network = build_model(name, image_size, 0, norms, standardise)
    try:
        set_parameters(network, load_model(path))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; give the model.safetensors of a run") from error
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not parameters of {name} ({reason}); give the settings of its own run") from error
    return network


def predict_images(
    folder: Path, paths: Iterable[Path], threshold: float | None = None, greys: tuple[float, float] | None = None
) -> tuple[list[Prediction], list[str]]:
    """Predict image files, and those in folders, with the model directory `folder`, at its threshold or `threshold`.

    `greys` are the lowest and the highest value of images of more than 8 bits; without it they cannot be read, but for
    DICOMs, which say it.
    Returns the predictions in the order of the paths, and one line for each file that cannot be read, with its name.
    Raises UserError for a path that does not exist, a folder without images, and a model that changed after its export.
    """
    files = find_images(paths)
    network, config = load_exported(folder)
    threshold = config["threshold"] if threshold is None else threshold
    check_threshold(threshold)
    compute = Compute("auto", False, torch.get_num_threads())
    predictions, broken = [], []
    for first in range(0, len(files), BATCH):
        images, unread = _read_images(files[first : first + BATCH], config, greys)
        broken += unread
        if images:
            # Predict one image at a time: on some processors the last bits of a result depend on the size of its batch,
            # and the decision on an image must not depend on the images beside it.
            probabilities = [float(predict(network, np.array([image]), compute)[0]) for image in images.values()]
            decisions = ["PNEUMONIA" if value >= threshold - PRECISION else "normal" for value in probabilities]
            predictions += map(Prediction, images, probabilities, decisions)
    return predictions, broken


def load_exported(folder: Path) -> tuple[nn.Module, dict]:
    """The network and the configuration of a model directory. Raises UserError if they changed after the export."""
    config, path = read_config(folder), folder / MODEL
    if not path.is_file():
        raise UserError(f"{path}: no such file; export the model again")
    if sha256(path) != config["sha256"].get(MODEL):
        raise UserError(f"{path}: not the file that {CONFIG} was written for (SHA-256); export the model again")
    return _load_network(path, *(config[key] for key in ("model", "image_size", "norms", "standardise"))), config


def _read_images(
    files: list[Path], config: dict, greys: tuple[float, float] | None
) -> tuple[dict[Path, np.ndarray], list[str]]:
    """The pixels of each file, uint8 (size, size), and one line for each that cannot be read."""
    images, broken = {}, []
    for file in files:
        try:
            images[file] = to_grey(file.read_bytes(), config["image_size"], config["fit"], greys)
        except (Unreadable, OSError) as error:
            broken.append(f"{printable(file)}: cannot be read ({error}); save it as JPEG, PNG of 8 bits, or DICOM")
    return images, broken


def find_images(paths: Iterable[Path]) -> list[Path]:
    """The files among `paths`, each once, and in their folders all that are images by name (not hidden), sorted.

    Raises UserError for a path that does not exist, and for a folder without images or with one that may not be listed.
    """
    files = []
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; check its name")
        images = [path] if path.is_file() else _images_below(path)
        if not images:
            raise UserError(f"{path}: no images in it ({', '.join(SUFFIXES)}); give a folder of chest X-rays")
        files += images
    return list(dict.fromkeys(files))


def _images_below(folder: Path) -> list[Path]:
    """The files below the folder that are images by name, sorted, as the catalogue finds them."""
    found = list(walk(folder))
    if closed := [one for one in found if one.why.startswith(UNLISTED)]:
        raise UserError(f"{folder / closed[0].name}: {closed[0].why}; let it be read, or name the others one by one")
    return sorted(folder / one.name for one in found if not one.why and Path(one.name).suffix.lower() in SUFFIXES)


def main() -> None:
    """Say how probable pneumonia is in each chest X-ray, by a model that scripts/export_model.py wrote."""
    arguments = cli.parser(main.__doc__)
    arguments.add_argument("model_dir", type=Path, help="directory of the model")
    arguments.add_argument("images", type=Path, nargs="+", help="image files, or folders of them")
    arguments.add_argument(
        "--csv", type=Path, help="also write a table: path, probability, decision; - for standard output"
    )
    arguments.add_argument("--greys", type=float, nargs=2, help="lowest and highest grey of images of more than 8 bits")
    arguments.add_argument("--threshold", type=float, help="probability from which it is PNEUMONIA (the model's own)")
    arguments.add_argument("--log", type=Path, help="add day, keyed hash, score and version to this table; no image")
    arguments.add_argument("--day", type=_day, help="day in the log, such as 2026-03-01 (today)")
    cli.run(_print_predictions, arguments)


def _day(text: str) -> date:
    """A day of the past or today; one to come would be the last week of a log for as long."""
    day = day_of(text)
    if day is None or day > date.today():
        raise argparse.ArgumentTypeError(f"{text!r} is no day until today; write it as 2026-03-01")
    return day


def _print_predictions(options) -> None:
    """Print what the model is and a line per image. Raises UserError at the end if an image could not be read.

    If the table goes to standard output, all else goes to standard error.
    """
    csv = Path("/dev/stdout") if options.csv == Path("-") else options.csv
    lines = sys.stderr if csv and is_output(csv) else sys.stdout
    config = read_config(options.model_dir)
    if options.log:
        score_log.check(options.log)
    elif options.day:
        raise UserError("--day: it is of the log; give --log too, or leave it out")
    predictions, broken = predict_images(options.model_dir, options.images, options.threshold, options.greys)
    threshold = config["threshold"] if options.threshold is None else options.threshold
    notes = ". ".join(note for note in (config["warning"], config["note"]) if note)
    print(
        f"# {notes}. {config['experiment']}, {config['mode']}: PNEUMONIA from a probability of {threshold:.6g}",
        file=lines,
    )
    for prediction in predictions:
        print(f"{prediction.probability:.4f}  {prediction.decision:<9}  {printable(prediction.path)}", file=lines)
    if csv:
        _write_csv(csv, predictions)
    if options.log:
        images = score_log.hashed(options.log, (prediction.path.read_bytes() for prediction in predictions))
        scores = [prediction.probability for prediction in predictions]
        of_model = config.get(LINEAGE, {}).get("version", ""), config["sha256"][MODEL]
        score_log.append(options.log, options.day or date.today(), images, scores, *of_model)
    for line in broken:
        print(f"error: {line}", file=sys.stderr)
    if broken:
        raise UserError(f"{len(broken)} of {len(broken) + len(predictions)} images are not predicted: see above")


def _write_csv(path: Path, predictions: list[Prediction]) -> None:
    rows = [(printable(prediction.path), *prediction[1:]) for prediction in predictions]
    try:
        write_table(path, pd.DataFrame(rows, columns=Prediction._fields))
    except BrokenPipeError:  # who reads it has enough
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); give another file to --csv") from error
