import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from fedxray.files import write_json, write_table
from fedxray.tensorboard import SCALARS, count_scalars, export_runs


@pytest.fixture
def run(tmp_path):
    rows = [
        {"epoch": epoch, "series": series, **{column: epoch / 10 + number for column in SCALARS}, "seconds": 1.0}
        for number, series in enumerate(("global", "us"))
        for epoch in (1, 2, 3)
    ]
    write_table(tmp_path / "run" / "metrics.csv", pd.DataFrame(rows))
    record = {
        "mode": "federated",
        "site": "pooled",
        "lr": 0.003,
        "epochs": 3,
        "rounds": 3,
        "local_epochs": 1,
        "seed": 1,
    }
    write_json(tmp_path / "run" / "record.json", record | {"seconds": 9.0})
    return tmp_path / "run"


def test_tensorboard_reads_what_was_exported(run, tmp_path):
    export_runs([run], ["federated/lr=0.003"], tmp_path / "tb")
    for folder, value in (("federated/lr=0.003", 0.3), ("federated/lr=0.003/us", 1.3)):
        events = EventAccumulator(str(tmp_path / "tb" / folder)).Reload()
        for tag in SCALARS.values():
            points = events.Scalars(tag)
            assert [point.step for point in points] == [1, 2, 3]
            assert points[-1].value == pytest.approx(value)
        assert count_scalars(tmp_path / "tb" / folder) == dict.fromkeys(SCALARS.values(), 3)


def test_hyper_parameters_are_there_with_their_session(run, tmp_path):
    export_runs([run], ["x"], tmp_path / "tb")
    plugin = EventAccumulator(str(tmp_path / "tb" / "x")).Reload().PluginTagToContent("hparams")
    start = plugin_data_pb2.HParamsPluginData.FromString(plugin["_hparams_/session_start_info"]).session_start_info
    assert start.hparams["lr"].number_value == 0.003
    assert start.hparams["mode"].string_value == "federated"
    assert set(plugin) == {"_hparams_/experiment", "_hparams_/session_start_info", "_hparams_/session_end_info"}
