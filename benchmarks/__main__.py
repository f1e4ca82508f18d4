"""Measure each stage against a named alternative and the least it could cost, on this machine.

python -m benchmarks                       # every row of the table; a row done at this commit is not run again
python -m benchmarks resample epoch        # these rows
python -m benchmarks --quick               # every row at toy sizes: whether it runs
python -m benchmarks --render              # docs/performance.md's tables from each machine's JSON, nothing measured
python -m benchmarks graph real analyse    # the whole graph, on the phantom and on real images; analysis of 1,000 runs
python -m benchmarks --scale               # how time and memory grow, and docs/figures/scale.png
"""

import socket
import sys
from pathlib import Path

from benchmarks.inputs import BUILD
from benchmarks.measure import ROOT
from benchmarks.render import render
from benchmarks.results import record
from fedxray.core import cli
from fedxray.core.errors import UserError
from fedxray.core.files import read_json

ALWAYS = ("resample", "epoch", "federated", "round", "secure", "sweep", "idle", "events", "predict", "gpu", "gpu_sites")
BY_NAME = ("graph", "real", "analyse")
SCALE = ("resample_images", "train_images", "federation_sites", "federation_rounds", "model_parameters", "plan_points")


def rows(scale: bool) -> dict:
    """Every row by name."""
    from benchmarks import data, events, federation, training, workflow

    if scale:
        from benchmarks import scale as growth

        return {name: getattr(growth, name) for name in SCALE}
    return {
        "resample": data.resample,
        "epoch": training.epoch,
        "federated": federation.federated,
        "round": federation.round_,
        "secure": federation.secure,
        "sweep": workflow.sweep,
        "idle": workflow.idle,
        "events": events.events,
        "predict": training.predict,
        "gpu": training.gpu,
        "gpu_sites": training.gpu_sites,
        "graph": workflow.graph,
        "real": workflow.real,
        "analyse": workflow.analyse,
    }


def main(options) -> None:
    """Measure, and write the page; with `--render` only write it."""
    path = options.output or default_output(options.quick, options.scale)
    if options.render:
        if not path.exists():
            raise UserError(f"{path}: not there; measure first, or name a file by --output")
        render(books(path, options.scale), options.scale)
        return
    available = rows(options.scale)
    names = options.rows or (SCALE if options.scale else ALWAYS)
    if unknown := [name for name in names if name not in available]:
        raise UserError(f"{unknown[0]}: no such row; there are {', '.join(available)}")
    book = record(path, {name: available[name] for name in names}, options.quick, options.again)
    if not options.quick:
        render(books(path, options.scale), options.scale)
    print(f"written: {path}")
    if failed := [name for name, row in book["rows"].items() if row["status"] == "failed"]:
        sys.exit(f"failed rows: {', '.join(failed)}")


def books(path: Path, scale: bool) -> list[dict]:
    """What was measured on each machine, from the JSON files beside `path`; of growth, `path` alone."""
    files = [path] if scale else [file for file in sorted(path.parent.glob("*.json")) if "-scale" not in file.stem]
    return [read_json(file) for file in files]


def default_output(quick: bool, scale: bool) -> Path:
    """The JSON file of this machine, or that of toy sizes."""
    host = "".join(c if c.isalnum() or c in "-_" else "-" for c in socket.gethostname())
    kind = "-scale" if scale else ""
    return BUILD / f"quick{kind}.json" if quick else ROOT / "benchmarks" / "results" / f"{host}{kind}.json"


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("rows", nargs="*", metavar="ROW", help=", ".join([*ALWAYS, *BY_NAME]))
    arguments.add_argument("--quick", action="store_true", help="toy sizes, into build/bench/quick.json")
    arguments.add_argument("--scale", action="store_true", help="the rows of growth instead: " + ", ".join(SCALE))
    arguments.add_argument("--again", action="store_true", help="also run rows that are done")
    arguments.add_argument("--render", action="store_true", help="only write docs/performance.md's table")
    arguments.add_argument("--output", type=Path, help="JSON to write (benchmarks/results/HOST.json)")
    cli.run(main, arguments)
