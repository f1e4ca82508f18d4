"""The runs of an experiment as TensorBoard event files: curves, settings in the HParams tab, and what it came to."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.summary.writer.record_writer import RecordWriter

from fedxray.core.events import (
    FILE,
    SCALARS,
    VERSION,
    event,
    hparams_event,
    session_end,
    session_start,
    summary,
)
from fedxray.core.files import naming
from fedxray.experiment.folder import RunFolder

POINT = ("mode", "site", "lr", "epochs", "seed")
ANSWER = "answer"  # the folder of what the experiment came to
THRESHOLDS = 127  # of a precision-recall curve
HPARAM_METRICS = ("validation_auroc", "validation_accuracy", "validation_loss")  # columns of the HParams tab


def export_runs(
    runs: Sequence[RunFolder], names: Sequence[str], output: Path, extra: Sequence[dict] | None = None
) -> None:
    """Write the events of each run below `output`, at its name: the global model's there, a site's in a folder below.

    In the HParams tab each run is one session group: its point and `extra[i]` (further settings of run i) are the
    columns, with the last validation AUROC, accuracy and loss; the test set is not shown. The same runs give the same
    bytes: an event's wall time is the seconds that the run had trained by then.
    """
    records = [run.read_record() for run in runs]
    points = _points(records, extra if extra is not None else [{} for _ in runs])
    start, experiment = _framed([event(file_version=VERSION)]), _framed([_experiment(points)])
    for run, name, record, point in zip(runs, names, records, points, strict=True):
        for series, rows in _read_curves(run.curves).items():
            session = b""
            if series == "global":
                session = experiment + _framed([session_start(name, point), session_end(record["seconds"])])
            folder = output / name if series == "global" else output / name / series
            folder.mkdir(parents=True, exist_ok=True)
            # At once, and not beside its place first: TensorBoard would read a temporary file too.
            with naming(folder / FILE):
                (folder / FILE).write_bytes(start + session + _framed(_curves(rows)))


def export_answer(texts: Mapping[str, str], pictures: Mapping[str, bytes], output: Path) -> None:
    """Write what the experiment came to, as a run `answer` below `output`: Markdown and PNGs by their names.

    It also lays out the tab Custom Scalars: all runs that are shown in one chart for each measure.
    """
    from torch.utils.tensorboard.summary import custom_scalars, text  # it imports PyTorch

    charts = {tag: ["Multiline", [tag]] for tag in SCALARS.values()}
    said = [event(summary=text(name, words)) for name, words in texts.items()]
    shown = [event(summary=_image(name, png)) for name, png in pictures.items()]
    layout = event(summary=custom_scalars({"federated, central and alone": charts}))
    folder = output / ANSWER
    folder.mkdir(parents=True, exist_ok=True)
    with naming(folder / FILE):
        (folder / FILE).write_bytes(_framed([event(file_version=VERSION), *said, *shown, layout]))


def export_precision_recall(labels: np.ndarray, probabilities: np.ndarray, run: Path) -> None:
    """Write the curve of a chosen model's predictions (n,) of the pooled test set, beside its events in `run`."""
    from torch.utils.tensorboard.summary import pr_curve

    curve = pr_curve("test/precision and recall", labels, probabilities, THRESHOLDS)
    path = run / f"{FILE}.test"
    with naming(path):
        path.write_bytes(_framed([event(file_version=VERSION), event(summary=curve)]))


def montage(batch: np.ndarray) -> bytes:
    """A batch float (n, size, size) as one PNG: four in a row, each from its lowest value in black to its highest."""
    low, high = (extreme(batch, axis=(1, 2), keepdims=True) for extreme in (np.min, np.max))
    grey = np.round(255 * (batch - low) / np.maximum(high - low, 1e-6)).astype(np.uint8)
    n, size, _ = grey.shape
    rows = -(-n // 4)
    sheet = np.zeros((rows * 4, size, size), np.uint8)
    sheet[:n] = grey
    file = io.BytesIO()
    Image.fromarray(sheet.reshape(rows, 4, size, size).swapaxes(1, 2).reshape(rows * size, 4 * size)).save(file, "PNG")
    return file.getvalue()


def _image(name: str, png: bytes) -> Summary:
    """A Summary of a PNG."""
    with Image.open(io.BytesIO(png)) as picture:
        width, height, bands = *picture.size, len(picture.getbands())
    image = Summary.Image(height=height, width=width, colorspace=bands, encoded_image_string=png)
    return Summary(value=[Summary.Value(tag=name, image=image)])


def _read_curves(path: Path) -> dict[str, list[dict]]:
    """The rows of `metrics.csv` by series; by csv, because pandas takes longer for a file of 100 rows than all else."""
    series: dict[str, list[dict]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            series.setdefault(row["series"], []).append(row)
    return series


def _curves(rows: list[dict]) -> Iterable:
    """The events of one series' scalars, one per row; each is the same object with other values."""
    scalars = event(summary=summary(dict.fromkeys(SCALARS.values(), 0.0)))
    columns = list(zip(SCALARS, scalars.summary.value, strict=True))
    for row in rows:
        scalars.step = int(row["epoch"])
        scalars.wall_time += float(row["seconds"])
        for column, value in columns:
            value.simple_value = float(row[column] or "nan")
        yield scalars


def _framed(events: Iterable) -> bytes:
    """Events as the records of a file."""
    file = io.BytesIO()
    records = RecordWriter(file)
    for one in events:
        records.write(one.SerializeToString())
    return file.getvalue()


def _points(records: Sequence[dict], extra: Sequence[dict]) -> list[dict]:
    """The hyper-parameters of each run; TensorBoard wants a column to be all numbers, all booleans or all text."""
    points = [
        {key: record[key] for key in POINT} | {key: record["schedule"][key] for key in ("rounds", "round")} | more
        for record, more in zip(records, extra, strict=True)
    ]
    for key in dict.fromkeys(key for point in points for key in point):
        having = [point for point in points if key in point]
        kinds = {type(point[key]) for point in having}
        if not (kinds <= {int, float} or kinds == {bool}):
            for point in having:
                point[key] = str(point[key])
    return points


def _experiment(points: list[dict]):
    """The event that names the columns of the HParams tab. TensorBoard takes any one, so all runs carry the same."""
    columns = []
    for key in dict.fromkeys(key for point in points for key in point):
        values = sorted({point[key] for point in points if key in point})
        column = api_pb2.HParamInfo(name=key, differs=len(values) > 1)
        if isinstance(values[0], (str, bool)):
            column.type = api_pb2.DATA_TYPE_STRING if isinstance(values[0], str) else api_pb2.DATA_TYPE_BOOL
            column.domain_discrete.extend(values)
        else:
            column.type = api_pb2.DATA_TYPE_FLOAT64
            column.domain_interval.min_value, column.domain_interval.max_value = values[0], values[-1]
        columns.append(column)
    metrics = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=SCALARS[column])) for column in HPARAM_METRICS]
    return hparams_event(
        metadata.EXPERIMENT_TAG, experiment=api_pb2.Experiment(hparam_infos=columns, metric_infos=metrics)
    )
