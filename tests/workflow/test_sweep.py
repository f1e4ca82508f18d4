"""A whole sweep, in a copy of the repository."""

import pandas as pd
from golden.fingerprints import compare, fingerprints
from helpers.workflow import SWEEP, copy_repository, planned, snakemake

from fedxray.core.files import sha256

DATA = {"draw_phantom", "catalogue_images", "resample_images", "draw_cohort", "make_site", "provision_federation"}
SWEPT = {"train_inprocess", "train_central", "train_alone"}


def test_a_sweep_shares_its_data_and_a_new_value_adds_its_points_alone(tmp_path):
    """The smoke sweep: two points of two seeds and two hospitals."""
    copy = copy_repository(tmp_path)
    done = snakemake(copy, *SWEEP)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    results = copy / "results" / "smoke-sweep"
    points = pd.read_csv(results / "points.csv", keep_default_na=False)
    assert len(points) == 2 * 2 * 4
    assert points["chosen"].sum() == 4 * 2
    assert len(pd.read_csv(results / "comparison.csv")) == 4 * 2 * 3
    assert (results / "figures" / "sweep.svg").exists()
    compare("smoke-sweep", fingerprints(results))
    confirmed = pd.read_csv(results / "confirmed.csv")  # by a real federation, of the same bytes
    for path, digest in zip(confirmed["path"], confirmed["sha256"], strict=True):
        assert sha256(results / "runs" / path / "model.safetensors") == digest
    assert set(confirmed["path"]) == set(points["path"][points["chosen"] & (points["mode"] == "federated")])
    assert "byte for byte" in (results / "report" / "index.html").read_text()
    assert "Nothing to be done" in "".join([(again := snakemake(copy, *SWEEP)).stdout, again.stderr])

    more = planned(copy, *SWEEP, "--config", "sweep={points: [{training.lr: 0.005, training.epochs: 1}]}")
    assert (more["train_inprocess"], more["train_central"], more["train_alone"]) == (2, 2, 2)
    assert not set(more) & DATA
    fewer = planned(copy, *SWEEP, "--config", "sweep={grid: {training.lr: [0.001]}}")
    assert "choose_points" in fewer
    assert not set(fewer) & (DATA | SWEPT)
