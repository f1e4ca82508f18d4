"""`fedxray-site drift`: what the log of a model in use says beside its training site, and what it exits with."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.data import jpeg, make_settings
from helpers.operators import fedxray_site

from fedxray.core.files import read_json, sha256, write_json
from fedxray.core.parameters import save_model
from fedxray.data.site import load_site
from fedxray.training import exported
from fedxray.training.models import build, get_parameters, restore
from fedxray.training.score_log import append, hashed
from fedxray.training.trainer import predict

MONDAY = date(2026, 1, 5)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """(the directory of a model that was never trained, its checksum)."""
    folder, settings = tmp_path_factory.mktemp("models") / "1", make_settings(image_size=16)
    save_model(folder / "model.safetensors", get_parameters(build(settings)))
    origin = {"experiment": "quick", "cohort": "", "mode": "federated", "run": "federated/lr=0.003"}
    exported.write_config(folder, settings, threshold=0.5, origin=origin, fit="stretch", note="")
    return folder, sha256(folder / "model.safetensors")


@pytest.fixture
def log(model, data, tmp_path):
    """A log of four weeks: as on the test set of us, three images, shifted, and of another model."""
    settings = make_settings(image_size=16)
    network = restore(settings, get_parameters(build(settings)))
    scores = np.tile(predict(network, load_site(data["us"]).part("test")[0], settings.compute), 10)
    path, names = tmp_path / "log.csv", [f"{number:016x}" for number in range(1000)]
    for week, (first, part) in enumerate([(0, scores), (300, scores[:3]), (600, np.full(200, 0.999))]):
        append(path, MONDAY + timedelta(weeks=week), names[first : first + len(part)], part, "1", model[1])
    append(path, MONDAY, names[900:], np.zeros(100), "0", "0" * 64)
    return path


@pytest.fixture
def run(model, data, monkeypatch, capsys):
    """A function that runs `fedxray-site drift`; returns (0 or what it exits with, lines that it printed)."""

    def call(log, *words):
        words = [log, "--model", model[0], "--data", data["us"], *words]
        return fedxray_site(monkeypatch, capsys, "drift", *words)

    return call


def test_each_week_has_a_line_and_the_last_one_that_can_be_judged_decides(run, log, tmp_path):
    code, said = run(log, "--csv", tmp_path / "drift.csv", "--svg", tmp_path / "drift.svg")
    assert code == 3
    assert [line.split()[0] for line in said[1:5]] == ["test", "2026-W02", "2026-W03", "2026-W04"]
    assert re.match(r"2026-W02 +240 +0\.0\d +\d\.\d\d .* quiet$", said[2])
    assert re.match(r"2026-W03 +3 .* too few$", said[3])
    assert re.match(r"2026-W04 +200 +\d+\.\d\d +\d\.\d\d +█{15}\|█{15} +100% \[\d+%, 100%\] +drift$", said[4])
    assert said[-2] == "weeks of fewer than 50 images (--least), which are shown and not judged: 1"
    assert said[-1].startswith("2026-W04: drift: the index is 0.2 or more")
    table = pd.read_csv(tmp_path / "drift.csv")
    assert list(table["verdict"][1:]) == ["quiet", "too few", "drift"]
    picture = ET.parse(tmp_path / "drift.svg").getroot()
    bars = [part for part in picture.iter("{http://www.w3.org/2000/svg}rect") if part.get("x")]
    assert [float(bar[0].text) for bar in bars] == pytest.approx(table["psi"].dropna().tolist(), abs=5e-4)
    heights = [float(bar.get("height")) for bar in bars]
    assert heights[0] / heights[1] == pytest.approx(table["psi"][1] / table["psi"][3], abs=0.01)


def test_quiet_is_0_and_nothing_to_judge_is_another_code(run, log):
    quiet = log.with_name("quiet.csv")
    lines = log.read_text().splitlines(keepends=True)
    quiet.write_text("".join(lines[: 1 + 240 + 3]))
    code, said = run(quiet)
    assert (code, said[-1]) == (0, "2026-W02: quiet: the index is below 0.2")
    assert run(quiet, "--least", "1000")[0] == 4
    assert run(quiet, "--least", "1000")[1][-1] == "no week can be judged"
    assert run(log, "--threshold", "100")[0] == 0


def test_with_labels_there_is_calibration_and_a_label_finds_its_score_by_the_file(run, model, tmp_path):
    files, log = [], tmp_path / "log.csv"
    for number in range(60):
        files.append(tmp_path / f"{number}.jpg")
        files[-1].write_bytes(b"image %d" % number)
    append(log, MONDAY, hashed(log, [file.read_bytes() for file in files]), [0.8] * 60, "1", model[1])
    table = pd.DataFrame({"path": files, "label": ["PNEUMONIA", "1", "NORMAL"] * 20})
    table.to_csv(tmp_path / "labels.csv", index=False)
    _, said = run(log, "--labels", tmp_path / "labels.csv")
    (line,) = [line for line in said if line.startswith("2026-W02: of 60")]
    assert re.search(r"with a label 67% \[\d+%, \d+%\] have pneumonia, and their mean score is 80%", line)
    assert line.endswith("calibration error 0.133")
    assert not [line for line in said if "left out" in line]
    table[:40].to_csv(tmp_path / "few.csv", index=False)
    few = "2026-W02: 40 images with a label, too few to compare (--least 50)"
    assert few in run(log, "--labels", tmp_path / "few.csv")[1]
    (tmp_path / "nul.csv").write_text("path,label\na\0b.jpg,1\n")
    assert f"{tmp_path / 'nul.csv'}: line 2: 'a\\x00b.jpg': " in run(log, "--labels", tmp_path / "nul.csv")[0]
    for number in range(2):
        (tmp_path / f"new{number}.jpg").write_bytes(b"new %d" % number)
    new = pd.DataFrame({"path": [tmp_path / f"new{number}.jpg" for number in range(2)], "label": "1"})
    pd.concat([table, new]).to_csv(tmp_path / "labels.csv", index=False)
    _, more = run(log, "--labels", tmp_path / "labels.csv")
    left_out = f"{tmp_path / 'labels.csv'}: labels of 2 images that this model has not scored in {log}; left out"
    assert more == [*said, left_out]


def test_what_does_not_fit_is_one_line(run, log, model, data, tmp_path):
    assert run(tmp_path / "none.csv")[0].startswith(f"error: {tmp_path / 'none.csv'}: cannot be read")
    assert run(log, "--threshold", "0")[0].startswith("error: --threshold and --least: both must be above 0")
    assert run(log, "--labels", tmp_path / "x.csv")[0].startswith(f"error: {log}.key: missing; without the key")
    hashed(log, [b""])
    assert run(log, "--labels", tmp_path / "x.csv")[0].startswith(f"error: {tmp_path / 'x.csv'}: cannot be read")
    (tmp_path / "1.jpg").write_bytes(jpeg(1))
    for label, words in (("maybe", "'maybe' is no label; write 0 or 1 or NORMAL"), ("1", "none of these files was")):
        pd.DataFrame({"path": [tmp_path / "1.jpg"], "label": [label]}).to_csv(tmp_path / "x.csv", index=False)
        assert words in run(log, "--labels", tmp_path / "x.csv")[0]
    twice = pd.DataFrame({"path": [tmp_path / "1.jpg"] * 2, "label": ["1", "0"]})
    twice.to_csv(tmp_path / "x.csv", index=False)
    assert "has another label above; keep one" in run(log, "--labels", tmp_path / "x.csv")[0]
    other = tmp_path / "other"
    other.mkdir()
    for file in model[0].iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    write_json(other / "config.json", read_json(other / "config.json") | {"fit": "pad"})
    assert "fit is pad, but stretch in" in run(log, "--model", other)[0]
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:1]))
    assert "no score of the model in" in run(log)[0]


def test_what_a_hospital_installs_suffices():
    """requirements-site.txt has none of these."""
    missing = ["scipy", "matplotlib", "onnx", "jsonschema"]
    code = f"import sys; sys.modules.update(dict.fromkeys({missing})); import fedxray.operators.drift"
    subprocess.run([sys.executable, "-c", code], check=True)
    text = Path("requirements-site.txt").read_text()
    assert not [name for name in missing if re.search(rf"^{name}==", text, re.MULTILINE)]
