"""YAML files in which a key is twice or a number is octal, against lines and values counted by hand."""

import re

import pytest

from fedxray.core.errors import UserError
from fedxray.core.yaml_file import read_yaml


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\n\na: 3\n", ["a: twice in FILE, in lines 1 and 4; keep one"]),
        ("a:\n  b: {c: 1,\n    c: 2}\n", ["a.b.c: twice in FILE, in lines 2 and 3; keep one"]),
        ("- x: 1\n- {y: 1, 'y': 2}\n", ["1.y: twice in FILE, in lines 2 and 2; keep one"]),
        ("a: 1\na: 2\na: 3\n", [f"a: twice in FILE, in lines 1 and {line}; keep one" for line in (2, 3)]),
        ("a: 064\n", ["a: YAML reads 064 as 52 in FILE, line 1; write it as you mean it"]),
        ("b:\n- 8\n- 1:30\n", ["b.1: YAML reads 1:30 as 90 in FILE, line 3; write it as you mean it"]),
        ('{"a": 1,\n "a": 2}', ["a: twice in FILE, in lines 1 and 2; keep one"]),
    ],
)
def test_what_yaml_would_take_for_something_else_is_told_with_its_lines(tmp_path, text, said):
    path = tmp_path / "one.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_yaml(path)
    assert str(error.value).replace(str(path), "FILE").splitlines() == said


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a: {x: 1}\nb: {x: 1}\n", {"a": {"x": 1}, "b": {"x": 1}}),
        (
            "a: &a {x: 1}\nb: &b {y: 2}\nc: {<<: *a, <<: *b, x: 3}\n",
            {"a": {"x": 1}, "b": {"y": 2}, "c": {"x": 3, "y": 2}},
        ),
        ("a: &a [1]\nb: *a\n", {"a": [1], "b": [1]}),
        ("a: [0, -5, 0.5, '064', 0x10, 10_000, 08]\n", {"a": [0, -5, 0.5, "064", 16, 10_000, "08"]}),
    ],
)
def test_files_that_give_each_key_once_are_read(tmp_path, text, value):
    path = tmp_path / "one.yaml"
    path.write_text(text)
    assert read_yaml(path) == value


@pytest.mark.parametrize(
    ("data", "said"), [(b"a: [", "not YAML"), (b"a: caf\xe9", "not text in UTF-8"), (b"a: 2001-99-99", "not YAML")]
)
def test_a_file_that_is_no_yaml_is_named(tmp_path, data, said):
    path = tmp_path / "one.yaml"
    path.write_bytes(data)
    with pytest.raises(UserError, match=re.escape(f"{path}: {said}")):
        read_yaml(path)
