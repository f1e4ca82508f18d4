"""The row `resample`: originals become squares of grey, against the demo's path and against decoding alone."""

import hashlib
import io
from pathlib import Path

import pandas as pd
import torch
from PIL import Image
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.inputs import ORIGINALS, originals, scratch
from benchmarks.measure import ROOT, Cost, at_least, clock, cpu, interleave, middle, python, ratio, run, told
from fedxray.core.files import write_json, write_table
from fedxray.data.pixels import to_grey
from fedxray.data.source import list_files, open_source

SIZE = 224


def resample(quick: bool) -> dict:
    """All sides on one core over the same files, in this process; then the whole step, on one process and on two."""
    count, sample, turns = (480, 48, 3) if quick else (5856, 480, 3)
    folder = originals(count)
    part = originals(sample)
    sides = {
        "fedxray": lambda: sample / clock(lambda: _ours(part), cpu),
        "demo's torchvision path": lambda: sample / clock(lambda: demo_path(part), cpu),
        "decoder alone, reduced": lambda: sample / clock(lambda: decode(part, SIZE), cpu),
        "decoder alone, full": lambda: sample / clock(lambda: decode(part, None), cpu),
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rates = interleave(sides, turns)
    torch.set_num_threads(threads)
    steps = interleave({number: lambda number=number: step(folder, SIZE, number) for number in (1, 2)}, turns)
    one, two = ([cost.seconds for cost in steps[number]] for number in (1, 2))
    ours, demo, bare = (rates[name] for name in ("fedxray", "demo's torchvision path", "decoder alone, reduced"))
    return {
        "samples": {f"{name}, images a CPU second": values for name, values in rates.items()}
        | {"the step on one process, s": one, "the step on two, s": two},
        "checks": [
            at_least("images a CPU second, of the demo's torchvision path's", ratio(ours, demo, "images/s"), 2.5),
            at_least(
                "images a CPU second, of the decoder's alone (reduced, as ours)", ratio(ours, bare, "images/s"), 0.9
            ),
            told("images a CPU second, the decoder's alone, of the demo's path's", ratio(bare, demo, "images/s")),
            at_least("the whole step on two cores, of its speed on one", ratio(one, two, "s"), 1.9),
            told(f"the whole step on two cores, {count} images", middle(two), "s"),
            told("its peak memory", middle([cost.peak_mb for cost in steps[2]]), "MB"),
        ],
        "notes": {"images": count, "of": "48 originals" if ORIGINALS.exists() else "phantoms of 1300 x 900 pixels"},
    }


def _ours(folder: Path) -> list:
    with open_source(folder) as reader:
        return [to_grey(reader.read(file.name), SIZE) for file in list_files(reader)]


def demo_path(folder: Path) -> list:
    """The images as Microsoft's demo (Azure/medical-imaging, on NVIDIA FLARE) reads them."""
    steps = [transforms.Grayscale(), transforms.Resize((SIZE, SIZE)), transforms.ToTensor()]
    dataset = ImageFolder(str(folder), transforms.Compose(steps))
    return [dataset[number] for number in range(len(dataset))]


def decode(folder: Path, size: int | None) -> None:
    """Decode each JPEG and nothing else: at the reduced scale that `to_grey` asks for, or in full."""
    for path in folder.rglob("*.jpeg"):
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            if size:
                image.draft("L", (2 * size, 2 * size))
            image.load()


def step(folder: Path, size: int, processes: int) -> Cost:
    """The cost of the rule's script on every image of `folder`. Its catalogue has only the columns that are read."""
    with scratch() as work:
        with open_source(folder) as reader:
            names = [file.name for file in list_files(reader)]
            digests = [hashlib.sha256(reader.read(name)).hexdigest() for name in names]
        write_table(work / "catalogue.csv", pd.DataFrame({"image": names, "sha256": digests}))
        write_json(work / "catalogue.json", {"greys": None})
        words = ["--source", folder, "--catalogue", work / "catalogue.csv", "--summary", work / "catalogue.json"]
        words += ["--size", size, "--fit", "stretch", "--processes", processes]
        return run(python(ROOT / "scripts" / "resample_images.py", *words, "--output", work / "pixels.npy"), 3600)
