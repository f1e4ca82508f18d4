"""The figure of all runs: what its table has, no test result of a run that was not chosen, and whose code it is."""

import re
import time

import pandas as pd
import pytest
from helpers.analysis import SITES

from fedxray.core.files import read_table, sha256, write_table
from fedxray.experiment.folder import Folder
from fedxray.report import explorer
from fedxray.report.contents import VENDORED
from fedxray.report.index import page

LIBRARY = re.compile(r"^\| `(.+?)` \| \S+ \| (\S+) \| \S+ \| `([0-9a-f]{64})` \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def tables(swept):
    """(points.csv, comparison.csv) of two learning rates."""
    return read_table(swept[1].points), read_table(swept[1].comparison)


def frame(table):
    return pd.DataFrame(table["rows"], columns=[column.name for column in table["columns"]])


def test_each_run_has_its_values_and_the_chosen_alone_have_test_results(tables):
    points, comparison = tables
    table = explorer.table_of(points, comparison, {})
    shown, kinds = frame(table), {column.name: column.kind for column in table["columns"]}
    assert list(shown["line of points.csv"]) == [str(line) for line in range(2, len(points) + 2)]
    assert list(shown["folder below runs/"]) == list(points["path"])
    assert [float(value) for value in shown["learning rate"]] == list(points["lr"])
    assert [float(value) for value in shown["MB sent"]] == list(points["bytes_sent"] / 1e6)
    assert {name for name, kind in kinds.items() if kind == "group"} == {"mode", "method", "hospital"}
    tests = [name for name in shown if name.startswith("test AUROC")]
    assert tests == ["test AUROC, all hospitals", *(f"test AUROC, {site}" for site in SITES)]
    assert (shown.loc[shown["chosen"] == "no", tests] == "").all(axis=None)
    for _, row in shown[shown["chosen"] == "yes"].iterrows():
        point = points[points["path"] == row["folder below runs/"]].iloc[0]
        same = (comparison[["mode", "site", "seed"]] == point[["mode", "site", "seed"]].to_list()).all(axis=1)
        for name, test_set in zip(tests, ("pooled", *SITES), strict=True):
            (value,) = comparison["auroc"][same & (comparison["test_set"] == test_set)]
            assert float(row[name]) == pytest.approx(value, rel=1e-3)


def test_what_all_runs_share_is_no_axis_and_epsilon_is_that_of_private_runs(tables):
    points, comparison = tables
    private = points["path"].iloc[0]
    shown = frame(explorer.table_of(points, comparison, {private: 2.996}))
    assert "epochs" not in shown
    assert set(shown["epsilon spent"][points["path"] == private]) == {"2.996"}
    assert set(shown["epsilon spent"][points["path"] != private]) == {""}


def test_a_column_of_words_tells_runs_apart_and_coalitions_are_left_out(tables):
    points, comparison = tables
    words = points.assign(partition=["iid", "quantity"] * (len(points) // 2))
    words.loc[0, "mode"] = "coalition"
    table = explorer.table_of(words, comparison, {})
    assert ("partition", "group") in table["columns"]
    assert len(table["rows"]) == len(points) - 1


def test_the_page_has_it_where_there_are_many_runs_and_nowhere_else(config, swept):
    (other, folder), note = swept, "Synthetic phantom data"
    many = page(other, folder, note)
    assert many.count('<section id="explore"') == 1
    assert 'data-note="Synthetic data. "' in many
    assert "Mike Bostock" in many
    assert len(many) < 2_000_000
    few = page(other | {"sweep": config["sweep"]}, folder, note)
    assert 'id="explore"' not in few
    assert "Mike Bostock" not in few


def test_the_page_of_two_hundred_runs_takes_ten_seconds_at_most(swept, tmp_path):
    config, folder = swept
    points = read_table(folder.points)
    others = points[~points["chosen"]]
    more = [others.assign(lr=others["lr"] * factor) for factor in range(2, 2 + 200 // len(others))]
    many = Folder(tmp_path / "made-up")
    many.root.mkdir()
    for path in folder.root.iterdir():
        if path != folder.points:
            (many.root / path.name).symlink_to(path)
    write_table(many.points, pd.concat([points, *more], ignore_index=True))
    start = time.process_time()
    text = page(config, many, "Synthetic phantom data")
    assert time.process_time() - start < 10
    assert text.count("<td>run-") > 200


def test_the_code_of_others_is_what_is_recorded_with_its_licence_and_small():
    recorded = LIBRARY.findall((VENDORED / "README.md").read_text())
    assert {file for file, *_ in recorded} == set(explorer.LIBRARIES.values())
    for file, version, digest in recorded:
        assert sha256(VENDORED / file) == digest
        assert f"v{version} Copyright" in (VENDORED / file).read_text(encoding="utf-8")[:200]
    assert sum((VENDORED / file).stat().st_size for file, *_ in recorded) < 1_000_000
    said = explorer.libraries()
    assert "</script" not in said.lower()
    assert said.count("Permission to use, copy, modify") == len(recorded)
