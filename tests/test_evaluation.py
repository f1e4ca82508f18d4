import numpy as np
import pandas as pd
import pytest

from fedxray.errors import UserError
from fedxray.evaluation import compare, evaluate_predictions, summary
from fedxray.files import write_json, write_table
from fedxray.metrics import choose_threshold


def predictions(seed=0, images=60):
    rng, parts = np.random.default_rng(seed), []
    for name in ("validation", "us", "asia"):
        label = np.arange(images) % 2
        probability = np.clip(0.4 * label + 0.6 * rng.random(images), 0, 1)
        patient = [f"{name}-{number // 3}" for number in range(images)]
        parts.append(pd.DataFrame({"set": name, "patient": patient, "label": label, "probability": probability}))
    return pd.concat(parts, ignore_index=True)


def test_the_threshold_is_of_validation_and_test_labels_cannot_move_it():
    table = predictions()
    evaluation = evaluate_predictions(table, 50, 0.95, 1)
    validation = table[table["set"] == "validation"]
    expected = choose_threshold(validation["label"].to_numpy(float), validation["probability"].to_numpy())
    table.loc[table["set"] != "validation", "label"] = 1 - table["label"]
    other = evaluate_predictions(table, 50, 0.95, 1)
    assert set(evaluation["threshold"]) == set(other["threshold"]) == {expected}
    assert list(evaluation["test_set"]) == ["pooled", "us", "asia"]
    assert list(evaluation["images"]) == [120, 60, 60]
    assert (evaluation["auroc_low"] <= evaluation["auroc_high"]).all()


def test_the_same_seed_gives_the_same_intervals():
    one, same, other = (evaluate_predictions(predictions(), 50, 0.95, seed) for seed in (1, 1, 2))
    assert one.equals(same)
    assert not one.equals(other)


def test_no_test_set_is_an_error():
    with pytest.raises(UserError, match="no rows"):
        evaluate_predictions(predictions().query("set == 'validation'"), 50, 0.95, 1)


def test_the_comparison_has_a_row_for_each_model_and_test_set(tmp_path):
    runs = []
    for number, (mode, site) in enumerate([("local", "us"), ("central", "pooled"), ("federated", "pooled")]):
        run = tmp_path / str(number)
        rounds = 4 if mode == "federated" else None
        record = {"mode": mode, "site": site, "lr": 0.1, "epochs": 4, "rounds": rounds, "seed": 1}
        write_json(run / "record.json", record | {"parameters": 9, "bytes_sent": 0, "seconds": 2.5})
        write_table(run / "evaluation.csv", evaluate_predictions(predictions(number), 50, 0.95, 1))
        runs.append(run)
    table = compare(runs)
    assert list(table["mode"]) == ["federated"] * 3 + ["central"] * 3 + ["local"] * 3
    assert list(table["test_set"][:3]) == ["pooled", "asia", "us"]
    assert list(table.columns[:7]) == ["mode", "site", "test_set", "lr", "epochs", "rounds", "seed"]
    assert table["rounds"].isna().sum() == 6
    assert "local us seed 1" in summary(table)
