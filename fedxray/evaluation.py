"""From a run's predictions to its evaluation, and from every run's evaluation to the comparison."""

from pathlib import Path

import pandas as pd

from fedxray.errors import UserError
from fedxray.files import read_json, read_table
from fedxray.metrics import METRICS, bootstrap, choose_threshold, evaluate
from fedxray.seeds import stream

POINT = ["mode", "site", "lr", "epochs", "rounds", "seed"]
COST = ["parameters", "bytes_sent", "seconds"]
MODES = ["federated", "central", "local"]


def evaluate_predictions(predictions: pd.DataFrame, replicates: int, confidence: float, seed: int) -> pd.DataFrame:
    """One row per test set (each site's, and `pooled`, their union), at the threshold chosen on validation.

    The same patients are drawn for every model, so that differences between models are not the bootstrap's.
    """
    validation = predictions[predictions["set"] == "validation"]
    tests = predictions[predictions["set"] != "validation"]
    if validation.empty or tests.empty:
        raise UserError("predictions: no rows of the validation set or of a test set")
    threshold = choose_threshold(validation["label"].to_numpy(float), validation["probability"].to_numpy())
    rows = []
    for name, part in [("pooled", tests), *tests.groupby("set", sort=False)]:
        data = part["label"].to_numpy(float), part["probability"].to_numpy()
        values = evaluate(*data, threshold)
        patients, rng = part["patient"].to_numpy(str), stream(seed, "bootstrap", name)
        intervals = bootstrap(*data, patients, threshold, replicates, confidence, rng)
        row = {"test_set": name, "images": len(part), "patients": part["patient"].nunique(), "threshold": threshold}
        for metric in METRICS:
            row |= dict(
                zip((metric, f"{metric}_low", f"{metric}_high"), (values[metric], *intervals[metric]), strict=True)
            )
        rows.append(row)
    return pd.DataFrame(rows)


def compare(runs: list[Path]) -> pd.DataFrame:
    """One row per model and test set of `runs` (their directories): federated, central, local; pooled first."""
    parts = []
    for run in runs:
        record, evaluation = read_json(run / "record.json"), read_table(run / "evaluation.csv")
        point = pd.DataFrame([{key: record[key] for key in POINT}] * len(evaluation))
        cost = pd.DataFrame([{key: record[key] for key in COST}] * len(evaluation))
        parts.append(pd.concat([point, evaluation, cost], axis=1))
    table = pd.concat(parts, ignore_index=True)
    table.insert(2, "test_set", table.pop("test_set"))
    table["rounds"] = table["rounds"].astype("Int64")  # empty where there are none
    keys = pd.DataFrame({"mode": table["mode"].map(MODES.index), "pooled": table["test_set"] != "pooled"})
    keys = pd.concat([keys, table[["lr", "epochs", "site", "seed", "test_set"]]], axis=1)
    return table.loc[keys.sort_values(list(keys)).index].reset_index(drop=True)


def summary(comparison: pd.DataFrame) -> str:
    """The pooled rows as text for a terminal."""
    lines = [f"{'':<24}{'AUROC':<24}{'accuracy':>9}{'sensitivity':>13}{'specificity':>13}{'seconds':>9}"]
    for _, row in comparison[comparison["test_set"] == "pooled"].iterrows():
        name = f"{row['mode']} {row['site'] if row['mode'] == 'local' else ''} seed {row['seed']}"
        interval = f"{row['auroc']:.4f} [{row['auroc_low']:.4f}, {row['auroc_high']:.4f}]"
        decided = f"{row['accuracy']:>9.3f}{row['sensitivity']:>13.3f}{row['specificity']:>13.3f}"
        lines.append(f"{' '.join(name.split()):<24}{interval:<24}{decided}{row['seconds']:>9.1f}")
    return "\n".join(lines)
