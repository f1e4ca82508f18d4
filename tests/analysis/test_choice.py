from dataclasses import replace

import pandas as pd
import pytest
from helpers.analysis import METHODS, chosen_models
from helpers.data import points_of

from fedxray.analysis.choice import (
    best_method,
    choose,
    counted,
    edges,
    federated_curves,
    global_curves,
    leading,
    point_columns,
    table_of_runs,
    with_thresholds,
)
from fedxray.core.errors import UserError
from fedxray.core.files import read_table, write_json, write_table
from fedxray.experiment.cohorts import Cohort
from fedxray.experiment.experiment import Model, Run
from fedxray.experiment.folder import Folder
from fedxray.experiment.method import PLAIN
from fedxray.experiment.privacy import Privacy

POINT = {"lr": 0.1, "epochs": 3, "round": 0.5, "batch_size": 8}
PRIVACY = Privacy("none", 3.0, 1e-5, 0.1, 5.0, 256, 112, 1, "seeded")
RUN = Run(Model(Cohort("", ("us",), {}), "federated", "", "pooled"), POINT, PLAIN, "fedavg", PRIVACY, "passes", 3)


def write_run(folder, path, schedule, rows, method="fedavg"):
    record = {"schedule": schedule, "parameters": 9, "bytes_sent": 70, "seconds": 2.5}
    write_json(folder.run(path).record, record | {"method": method and {"name": method}})
    table = pd.DataFrame(rows, columns=["series", "epoch", "validation_auroc"])
    write_table(folder.run(path).curves, table.assign(validation_accuracy=0.5, validation_loss=0.5))


@pytest.fixture
def folder(tmp_path):
    """Results with one federated run of four rounds of half an epoch, and an epoch of fine-tuning after them."""
    folder = Folder(tmp_path)
    rows = [("global", 1, 0.6), ("global", 2, 0.7), ("us", 2, 0.9)]
    write_run(folder, RUN.path, {"rounds": 4, "round": 0.5, "steps": 0, "tail": 1}, rows)
    return folder


def test_the_point_is_chosen_by_its_mean_over_seeds_for_each_model():
    runs = [("federated", "pooled", lr, seed, value) for lr, seed, value in [(0.1, 1, 0.95), (0.1, 2, 0.5)]]
    runs += [("federated", "pooled", 0.2, seed, 0.8) for seed in (1, 2)]
    runs += [("central", "pooled", lr, 1, value) for lr, value in [(0.1, 0.9), (0.2, 0.7)]]
    table = choose(points_of(*runs))
    assert set(zip(*table[table["chosen"]][["mode", "lr"]].T.to_numpy(), strict=True)) == {
        ("federated", 0.2),
        ("central", 0.1),
    }
    assert table["chosen"].sum() == 3
    tie = choose(points_of(*(("central", "pooled", lr, 1, 0.8) for lr in (0.3, 0.2))))
    assert list(tie["lr"][tie["chosen"]]) == [0.2]


def test_each_cohort_has_its_own_choice():
    one, other = (
        points_of(("central", "pooled", lr, 1, 0.8), cohort=name) for name, lr in (("a=1", 0.1), ("a=2", 0.2))
    )
    assert choose(pd.concat([one, other], ignore_index=True))["chosen"].all()


def test_the_table_of_runs_reads_records_and_last_epochs(folder):
    found = table_of_runs([RUN], folder)
    assert found.loc[0, ["validation_auroc", "batch_size", "seed", "path"]].tolist() == [0.7, 8, 3, RUN.path]
    assert found.loc[0, ["cohort", "mode", "method", "site", "rounds"]].tolist() == ["", "federated", "", "pooled", 4]
    assert point_columns(found) == ["lr", "epochs", "round", "batch_size"]


def test_numbers_of_methods_and_local_steps_are_empty_where_they_are_unused(folder, tmp_path):
    prox = replace(PLAIN, name="fedprox", mu=0.5)
    runs = [RUN, replace(RUN, model=replace(RUN.model, method="fedprox"), method=prox, folder="fedprox+mu=0.5")]
    runs.append(replace(runs[1], point=POINT | {"steps": 7}))
    runs.append(
        Run(Model(RUN.model.cohort, "central", "", "pooled"), {"lr": 0.1, "epochs": 3}, PLAIN, "", PRIVACY, "passes", 3)
    )
    for run in runs[1:]:
        write_run(folder, run.path, {"rounds": 4, "round": 0.5}, [("global", 3, 0.5)], run.model.method or None)
    write_table(tmp_path / "points.csv", choose(table_of_runs(runs, folder)))
    found = counted(read_table(tmp_path / "points.csv"))
    assert point_columns(found) == ["lr", "epochs", "round", "steps", "batch_size", "mu"]
    assert found["mu"].fillna(-1).tolist() == [-1, 0.5, 0.5, -1]
    assert found["steps"].fillna(-1).tolist() == [-1, -1, 7, -1]
    assert found["rounds"].fillna(-1).tolist() == [4, 4, 4, -1]
    assert found["chosen"].tolist() == [True, True, False, True]  # a method is a model, and its rounds a point


def test_curves_are_of_the_global_model_and_of_a_federation_by_its_rounds(folder, tmp_path):
    points = table_of_runs([RUN], folder).assign(chosen=True)
    write_table(tmp_path / "points.csv", points)
    points = read_table(tmp_path / "points.csv")
    assert list(global_curves(points, folder)["epoch"]) == [1, 2]
    curves = federated_curves(points, folder)
    assert curves.to_dict("list") == {
        "cohort": ["", ""],
        "name": ["lr=0.1,round=0.5,batch_size=8"] * 2,
        "chosen": [True, True],
        "round": [2, 4],
        "bytes": [34, 68],
        "validation_auroc": [0.6, 0.7],
    }


def test_curves_of_several_methods_are_named_by_them_and_have_their_chosen_points(folder):
    models = [("federated", "pooled", 0.1, 1, 0.8, "fedavg"), ("federated", "pooled", 0.2, 1, 0.7, "fedavg")]
    models += [("personal", site, 0.1, 1, 0.9, "ditto") for site in ("us", "asia")]
    points = choose(points_of(*models))
    for path in points["path"]:
        write_run(folder, path, {"rounds": 2, "round": 1.0}, [("global", epoch, 0.5) for epoch in (1, 2, 3)])
    curves = federated_curves(points, folder)
    assert list(curves["name"]) == ["fedavg"] * 2 + ["ditto"] * 4
    assert list(curves["round"]) == [1, 2] * 3  # epochs after the last round send no bytes, and count with it


def test_the_chosen_table_is_the_chosen_rows_with_their_thresholds(tmp_path):
    points = points_of(
        ("federated", "pooled", 0.1, 1, 0.9), ("central", "pooled", 0.1, 1, 0.8), ("alone", "us", 0.1, 1, 0.7)
    )
    points = points.assign(chosen=[True, False, True])
    table = with_thresholds(points, {"0": 0.25, "2": 0.5})
    assert list(table["path"]) == ["0", "2"]
    assert list(table["threshold"]) == [0.25, 0.5]
    assert point_columns(table) == point_columns(points)
    write_table(tmp_path / "points.csv", points)
    write_table(tmp_path / "chosen.csv", with_thresholds(read_table(tmp_path / "points.csv"), {"0": 0.25, "2": 0.5}))
    lines, chosen = ((tmp_path / f"{name}.csv").read_text().splitlines() for name in ("points", "chosen"))
    assert chosen == [f"{lines[0]},threshold", f"{lines[1]},0.25", f"{lines[3]},0.5"]  # the same text
    with pytest.raises(UserError, match="2: no predictions of the validation set"):
        with_thresholds(points, {"0": 0.25})


def test_chosen_values_at_the_edge_of_what_was_tried_are_named():
    runs = [("central", "pooled", lr, 1, value) for lr, value in [(0.1, 0.7), (0.2, 0.9), (0.3, 0.8)]]
    assert edges(choose(points_of(*runs))) == {}
    runs += [("alone", "us", lr, 1, 1 - lr) for lr in (0.1, 0.2)]
    assert edges(choose(points_of(*runs))) == {"lr=0.1, the lowest": [("", "alone", "", "us")]}
    assert edges(choose(points_of(("central", "pooled", 0.1, 1, 0.5)))) == {}


def test_of_several_methods_the_best_by_validation_leads_and_has_peers_of_its_budget():
    chosen, _ = chosen_models(kinds=METHODS)
    assert best_method(chosen, "federated") == "fedavg+steps"
    assert best_method(chosen[chosen["mode"] == "alone"], "federated") is None
    lead = leading(chosen)[["mode", "method", "site"]].drop_duplicates()
    assert [tuple(model) for model in lead.to_numpy()] == [
        *(("federated", "fedavg+steps", "pooled"), ("central", "", "pooled")),
        *(("alone", "steps", "us"), ("alone", "steps", "asia")),
        *(("personal", "ditto", "us"), ("personal", "ditto", "asia")),
    ]
    one, _ = chosen_models()
    assert leading(one).equals(one)
