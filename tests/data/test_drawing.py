import re
import zipfile

import numpy as np
import pytest
from helpers.data import catalogued, make_settings
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fedxray.core.errors import UserError
from fedxray.core.files import write_table
from fedxray.core.seeds import stream
from fedxray.data.cohort import draw_cohort
from fedxray.data.drawing import GRID, _draw_opacity, draw_phantom
from fedxray.data.pixels import resample
from fedxray.training.metrics import auroc
from fedxray.training.models import build
from fedxray.training.rows import Segment
from fedxray.training.trainer import Trainer, predict

NAME = re.compile(
    r"chest_xray/(train|val|test)/(NORMAL/(NORMAL2-)?IM-\d{4}-0001(-\d{4})?|PNEUMONIA/person\d+_(bacteria|virus)_\d+)\.jpeg"
)


SITES = ["us", "europe", "asia"]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    path = tmp_path_factory.mktemp("phantom") / "images.zip"
    draw_phantom(path, 800, 1, 2)
    return path


def thumbnail(image):
    return np.asarray(Image.fromarray(image).resize((8, 8), Image.Resampling.BOX)).ravel()


def test_the_same_bytes_for_any_number_of_processes(tmp_path):
    for name, seed, processes in (("a", 1, 1), ("b", 1, 2), ("c", 2, 1)):
        draw_phantom(tmp_path / name, 30, seed, processes)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_a_second_wave_is_numbered_on_has_another_prevalence_and_a_new_scanner(tmp_path):
    draw_phantom(tmp_path / "one.zip", 30, 1, 1)
    draw_phantom(tmp_path / "two.zip", 30, 1, 2, second=60, pneumonia=0.1)
    with zipfile.ZipFile(tmp_path / "one.zip") as one, zipfile.ZipFile(tmp_path / "two.zip") as two:
        names = [name for name in one.namelist() if name != "manifest.csv"]
        assert [two.read(name) for name in names] == [one.read(name) for name in names]
    before, table = (catalogued(tmp_path / f"{name}.zip", "phantom")[0] for name in ("one", "two"))
    assert "wave" not in before
    first, second = (table[table["wave"] == wave] for wave in (1, 2))
    assert list(first["image"]) == list(before["image"])
    assert second["patient"].nunique() == 60
    assert not set(first["patient"]) & set(second["patient"])
    assert set(second["acquisition"]) == set(first["acquisition"])
    ill = second.drop_duplicates("patient")["label"].mean()
    assert ill == pytest.approx(0.1, abs=0.12)
    assert first.drop_duplicates("patient")["label"].mean() > 0.4


@pytest.mark.slow
def test_layout_patients_and_variety(phantom):
    with zipfile.ZipFile(phantom) as archive:
        assert all(NAME.fullmatch(name) for name in archive.namelist() if name != "manifest.csv")
    table, _, summary = catalogued(phantom, "phantom", 2)
    assert summary["synthetic"]
    assert table.groupby("patient")["official_split"].nunique().max() == 1
    assert set(table["official_split"]) == {"train", "val", "test"}
    assert table.groupby("patient").size().max() > 2
    assert set(table["mode"]) == {"L", "RGB"}
    assert table["width"].nunique() > 50
    assert set(table["acquisition"]) == {"device-a", "device-b", "device-c"}


@pytest.mark.parametrize("aetiology", ["bacteria", "virus"])
def test_pneumonia_only_brightens(aetiology):
    """It takes a share of the lungs' air, so that nothing gets darker; how much varies by patient."""
    bronchi = np.zeros((GRID, GRID), np.float32)
    shares = np.stack([_draw_opacity(aetiology, bronchi, stream(1, "test", number)) for number in range(40)])
    assert shares.min() >= 0
    assert shares.max() <= 1
    means = shares.mean(axis=(1, 2))
    assert means.min() < 0.3 * np.median(means)


@pytest.mark.slow
def test_it_is_neither_trivial_nor_hopeless(phantom, tmp_path):
    """The default model lies between 0.85 and 0.99, and at least 0.07 above a logistic regression on thumbnails."""
    table, _, _ = catalogued(phantom, "phantom", 2)
    write_table(tmp_path / "catalogue.csv", table)
    resample(phantom, tmp_path / "catalogue.csv", 64, 2, tmp_path / "pixels.npy")
    pixels, split = (
        np.load(tmp_path / "pixels.npy"),
        draw_cohort(table, SITES, 1, "redraw", 0.2, 0.1, "none", "iid"),
    )
    parts = {}
    for name in ("train", "validation", "test"):
        rows = (split["split"] == name).to_numpy()
        parts[name] = pixels[rows], split["label"].to_numpy(np.float32)[rows]
    settings = make_settings(epochs=15)
    model = build(settings)
    trainer = Trainer(settings, parts["train"], parts["validation"])
    steps = [Segment(epoch * trainer.batches, (epoch + 1) * trainer.batches, epoch + 1) for epoch in range(15)]
    trainer.fit(model, steps, 15 * trainer.batches)
    reached = auroc(parts["test"][1], predict(model, parts["test"][0], settings.compute))
    small = {name: np.stack([thumbnail(image) for image in images]) for name, (images, _) in parts.items()}
    scores = []
    for strength in (1.0, 0.01):
        logistic = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=3000))
        logistic.fit(small["train"], parts["train"][1])
        scores.append(auroc(parts["test"][1], logistic.predict_proba(small["test"])[:, 1]))
    print(f"phantom: compact {reached:.3f}, logistic regression on 8x8 {max(scores):.3f}")
    assert 0.85 <= reached <= 0.99
    assert max(scores) <= reached - 0.07


def test_too_few_patients(tmp_path):
    with pytest.raises(UserError, match="--patients 5"):
        draw_phantom(tmp_path / "x.zip", 5, 1, 1)
