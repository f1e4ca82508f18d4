"""How a source is read: from the configuration to a script's command line and back, and what no reading can have."""

import shlex
import subprocess
import sys
from argparse import ArgumentParser
from dataclasses import fields

import pytest

from fedxray.core.errors import UserError
from fedxray.data import datasets
from fedxray.data.reading import DEFAULT, Reading, add_options, from_options, over, reading_of


def parsed(words, default=None):
    parser = ArgumentParser(exit_on_error=False)
    add_options(parser)
    return from_options(parser.parse_args(words), default)


GIVEN = [
    {},
    {"patient": "image", "unlabelled": "drop", "bad_images": "drop", "subfolders": "take", "burned_in": "take"},
    {"patient": r"-(\d+) x/"},  # begins as an option does
    {"columns": {"image": "Image Index", "label": "Finding Labels", "patient": "Patient ID"}},
    {"labels": {"Viral Pneumonia": 1, "No Finding": 0, "Covid-19": "drop", "a=b": 1}, "multiple": "any"},
    {"labels": {-1: "drop", "-2.5": 1}},  # CheXpert's word for uncertain
    {"sites": {"St. Mary's": "us", "-x": "asia", "test scanner": "drop"}, "splits": {"hold out": "test"}},
    {"views": ["PA", ""], "greys": [-1024, 3071.5]},
    {"columns": {"wave": "Study Date"}, "waves": ["2024-01-01", "20250101"]},
    {"wave": 2},
    {"site": "guangzhou", "table": "Data_Entry*.csv", "suffix": ".dcm", "anywhere": True, "known": ["*.pdf", "a b/*"]},
]


@pytest.mark.parametrize("values", [*GIVEN, *(dataset.reading for dataset in datasets.DATASETS.values())])
def test_a_reading_survives_the_command_line(values):
    reading = reading_of(values, "dataset")
    assert parsed(shlex.split(shlex.join(reading.options()))) == reading
    assert {field.name for field in fields(Reading) if vars(reading)[field.name] != vars(DEFAULT)[field.name]} == {
        *values
    }


def test_the_values_of_yaml_are_words():
    reading = reading_of({"labels": {1: 0, 0: 1, "x": "drop"}, "columns": None, "patient": ""}, "dataset")
    assert reading.labels == {"1": "0", "0": "1", "x": "drop"}
    assert reading.columns == DEFAULT.columns == {}
    assert reading_of({"source": "folder", "phantom": {"patients": 3}}, "dataset") == DEFAULT


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"labels": {"a": 2}}, r"^dataset\.labels: a: 2; it is 0 \(normal\), 1 \(pneumonia\) or drop$"),
        ({"labels": {"a": "1.0"}}, r"dataset\.labels: a: 1\.0"),
        ({"labels": {True: 1}}, r"^dataset\.labels: YAML reads an unquoted yes, .* as no word; put it in quotes$"),
        ({"labels": {"a": False}}, r"^dataset\.labels\.a: YAML reads"),
        ({"labels": {"a": None}}, r"^dataset\.labels\.a: YAML reads"),
        ({"sites": {None: "us"}}, r"^dataset\.sites: YAML reads"),
        ({"splits": {"a": "Test"}}, r"^dataset\.splits: a: Test; it is train, val, test or drop$"),
        ({"columns": {"person": "x"}}, r"^dataset\.columns: person is not known; a column is one of image, label, pat"),
        ({"greys": [4095, 0]}, r"^dataset\.greys: give two numbers, the lowest grey and the highest"),
        ({"greys": [0]}, r"^dataset\.greys: give two numbers"),
        ({"waves": ["1.1.2024"]}, r"^dataset\.waves: '1\.1\.2024' is no day; write it as 2024-03-31$"),
        ({"waves": ["2024-02-30"]}, r"^dataset\.waves: '2024-02-30' is no day"),
        (
            {"waves": ["2024-02-01", "20240201"]},
            r"^dataset\.waves: give the first day of each further wave, an ear",
        ),
        ({"waves": ["2024-02-01", "2023-02-01"]}, r"^dataset\.waves: give the first day of each"),
        ({"wave": "0"}, r"^dataset\.wave: 0 is no wave; give a whole number from 1$"),
        ({"wave": "1.5"}, r"^dataset\.wave: 1\.5 is no wave"),
    ],
)
def test_what_no_reading_can_have(values, said):
    with pytest.raises(UserError, match=said):
        reading_of(values, "dataset")


def test_a_command_line_is_above_a_data_set_and_mappings_are_joined():
    nih = datasets.get("nih").reading
    reading = parsed(["--labels", "Infiltration=1", "No Finding=drop", "--multiple", "only"], nih)
    assert (reading.labels["Infiltration"], reading.labels["No Finding"], reading.labels["Pneumonia"]) == (
        "1",
        "drop",
        "1",
    )
    assert (reading.multiple, reading.table, reading.anywhere) == ("only", "Data_Entry*.csv", True)
    assert parsed([], nih) == reading_of(nih, "dataset")
    assert over({"a": 1, "b": {"x": 1}}, {"a": "", "b": {"y": 2}, "c": 3}) == {"a": 1, "b": {"x": 1, "y": 2}, "c": 3}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--labels", "Covid"], "^--labels: Covid: write it as WORD=VALUE$"),
        (["--labels", "Covid=2"], r"--reading\.labels: Covid: 2"),
        (["--greys", "9", "1"], r"--reading\.greys: give two numbers"),
    ],
)
def test_a_command_line_that_no_reading_can_have(words, said):
    with pytest.raises(UserError, match=said):
        parsed(words)


def test_a_plan_loads_no_library_for_it():
    code = "import sys; import fedxray.data.reading; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "pandas", "PIL", "pydicom", "yaml"} & set(done.stdout.split())
