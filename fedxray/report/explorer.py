"""The figure of all runs that a reader explores: a table of them, which templates/explore.js draws."""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd
from markupsafe import Markup

from fedxray.analysis.answer import line_of
from fedxray.analysis.choice import MODEL_KEY, point_columns, without_coalitions
from fedxray.experiment.experiment import POOLED, mode_name
from fedxray.report.contents import VENDORED

LIBRARIES = {"d3": "d3.min.js", "plot": "plot.umd.min.js"}  # Observable Plot, which needs D3
WORDS = {
    "lr": "learning rate",
    "round": "passes in a round",
    "steps": "steps in a round",
    "rounds": "rounds",
    "bytes_sent": "MB sent",
    "seconds": "seconds",
    "validation_auroc": "validation AUROC",
    "validation_accuracy": "validation accuracy",
    "validation_loss": "validation loss",
    "epsilon": "epsilon spent",
}
MEASURED = ("rounds", "bytes_sent", "seconds", "validation_auroc", "validation_accuracy", "validation_loss")
ALWAYS = ("bytes_sent", "seconds", "validation_auroc")  # axes even if all runs have the same


class Column(NamedTuple):
    """A column of the table of runs."""

    name: str
    kind: str  # number: an axis | group: an axis by which runs are told apart and filtered | text


def table_of(points: pd.DataFrame, tested: pd.DataFrame, epsilons: Mapping[str, float]) -> dict:
    """The table of all runs but those of coalitions: its `columns` and `rows` of texts.

    `points` is points.csv as it stands in the file; `tested` has the `auroc` of chosen runs on each `test_set`, with
    the columns of `MODEL_KEY` and `seed`; `epsilons` has what a run spends by its path, of private runs alone. Of a run
    that was not chosen no test result is shown, whatever `tested` has.
    """
    runs = without_coalitions(points)
    numbers, groups = _axes(runs.assign(epsilon=[epsilons.get(path) for path in runs["path"]]))
    found = tested.set_index([*MODEL_KEY, "seed"]) if len(tested) else tested
    sets = list(dict.fromkeys(tested["test_set"])) if len(tested) else []
    results = {name: found["auroc"][found["test_set"] == name].to_dict() for name in sets}
    columns = [Column(name, "group") for name in groups]
    columns += [Column("seed", "text"), Column("chosen", "text")]
    columns += [Column(name, "number") for name in numbers]
    tests = ["all hospitals" if name == POOLED else name for name in sets]
    columns += [Column(f"test AUROC, {name}", "number") for name in tests]
    columns += [Column("folder below runs/", "text"), Column("line of points.csv", "text")]
    rows = []
    for index, row in runs.iterrows():
        key = tuple(row[[*MODEL_KEY, "seed"]])
        cells = [str(groups[name][index]) for name in groups]
        cells += [str(row["seed"]), "yes" if row["chosen"] else "no"]
        cells += [_number(numbers[name][index]) for name in numbers]
        cells += [_number(results[name].get(key) if row["chosen"] else None) for name in sets]
        rows.append([*cells, row["path"], str(line_of(index))])
    return {"columns": columns, "rows": rows}


def _axes(runs: pd.DataFrame) -> tuple[dict[str, pd.Series], dict[str, pd.Series]]:
    """(numbers, groups) of the runs, by their names: what differs between runs, and what was measured."""
    hospitals = runs["site"].where(runs["site"] != POOLED, "all")
    methods = [mode_name(*row) for row in runs[["mode", "method"]].itertuples(index=False)]
    groups = {"mode": runs["mode"], "method": pd.Series(methods, runs.index), "hospital": hospitals}
    groups |= {"cohort": runs["cohort"]}
    numbers = {}
    for name in [*(name for name in point_columns(runs) if name != "epsilon"), "epsilon", *MEASURED]:
        values = runs[name].replace("", None)
        if name not in ALWAYS and values.nunique(dropna=False) < 2:
            continue
        if pd.to_numeric(values, errors="coerce").notna().eq(values.notna()).all():
            numbers[name] = pd.to_numeric(values)
        else:
            groups[name] = runs[name]
    numbers["bytes_sent"] = numbers["bytes_sent"] / 1e6
    named = {WORDS.get(name, name.replace("_", " ")): values for name, values in numbers.items()}
    return named, {name.replace("_", " "): values for name, values in groups.items() if values.nunique() > 1}


def _number(value: float | None) -> str:
    """Four digits of a number; empty if there is none."""
    return "" if value is None or pd.isna(value) else f"{value:.4g}"


def libraries() -> Markup:
    """The code that draws, each file below its licence."""
    parts = []
    for name, file in LIBRARIES.items():
        licence = (VENDORED / f"{name}.LICENSE").read_text()
        parts.append(f"/* {file}\n{licence}*/\n{(VENDORED / file).read_text(encoding='utf-8')}")
    return Markup("\n".join(parts))
