import subprocess
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata

from fedxray.core.events import EventFile


def test_a_live_file_holds_each_scalar_at_once(tmp_path):
    file = EventFile(tmp_path)
    for step in (1, 2):
        file.add({"train/loss": 0.5}, step)
        events = EventAccumulator(str(tmp_path)).Reload()
        assert events.Tags()["scalars"] == ["train/loss"]
        assert [point.step for point in events.Scalars("train/loss")] == list(range(1, step + 1))
    file.close()
    assert EventAccumulator(str(tmp_path)).Reload().Scalars("train/loss")[-1].wall_time > 1e9


def test_a_run_that_goes_on_adds_a_file_after_those_from_before(tmp_path):
    for step in (1, 2):
        file = EventFile(tmp_path)
        file.add({"train/loss": 0.5}, step)
        file.close()
    assert len(list(tmp_path.iterdir())) == 2
    points = EventAccumulator(str(tmp_path)).Reload().Scalars("train/loss")
    assert [point.step for point in points] == [1, 2]


def test_a_run_is_in_the_hparams_tab_from_its_beginning_on(tmp_path):
    file = EventFile(tmp_path / "run", {"mode": "central", "lr": 0.5, "flip": True})
    tags = EventAccumulator(str(tmp_path / "run")).Reload().summary_metadata
    assert list(tags) == [metadata.SESSION_START_INFO_TAG]
    content = tags[metadata.SESSION_START_INFO_TAG].plugin_data.content
    start = metadata.parse_session_start_info_plugin_data(content)
    assert start.hparams["mode"].string_value == "central"
    assert start.hparams["lr"].number_value == 0.5
    assert start.hparams["flip"].bool_value
    file.add({"train/loss": 0.5}, 1)
    file.end()
    file.close()
    tags = EventAccumulator(str(tmp_path / "run")).Reload().summary_metadata
    end = metadata.parse_session_end_info_plugin_data(tags[metadata.SESSION_END_INFO_TAG].plugin_data.content)
    assert end.status == api_pb2.STATUS_SUCCESS


def test_a_hospital_takes_the_tags_without_tensorboard():
    code = "import sys; sys.modules['tensorboard'] = None; import fedxray.core.events"
    subprocess.run([sys.executable, "-c", code], check=True)
