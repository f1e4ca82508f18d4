import io
import json
import time
import urllib.request

import numpy as np
import pandas as pd
import pytest
from helpers.tensorboard import served
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.util.tensor_util import make_ndarray

from fedxray.core.events import SCALARS
from fedxray.core.files import write_json, write_table
from fedxray.experiment.folder import RunFolder
from fedxray.report.tensorboard import (
    HPARAM_METRICS,
    export_answer,
    export_precision_recall,
    export_runs,
    montage,
)

RECORD = {"mode": "federated", "site": "pooled", "lr": 0.003, "epochs": 3, "seed": 1}
SCHEDULE = {"rounds": 3, "round": 1.0}


def make_run(folder, epochs=3, series=("global", "us"), last=0.0, **point):
    """A run's record and metrics: each scalar of series k is k + epoch / 10, and an epoch takes two seconds."""
    values = np.arange(1, epochs + 1) / 10
    parts = [
        pd.DataFrame({"epoch": np.arange(1, epochs + 1), "series": name, **dict.fromkeys(SCALARS, values + k + last)})
        for k, name in enumerate(series)
    ]
    run = RunFolder(folder)
    write_table(run.curves, pd.concat(parts).assign(seconds=2.0))
    write_json(run.record, RECORD | {"seconds": 9.0, "schedule": SCHEDULE} | point)
    return run


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_tensorboard_reads_what_was_exported(tmp_path):
    export_runs([make_run(tmp_path / "run")], ["federated/lr=0.003"], tmp_path / "tb")
    for folder, value in (("federated/lr=0.003", 0.3), ("federated/lr=0.003/us", 1.3)):
        events = EventAccumulator(str(tmp_path / "tb" / folder)).Reload()
        for tag in SCALARS.values():
            points = events.Scalars(tag)
            assert [point.step for point in points] == [1, 2, 3]
            assert [point.wall_time for point in points] == [2, 4, 6]  # seconds trained so far
            assert points[-1].value == pytest.approx(value)
        assert sorted(events.Tags()["scalars"]) == sorted(SCALARS.values())


def test_two_exports_are_the_same_bytes(tmp_path):
    run, extra = make_run(tmp_path / "run"), [{"batch_size": 8, "optimizer": "sgd"}]
    for folder in ("one", "two"):
        export_runs([run], ["x"], tmp_path / folder, extra)
    assert len(contents(tmp_path / "one")) == 2
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_every_run_of_a_sweep_is_exported(tmp_path):
    runs = [make_run(tmp_path / str(number), epochs=100, series=("global",), seed=number) for number in range(50)]
    export_runs(runs, [run.path.name for run in runs], tmp_path / "tb")
    assert len(contents(tmp_path / "tb")) == 50
    events = EventAccumulator(str(tmp_path / "tb" / "7")).Reload()
    assert sum(len(events.Scalars(tag)) for tag in events.Tags()["scalars"]) == 400


def ask(url, path, body):
    data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}data/plugin/hparams/{path}", data, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def wait_for_groups(url, number):
    """The session groups of the HParams tab, once there are `number` and all have their metrics."""
    metrics = [{"metric": {"tag": SCALARS[column], "group": ""}} for column in HPARAM_METRICS]
    wanted = {"colParams": metrics, "allowedStatuses": ["STATUS_SUCCESS"], "startIndex": 0, "sliceSize": 10}
    for _ in range(100):
        groups = ask(url, "session_groups", wanted).get("sessionGroups", [])
        if len(groups) == number and all(len(group["metricValues"]) == len(metrics) for group in groups):
            break
        time.sleep(0.2)
    return groups


def test_the_hparams_tab_shows_each_run_with_its_settings_and_metrics(tmp_path):
    runs = [
        make_run(tmp_path / "a"),
        make_run(tmp_path / "b", last=0.1),  # differs from a in what `extra` says alone
        make_run(
            tmp_path / "c", last=0.2, mode="central", lr=0.01, schedule={"rounds": 1, "round": 3.0}, series=["global"]
        ),
    ]
    names = ["federated/lr=0.003,batch=8", "federated/lr=0.003,batch=16", "central/lr=0.01"]
    extra = [{"batch_size": 8, "flip": False}, {"batch_size": 16, "flip": True}, {"batch_size": 8, "clip": "none"}]
    export_runs(runs, names, tmp_path / "tb", extra)
    with served(tmp_path / "tb") as url:
        groups, experiment = wait_for_groups(url, 3), ask(url, "experiment", {})
    by_name = {group["name"]: group for group in groups}
    assert set(by_name) == set(names)
    for name, last in zip(names, (0.3, 0.4, 0.5), strict=True):
        values = {value["name"]["tag"]: value["value"] for value in by_name[name]["metricValues"]}
        assert values == pytest.approx({SCALARS[column]: last for column in HPARAM_METRICS})
        assert [session["status"] for session in by_name[name]["sessions"]] == ["STATUS_SUCCESS"]
    assert by_name[names[0]]["hparams"] == RECORD | SCHEDULE | extra[0]
    central = {"mode": "central", "lr": 0.01, "rounds": 1, "round": 3.0}
    assert by_name[names[2]]["hparams"] == RECORD | central | extra[2]
    columns = {info["name"]: info for info in experiment["hparamInfos"]}
    assert set(columns) == {*RECORD, *SCHEDULE, "batch_size", "flip", "clip"}
    assert columns["batch_size"]["domainInterval"] == {"minValue": 8, "maxValue": 16}
    assert columns["mode"]["domainDiscrete"] == ["central", "federated"]
    assert [info["name"]["tag"] for info in experiment["metricInfos"]] == [SCALARS[column] for column in HPARAM_METRICS]


def test_the_answer_is_text_pictures_and_one_chart_for_each_measure(tmp_path):
    png = montage(np.arange(4, dtype=np.float32).reshape(1, 2, 2))
    for folder in ("one", "two"):
        export_answer({"answer": "Two **sentences**."}, {"mistakes": png}, tmp_path / folder)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    events = EventAccumulator(str(tmp_path / "one" / "answer")).Reload()
    assert make_ndarray(events.Tensors("answer/text_summary")[0].tensor_proto).tolist() == [b"Two **sentences**."]
    (picture,) = events.Images("mistakes")
    assert (picture.encoded_image_string, picture.height, picture.width) == (png, 2, 8)
    (layout,) = (one.tensor_proto.string_val[0] for one in events.Tensors("custom_scalars__config__"))
    (category,) = Layout.FromString(layout).category
    assert [list(chart.multiline.tag) for chart in category.chart] == [[tag] for tag in SCALARS.values()]


def test_precision_and_recall_are_those_of_the_predictions(tmp_path):
    random = np.random.default_rng(1)
    labels, probabilities = random.integers(0, 2, 200), random.random(200)
    (tmp_path / "run").mkdir()
    export_precision_recall(labels, probabilities, tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    curve = make_ndarray(events.Tensors("test/precision and recall")[0].tensor_proto)
    count = curve.shape[1]
    for number in (1, count // 3, count // 2, count - 2):
        called = probabilities >= number / (count - 1)
        right = (called & (labels == 1)).sum()
        assert curve[4, number] == pytest.approx(right / called.sum())
        assert curve[5, number] == pytest.approx(right / labels.sum())


def test_a_batch_is_shown_four_in_a_row_each_with_all_greys():
    batch = np.zeros((5, 2, 2))
    batch[4] = [[-1, 0], [1, 0]]
    sheet = np.asarray(Image.open(io.BytesIO(montage(batch))))
    assert sheet.shape == (4, 8)
    assert sheet[2:, :2].tolist() == [[0, 128], [255, 128]]
    assert not sheet[:2].any()
    assert not sheet[2:, 2:].any()
