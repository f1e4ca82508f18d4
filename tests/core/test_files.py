import numpy as np
import pandas as pd
import pytest

from fedxray.core.errors import UserError
from fedxray.core.files import atomic, read_table, write_table


def test_a_table_survives_its_file(tmp_path):
    table = pd.DataFrame({"name": ["a", "none", ""], "count": [1, 2, 3], "share": [0.1, np.nan, 1 / 3], "empty": ""})
    table["rounds"] = pd.array([1, None, 3], "Int64")
    table["chosen"] = [True, False, True]
    write_table(tmp_path / "t.csv", table)
    found = read_table(tmp_path / "t.csv")
    assert list(found["name"]) == ["a", "none", ""]
    assert list(found["empty"]) == ["", "", ""]
    assert np.array_equal(found["share"], table["share"], equal_nan=True)  # to the last bit
    assert found["rounds"].isna().tolist() == [False, True, False]
    assert found["rounds"].sum() == 4
    assert list(found[found["chosen"]]["count"]) == [1, 3]
    assert found[["name", "count"]].equals(table[["name", "count"]])


def test_a_missing_column_is_named_with_those_there(tmp_path):
    write_table(tmp_path / "t.csv", pd.DataFrame({"a": [1]}))
    with pytest.raises(UserError, match=r"t\.csv: no column b; it has a"):
        read_table(tmp_path / "t.csv", ("a", "b"))


def fail_after_writing(path):
    path.write_text("half")
    raise RuntimeError


def test_nothing_half_written_is_left(tmp_path):
    (tmp_path / "x").write_text("before")
    with pytest.raises(RuntimeError), atomic(tmp_path / "x") as temporary:
        fail_after_writing(temporary)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text() == "before"
