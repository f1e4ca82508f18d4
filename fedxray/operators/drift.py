"""What the operator sees of the model in use: `fedxray-site drift`. It reads files here, and sends nothing."""

import os
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from fedxray.analysis.drift import DRIFT, TOO_FEW, UNCERTAIN, by_week
from fedxray.core.errors import UserError
from fedxray.core.files import read_json
from fedxray.data.labels import CLASSES
from fedxray.data.site import SiteFolder, load_site
from fedxray.experiment.settings import Compute
from fedxray.training.exported import MODEL, PRECISION, load_exported
from fedxray.training.score_log import hashed, key_of, read_log
from fedxray.training.trainer import predict

DRIFTS, UNKNOWN = 3, 4  # exit codes: the last week that can be judged drifts; none can be judged
WIDTH = 30  # letters of a bar in the terminal, up to twice the threshold


def watch(
    log: Path, model: Path, data: Path, labels: Path | None, threshold: float, least: int
) -> tuple[pd.DataFrame, int]:
    """(the rows of `analysis.drift.by_week` of a log; how many images of `labels` have no score of the model there).

    It compares with the model's scores of the test patients in the folder `data`. Rows of other models are left out.
    Raises UserError if there are none of this one, and if it takes other images than those in `data`.
    """
    network, config = load_exported(model)
    rows, site = read_log(log), load_site(data)
    card = read_json(SiteFolder(data).card)
    for key, value in (("image_size", card["image_size"]), ("fit", card["provenance"].get("fit", "stretch"))):
        if config[key] != value:
            raise UserError(f"{model}: {key} is {config[key]}, but {value} in {data}; give the model of these data")
    ours = rows[rows["sha256"] == config["sha256"][MODEL]]
    if ours.empty:
        raise UserError(f"{log}: no score of the model in {model}; give the model that is in use")
    images, truth = site.part("test")
    if not len(truth):
        raise UserError(f"{data}: no test images to compare with; prepare it with a --test-fraction above 0")
    reference = predict(network, images, Compute("auto", False, os.cpu_count() or 1)).astype(float)
    known = read_labels(labels, log) if labels else {}
    missed = len(set(known) - set(ours["image"]))
    if known and missed == len(known):
        raise UserError(f"{labels}: none of these files was scored by this model in {log}; give labels of its images")
    cut = config["threshold"] - PRECISION
    return by_week(ours, reference, truth.astype(float), cut, threshold, least, known), missed


def read_labels(path: Path, log: Path) -> dict[str, int]:
    """{image, as the log calls it: 0 or 1} of a table of the columns path and label (0, 1, NORMAL or PNEUMONIA).

    Raises UserError for a file that cannot be read, another label, two labels of one image, and a log without its key.
    """
    if not key_of(log).exists():
        raise UserError(f"{key_of(log)}: missing; without the key of the log nobody knows which image a score is of")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)[["path", "label"]]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give a CSV with the columns path and label") from error
    words = {str(number): number for number in range(len(CLASSES))} | {name: n for n, name in enumerate(CLASSES)}
    found: dict[str, int] = {}
    for line, (file, label) in enumerate(zip(table["path"], table["label"], strict=True), start=2):
        if label not in words:
            raise UserError(f"{path}: line {line}: {label!r} is no label; write {' or '.join(words)}")
        try:
            (image,) = hashed(log, [Path(file).read_bytes()])
        except (OSError, ValueError) as error:  # ValueError: no path of a file has a NUL
            why = getattr(error, "strerror", error)
            raise UserError(f"{path}: line {line}: {file!r}: {why}; give the file that was scored") from error
        if found.setdefault(image, words[label]) != words[label]:
            raise UserError(f"{path}: line {line}: {file} has another label above; keep one")
    return found


def judged(table: pd.DataFrame) -> pd.DataFrame:
    """The weeks that could be judged."""
    return table[~table["verdict"].isin(["", TOO_FEW])]


def exit_code(table: pd.DataFrame) -> int:
    """0 if the last week that can be judged is no drift, `DRIFTS` if it is, `UNKNOWN` if none can be judged."""
    weeks = judged(table)
    return UNKNOWN if weeks.empty else DRIFTS if weeks["verdict"].iloc[-1] == DRIFT else 0


def lines_of(table: pd.DataFrame, threshold: float, least: int, blocks: bool) -> Iterator[str]:
    """What the terminal shows: a line for each week, with a bar of the stability index up to twice the threshold.

    With `blocks` a bar is of blocks (U+2588), else of signs that every terminal has.
    """
    scale = f"{'0':<{WIDTH // 2}}|{threshold:<{WIDTH // 2}g}"
    yield f"{'week':<10} {'images':>6} {'PSI':>6} {'chance':>6}  {scale}  called pneumonia"
    for row in table.to_dict("records"):
        length = min(WIDTH, round(WIDTH * row["psi"] / (2 * threshold))) if row["psi"] == row["psi"] else 0
        bar = ("█" if blocks else "#") * length
        bar = f"{bar[: WIDTH // 2]:<{WIDTH // 2}}|{bar[WIDTH // 2 :]:<{WIDTH // 2}}"
        index = "".join(f" {row[key]:6.2f}" if row[key] == row[key] else f"{'':7}" for key in ("psi", "chance"))
        called = f"{row['called']:4.0%} [{row['called_low']:.0%}, {row['called_high']:.0%}]"
        yield f"{row['week']:<10} {row['images']:>6}{index}  {bar}  {called}  {row['verdict']}".rstrip()
    for row in table[table["labelled"] > 0].to_dict("records"):
        if row["labelled"] < least:
            yield f"{row['week']}: {row['labelled']} images with a label, too few to compare (--least {least})"
            continue
        interval = f"[{row['observed_low']:.0%}, {row['observed_high']:.0%}]"
        yield (
            f"{row['week']}: of {row['labelled']} images with a label {row['observed']:.0%} {interval} have pneumonia, "
            f"and their mean score is {row['predicted']:.0%}; calibration error {row['calibration_error']:.3f}"
        )
    yield from _said(table, threshold, least)


def _said(table: pd.DataFrame, threshold: float, least: int) -> Iterator[str]:
    """The conclusion in words."""
    few, weeks = int((table["verdict"] == TOO_FEW).sum()), judged(table)
    if few:
        yield f"weeks of fewer than {least} images (--least), which are shown and not judged: {few}"
    if weeks.empty:
        yield "no week can be judged"
        return
    last = weeks.iloc[-1]
    if last["verdict"] == DRIFT:
        yield (
            f"{last['week']}: drift: the index is {threshold:g} or more, and above what chance gives one week in a "
            "hundred; look at images, scanner and patients, and then it is worth asking for training with new data"
        )
    elif last["verdict"] == UNCERTAIN:
        yield f"{last['week']}: the index is {threshold:g} or more, but chance may explain it: too few images to tell"
    else:
        yield f"{last['week']}: quiet: the index is below {threshold:g}"


def svg_of(table: pd.DataFrame, threshold: float) -> str:
    """The same as an SVG: a bar for each week, the chance of each as a tick, and a line at the threshold."""
    weeks = table.iloc[1:]
    top = float(np.nanmax([2 * threshold, *weeks["psi"], *weeks["chance"]]))
    step, left, height = 36, 60, 200
    width = left + step * max(len(weeks), 8) + 20

    def y(value: float) -> float:
        return 20 + height * (1 - value / top)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height + 100}" font-family="sans-serif" '
        'font-size="11">',
        "<title>Population stability index of the scores by week</title>",
        f'<rect width="{width}" height="{height + 100}" fill="white"/>',
    ]
    for number, row in enumerate(weeks.to_dict("records")):
        x = left + step * number + 6
        if row["psi"] == row["psi"]:
            fill = "#b2182b" if row["verdict"] == DRIFT else "#4393c3"
            parts.append(
                f'<rect x="{x}" y="{y(row["psi"]):.1f}" width="24" height="{height + 20 - y(row["psi"]):.1f}" '
                f'fill="{fill}"><title>{row["psi"]:.3f}</title></rect>'
            )
            parts.append(f'<path d="M{x - 3} {y(row["chance"]):.1f}h30" stroke="black"/>')
        name = f"{row['week']} ({row['images']})"
        parts.append(f'<text transform="translate({x + 16},{height + 90}) rotate(-90)">{escape(name)}</text>')
    for value, name in ((0, "0"), (threshold, f"{threshold:g}"), (top, f"{top:.2g}")):
        parts.append(f'<text x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{name}</text>')
    parts.append(f'<path d="M{left} {y(threshold):.1f}H{width - 10}" stroke="black" stroke-dasharray="4 3"/>')
    parts.append(f'<path d="M{left} 20V{height + 20}H{width - 10}" stroke="black" fill="none"/>')
    said = "Stability index by week (images); ticks: what chance exceeds in one week of a hundred; dashed: threshold"
    parts.append(f'<text x="6" y="13">{said}</text></svg>')
    return "\n".join(parts) + "\n"


def has_blocks() -> bool:
    """Whether standard output can show blocks."""
    try:
        "█".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
