import io
import json
import os
import re
import shutil
import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from helpers.data import jpeg, make_settings

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, read_table, write_json
from fedxray.core.parameters import save_model
from fedxray.data.pixels import to_grey
from fedxray.training import exported as library
from fedxray.training.exported import export_model, find_images, predict_images
from fedxray.training.models import build, get_parameters
from fedxray.training.score_log import read_log
from fedxray.training.trainer import predict


def export(folder, name="compact", size=32, threshold=0.5):
    """Export an untrained model into `folder`; returns its network and settings."""
    settings = make_settings(model=name, image_size=size)
    network = build(settings)
    save_model(folder.parent / f"{name}.safetensors", get_parameters(network))
    origin = {"experiment": "quick", "cohort": "", "mode": "federated", "run": "federated/lr=0.003"}
    about = {"threshold": threshold, "origin": origin, "note": "Synthetic phantom data", "fit": "stretch"}
    export_model(folder.parent / f"{name}.safetensors", settings, folder, **about)
    return network, settings


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "model"
    return folder, *export(folder)


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported[0], tmp_path / "model")


@pytest.fixture
def images(tmp_path):
    """A folder of three images, one in a folder below, beside files that are none by name."""
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for name, value in (("b.jpeg", 90), ("a.jpg", 200), ("more/c.JPG", 250)):
        (folder / name).write_bytes(jpeg(value))
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.jpg").write_text("no image")
    return folder


def run(monkeypatch, *words):
    """`fedxray-predict WORDS`; returns what it exits with."""
    monkeypatch.setattr(sys, "argv", ["fedxray-predict", *map(str, words)])
    monkeypatch.setattr(library.cli, "_end_with_snakemake", lambda: None)
    try:
        library.main()
    except SystemExit as end:
        return end.code


def compare_onnx(folder, network, settings):
    onnx.checker.check_model(str(folder / "model.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (7, settings.image_size, settings.image_size), np.uint8)
    expected = predict(network, pixels, settings.compute)
    for n in (1, 7):
        (got,) = session.run(None, {"images": pixels[:n, None].astype(np.float32)})
        assert got.shape == (n,)
        np.testing.assert_allclose(got, expected[:n], rtol=0, atol=1e-5)
    return session


def test_onnx_predicts_as_training_does_and_says_what_it_is(exported):
    folder, network, settings = exported
    session = compare_onnx(folder, network, settings)
    assert "not a medical device. Synthetic phantom data" in onnx.load(folder / "model.onnx").doc_string
    assert [node.name for node in session.get_inputs()] == ["images"]


@pytest.mark.slow
def test_onnx_of_a_torchvision_model_predicts_as_training_does(tmp_path):
    compare_onnx(tmp_path / "model", *export(tmp_path / "model", "shufflenet_v2_x0_5", 64))


def test_two_exports_are_the_same_bytes_and_name_no_folder_of_this_machine(exported, tmp_path):
    export(tmp_path / "model")
    for file in exported[0].iterdir():
        assert (tmp_path / "model" / file.name).read_bytes() == file.read_bytes()
        assert b".py" not in file.read_bytes()
    assert sorted(file.name for file in exported[0].iterdir()) == ["config.json", "model.onnx", "model.safetensors"]


def test_the_configuration_says_what_the_model_is(exported):
    config = read_json(exported[0] / "config.json")
    assert config["warning"] == "Research software, not a medical device"
    told = [config[key] for key in ("model", "image_size", "threshold", "experiment", "mode", "note")]
    assert told == ["compact", 32, 0.5, "quick", "federated", "Synthetic phantom data"]


@pytest.mark.filterwarnings("error")
def test_predicts_what_training_predicts_of_the_resampled_pixels(exported, images, monkeypatch):
    monkeypatch.setattr(library, "BATCH", 2)
    folder, network, settings = exported
    files = [images / "a.jpg", images / "b.jpeg", images / "more/c.JPG"]
    expected = predict(network, np.stack([to_grey(file.read_bytes(), 32) for file in files]), settings.compute)
    predictions, broken = predict_images(folder, [images, files[0]])
    assert [prediction.path for prediction in predictions] == files
    assert [prediction.probability for prediction in predictions] == pytest.approx(expected, abs=library.PRECISION / 10)
    assert broken == []


def test_from_the_threshold_on_it_is_pneumonia_whatever_the_last_bits(exported, images):
    """A threshold is the probability of an image of the validation set, predicted in a batch of another size."""
    folder, file = exported[0], images / "b.jpeg"
    at = predict_images(folder, [file])[0][0].probability
    called = {
        threshold: predict_images(folder, [file], threshold=threshold)[0][0].decision
        for threshold in (at - 1e-5, at, np.nextafter(at, 1), at + 1e-7, at + 1e-5)
    }
    assert list(called.values()) == ["PNEUMONIA"] * 4 + ["normal"]


def test_what_an_image_is_called_does_not_depend_on_the_images_beside_it(exported, images):
    """To the last bit, on every processor: where the size of a batch selects another kernel, too."""
    for number in range(20):
        (images / f"{number}.jpg").write_bytes(jpeg(10 + 12 * number))
    together = {one.path: one for one in predict_images(exported[0], [images])[0]}
    assert len({one.probability for one in together.values()}) > 20
    threshold = together[images / "7.jpg"].probability + library.PRECISION  # where the last bit decides
    together = {one.path: one for one in predict_images(exported[0], [images], threshold)[0]}
    for path, one in together.items():
        assert predict_images(exported[0], [path], threshold)[0] == [one]


def test_command_prints_a_header_and_a_line_per_image_and_writes_a_table(
    exported, images, tmp_path, monkeypatch, capsys
):
    assert run(monkeypatch, exported[0], images, "--csv", tmp_path / "out.csv", "--threshold", "0") is None
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.startswith("# Research software, not a medical device. Synthetic phantom data.")
    assert header.endswith("PNEUMONIA from a probability of 0")
    assert [line.split()[1:] for line in lines] == [
        ["PNEUMONIA", str(images / name)] for name in ("a.jpg", "b.jpeg", "more/c.JPG")
    ]
    table = read_table(tmp_path / "out.csv", ("path", "probability", "decision"))
    assert [f"{value:.4f}" for value in table["probability"]] == [line.split()[0] for line in lines]


def test_a_table_for_standard_output_is_alone_there(exported, images, tmp_path, monkeypatch, capfd):
    """By the sign for it and by a link to it, which stays; and a file whose name is no UTF-8 is in it by its bytes."""
    (tmp_path / "link").symlink_to("/proc/self/fd/1" if sys.platform == "linux" else "/dev/fd/1")
    (images / "b.jpeg").rename(os.fsdecode(os.fsencode(images) + b"/caf\xe9.jpeg"))
    names = ["a.jpg", "caf\\xe9.jpeg", "more/c.JPG"]
    assert run(monkeypatch, exported[0], images) is None
    plain = capfd.readouterr().out
    for path in ("-", tmp_path / "link"):
        assert run(monkeypatch, exported[0], images, "--csv", path) is None
        output = capfd.readouterr()
        table = pd.read_csv(io.StringIO(output.out))
        assert list(table.columns) == ["path", "probability", "decision"]
        assert list(table["path"]) == [str(images / name) for name in names]
        assert output.err == plain  # what a person reads
        assert [line.split()[0] for line in plain.splitlines()[1:]] == [
            f"{value:.4f}" for value in table["probability"]
        ]
    assert (tmp_path / "link").is_symlink()
    assert not Path("-").exists()


def test_an_image_that_cannot_be_read_is_named_whatever_its_name(exported, images, monkeypatch, capsys):
    path = Path(os.fsdecode(os.fsencode(images) + b"/caf\xe9.png"))
    path.write_bytes(b"no image")
    assert run(monkeypatch, exported[0], path) == "error: 1 of 1 images are not predicted: see above"
    assert f"error: {images}/caf\\xe9.png: cannot be read" in capsys.readouterr().err


def test_a_broken_image_is_named_and_the_others_are_predicted(exported, images, monkeypatch, capsys):
    (images / "bad.png").write_bytes(b"no image")
    (images / "cut.jpg").write_bytes(jpeg(90)[:300])
    code = run(monkeypatch, exported[0], images)
    output = capsys.readouterr()
    assert code == "error: 2 of 5 images are not predicted: see above"  # a text: exit code 1
    assert len(output.out.splitlines()) == 4
    bad, cut = output.err.splitlines()
    reason = "neither JPEG, PNG, TIFF, BMP nor DICOM"
    assert bad == f"error: {images / 'bad.png'}: cannot be read ({reason}); save it as JPEG, PNG of 8 bits, or DICOM"
    assert cut.startswith(f"error: {images / 'cut.jpg'}: cannot be read (")


def test_what_is_missing_is_named_in_one_line(exported, images, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    assert run(monkeypatch, tmp_path / "none", images).startswith(
        f"error: {tmp_path / 'none/config.json'}: no such file"
    )
    assert run(monkeypatch, exported[0], tmp_path / "x.jpg").startswith(f"error: {tmp_path / 'x.jpg'}: no such file")
    assert run(monkeypatch, exported[0], tmp_path / "empty").startswith(f"error: {tmp_path / 'empty'}: no images")
    assert run(monkeypatch, exported[0], images, "--threshold", "2").startswith("error: threshold: 2.0 is not between")
    to = tmp_path / "empty/x"
    to.write_text("a file")
    assert run(monkeypatch, exported[0], images, "--csv", to / "y.csv").startswith(f"error: {to / 'y.csv'}: cannot be")


def test_a_model_that_is_not_what_was_exported_is_refused(copy, images):
    config, model = read_json(copy / "config.json"), (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(model[:-1] + bytes([model[-1] ^ 1]))
    with pytest.raises(UserError, match=r"model\.safetensors: not the file that config\.json was written for"):
        predict_images(copy, [images])
    (copy / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors: no such file"):
        predict_images(copy, [images])
    (copy / "model.safetensors").write_bytes(model)
    for change, words in (
        ({"sha256": {"model.safetensors": "0" * 64}}, "not the file that"),
        ({"model": "resnet18"}, "not parameters of resnet18"),
        ({"model": "os.system"}, "no model 'os.system'"),
        ({"threshold": "high"}, "threshold of a wrong type"),
        ({"threshold": 1.5}, "not between 0 and 1"),
    ):
        write_json(copy / "config.json", config | change)
        with pytest.raises(UserError, match=words):
            predict_images(copy, [images])
    for text in ("{", "[]", json.dumps({"model": "compact"})):
        (copy / "config.json").write_text(text)
        with pytest.raises(UserError, match=r"config\.json: not a model's configuration"):
            predict_images(copy, [images])


def test_an_export_that_fails_leaves_no_directory_that_predicts(copy, images, tmp_path, monkeypatch):
    save_model(tmp_path / "run.safetensors", get_parameters(build(make_settings(image_size=32, seed=2))))
    origin = {"experiment": "quick", "cohort": "", "mode": "central", "run": "central/lr=0.003"}
    about = {"threshold": 0.5, "origin": origin, "fit": "stretch"}
    with pytest.raises(UserError, match="not parameters of resnet18"):
        export_model(tmp_path / "run.safetensors", make_settings(model="resnet18", image_size=32), copy, **about)
    assert len(predict_images(copy, [images])[0]) == 3  # nothing was written yet
    monkeypatch.setattr(library.torch.onnx, "export", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_model(tmp_path / "run.safetensors", make_settings(image_size=32, seed=2), copy, **about)
    with pytest.raises(UserError, match=r"config\.json: no such file"):
        predict_images(copy, [images])


def test_a_folder_has_the_images_that_the_catalogue_finds_in_it(images, tmp_path, monkeypatch):
    expected = find_images([images])
    (images / ".ipynb_checkpoints").mkdir()
    (images / ".ipynb_checkpoints" / "copy.png").write_bytes(b"x")
    (images / "Thumbs.db").write_bytes(b"x")
    assert find_images([images]) == expected
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "more.png").write_bytes(b"x")
    (images / "linked").symlink_to(tmp_path / "elsewhere")
    assert find_images([images]) == sorted([*expected, images / "linked" / "more.png"])
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("elsewhere"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match="linked: a folder that may not be listed: Permission denied; let it be read"):
        find_images([images])


@pytest.mark.parametrize("day", ["2026-02-30", "yesterday", "2026-W01-1", str(date.today() + timedelta(days=2))])
def test_a_day_of_the_log_that_is_none_or_to_come_is_refused(exported, images, tmp_path, monkeypatch, capsys, day):
    assert run(monkeypatch, exported[0], images, "--log", tmp_path / "log.csv", "--day", day) == 2
    assert f"--day: '{day}' is no day until today; write it as 2026-03-01" in capsys.readouterr().err
    assert not (tmp_path / "log.csv").exists()
    assert run(monkeypatch, exported[0], images, "--day", "2026-03-01").startswith("error: --day: it is of the log")


def test_the_log_has_scores_and_no_image_and_a_second_call_is_added(exported, images, tmp_path, monkeypatch, capsys):
    log = tmp_path / "log.csv"
    assert run(monkeypatch, exported[0], images, "--log", log, "--day", "2026-03-01") is None
    assert run(monkeypatch, exported[0], images / "a.jpg", "--log", log) is None
    rows, expected = read_log(log), predict_images(exported[0], [images])[0]
    assert rows["score"].tolist() == [*(one.probability for one in expected), expected[0].probability]
    assert [day.isoformat() for day in rows["day"][:3]] == ["2026-03-01"] * 3
    assert rows["image"][3] == rows["image"][0] != rows["image"][1]
    assert set(rows["sha256"]) == {read_json(exported[0] / "config.json")["sha256"]["model.safetensors"]}
    assert not re.search(r"jpe?g|images", log.read_text(), re.IGNORECASE)
    capsys.readouterr()
    (tmp_path / "notes.csv").write_text("x\n")
    said = run(monkeypatch, exported[0], images, "--log", tmp_path / "notes.csv")
    assert said.startswith(f"error: {tmp_path / 'notes.csv'}: no log of fedxray-predict")
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "notes.csv.key").exists()
