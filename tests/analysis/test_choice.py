import pandas as pd
from helpers.data import points_of

from fedxray.analysis.choice import choose, edges, point_columns, table_of_runs
from fedxray.core.files import write_json, write_table
from fedxray.experiment.sweep import Run


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


def test_the_table_of_runs_reads_records_and_last_epochs(tmp_path):
    run = Run("federated", "", "pooled", {"lr": 0.1, "rounds": 2, "local_epochs": 1, "batch_size": 8}, 3, "federated/x")
    record = {"epochs": 2, "rounds": 2, "local_epochs": 1, "parameters": 9, "bytes_sent": 7, "seconds": 2.5}
    write_json(tmp_path / run.path / "record.json", record)
    rows = [("global", 1, 0.6), ("global", 2, 0.7), ("us", 2, 0.9)]
    table = pd.DataFrame(rows, columns=["series", "epoch", "validation_auroc"])
    write_table(tmp_path / run.path / "metrics.csv", table.assign(validation_accuracy=0.5, validation_loss=0.5))
    found = table_of_runs([run], tmp_path)
    assert found.loc[0, ["validation_auroc", "batch_size", "seed", "path"]].tolist() == [0.7, 8, 3, run.path]
    assert point_columns(found) == ["lr", "epochs", "rounds", "local_epochs", "batch_size"]


def test_chosen_values_at_the_edge_of_what_was_tried_are_named():
    runs = [("central", "pooled", lr, 1, value) for lr, value in [(0.1, 0.7), (0.2, 0.9), (0.3, 0.8)]]
    assert edges(choose(points_of(*runs))) == {}
    runs += [("alone", "us", lr, 1, 1 - lr) for lr in (0.1, 0.2)]
    assert edges(choose(points_of(*runs))) == {"lr=0.1, the lowest": [("", "alone", "us")]}
    assert edges(choose(points_of(("central", "pooled", 0.1, 1, 0.5)))) == {}
