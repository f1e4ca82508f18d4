"""What training costs in energy: by counters, by the stated model, and divided among hospitals."""

import math

import pandas as pd
import pytest

from fedxray.core.files import write_json
from fedxray.experiment.folder import Folder
from fedxray.report.costs import seconds_of, table_of, words_of

REGISTRY = pd.DataFrame({"cohort": "", "site": ["us", "asia", "shared"], "train_images": [300, 100, 0]})
RUNS = [  # path, mode, method, site, seconds
    ("federated/lr=1,seed=1", "federated", "", "pooled", 9.0),
    ("federated/lr=2,seed=1", "federated", "", "pooled", 9.0),
    ("central/lr=1,seed=1", "central", "", "pooled", 5.0),
    ("alone/lr=1,seed=1/us", "alone", "", "us", 6.0),
    ("alone/lr=1,seed=1/asia", "alone", "", "asia", 2.0),
    ("federated/ditto/lr=1,seed=1/personal/us", "personal", "ditto", "us", 9.0),
    ("federated/ditto/lr=1,seed=1/personal/asia", "personal", "ditto", "asia", 9.0),
]
SECONDS = {"federated/lr=1,seed=1": 360, "federated/lr=2,seed=1": 360, "central/lr=1,seed=1": 720}
SECONDS |= {"alone/lr=1,seed=1": 1440, "federated/ditto/lr=1,seed=1": 3600}


@pytest.fixture
def trained(tmp_path):
    """(points, folder) of runs whose jobs Snakemake has measured, on a processor without counters."""
    points = pd.DataFrame(RUNS, columns=["path", "mode", "method", "site", "seconds"]).assign(cohort="")
    folder = Folder(tmp_path)
    for path in points["path"]:
        write_json(folder.run(path).record, {"energy_j": None, "device": "cpu"})
    for job, seconds in SECONDS.items():
        file = folder.benchmark(f"train/{job}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"s\tcpu_time\n{seconds / 2}\t{seconds}\n")
    return points, folder


def test_an_estimate_is_core_seconds_times_watts_for_each_method_and_hospital(trained):
    table = {row["model"]: row for row in table_of(trained[0], REGISTRY, trained[1], 10.0)}
    assert list(table) == ["federated", "central", "each hospital alone", "ditto"]
    assert {row["by"] for row in table.values()} == {"estimate"}
    # 720 s of both points at 10 W are 2 Wh, of which us has three quarters of the images
    assert table["federated"] == {
        **{"model": "federated", "runs": "2", "core seconds": "720", "Wh": "2.00", "by": "estimate"},
        **{"Wh at us": "1.50", "Wh at asia": "0.50"},
    }
    assert [table["central"][name] for name in ("Wh", "Wh at us", "Wh at asia")] == ["2.00", "-", "-"]
    assert [table["each hospital alone"][name] for name in ("Wh", "Wh at us", "Wh at asia")] == ["4.00", "3.00", "1.00"]
    # one federation made both hospitals' own models, and counts once
    assert [table["ditto"][name] for name in ("runs", "Wh", "Wh at us")] == ["1", "10.00", "7.50"]


def test_a_federation_counts_once_for_all_its_models(trained):
    points, _ = trained
    models = points["mode"] == "personal"
    assert seconds_of(points) == points["seconds"][~models].sum() + points["seconds"][models].iloc[0]


def test_counters_are_taken_where_every_run_has_them(trained):
    points, folder = trained
    for path in points["path"][points["mode"].isin(["alone", "personal"])]:
        write_json(folder.run(path).record, {"energy_j": 7200.0, "device": "cuda"})
    table = {row["model"]: row for row in table_of(points, REGISTRY, folder, 10.0)}
    assert (table["each hospital alone"]["by"], table["each hospital alone"]["Wh"]) == ("counters", "4.00")
    assert (table["ditto"]["by"], table["ditto"]["Wh"]) == ("counters", "2.00")
    assert table["central"]["by"] == "estimate"
    said = words_of(10.0, list(table.values()))
    assert "whatever else" in said
    assert "times 10 watts" in said
    assert "estimate" not in words_of(10.0, [table["ditto"]])


def test_what_nobody_measured_is_not_guessed(trained):
    points, folder = trained
    folder.benchmark("train/central/lr=1,seed=1").unlink()
    write_json(folder.run("federated/lr=1,seed=1").record, {"energy_j": None, "device": "cuda"})
    table = {row["model"]: row for row in table_of(points, REGISTRY, folder, 10.0)}
    assert (table["central"]["core seconds"], table["central"]["Wh"]) == ("-", "-")
    assert (table["federated"]["core seconds"], table["federated"]["Wh"]) == ("720", "-")
    assert not math.isnan(float(table["ditto"]["Wh"]))
