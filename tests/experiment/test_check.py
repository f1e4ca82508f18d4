from copy import deepcopy
from pathlib import Path

import pytest
import torchvision
import yaml
from snakemake.utils import update_config

from fedxray.core.errors import UserError
from fedxray.experiment.check import check_config, typed

BASE, SCHEMA = (yaml.safe_load(Path("config", name).read_text()) for name in ("config.yaml", "schema.yaml"))


def changed(key, value):
    made = deepcopy(BASE)
    *parents, last = key.split(".")
    section = made
    for parent in parents:
        section = section[parent]
    section[last] = value
    return made


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("training.lr", "1e-3", r"training\.lr: '1e-3' is not of type 'number'; write it as 0\.001"),
        ("training.learning_rate", 0.1, r"training\.learning_rate: unknown key; known here: .*lr"),
        ("trainig", {}, r"trainig: unknown key; did you mean training\?"),
        ("sites", ["us", "Europe"], r"sites\.1: 'Europe'"),
        ("model.name", "resnet81", r"model\.name: 'resnet81' is not known; did you mean resnet18\?"),
        ("model.name", "demo", r"image_size: the demo's network takes 224 pixels, not 64"),
        ("image_size", 8, r"image_size: 8 is less than the minimum of 16"),
        ("split.validation_fraction", 0.8, r"split: test_fraction and validation_fraction leave nothing"),
        ("dataset.source", "folder", r"dataset\.folder: empty"),
        ("sweep.grid", {"training.lr": [0.1, -1]}, r"sweep\.grid\.training\.lr: training\.lr: -1 is less"),
        ("sweep.grid", {"sites": [4]}, r"sweep\.grid\.sites: 4 is not a number of sites from 1 to 3"),
        ("sweep.points", [{"training.momentun": 1}], r"sweep\.points: training\.momentun cannot be swept"),
        ("sweep.grid", {"training.lr": []}, r"sweep\.grid\.training\.lr"),
        ("federation.where", "remote", r"federation\.admin_kit: empty"),
        ("federation.min_sites", 4, r"federation\.min_sites: 4 of 3 sites"),
        ("federation.absent", "drop", r"federation: absent: drop goes with min_sites from 1 to 2"),
        ("federation.min_sites", 2, r"federation: absent: drop goes with min_sites"),
    ],
)
def test_each_fault_is_a_line_that_names_its_key(key, value, said):
    with pytest.raises(UserError, match=said) as error:
        check_config(changed(key, value), SCHEMA)
    assert all(line.startswith("config: ") for line in str(error.value).splitlines())


def test_every_fault_is_told_at_once():
    made = changed("training.lr", -1)
    made["image_size"] = 8
    with pytest.raises(UserError) as error:
        check_config(made, SCHEMA)
    assert len(str(error.value).splitlines()) == 2


def test_words_of_the_command_line_become_what_the_schema_wants():
    made = typed(changed("training.lr", "0.01") | {"seeds": ["1", "2"], "experiment": "12"}, SCHEMA)
    assert (made["training"]["lr"], made["seeds"], made["experiment"]) == (0.01, [1, 2], "12")
    assert typed(changed("training.flip", "true"), SCHEMA)["training"]["flip"] is True
    assert typed(changed("sweep.grid", {"training.lr": ["0.1"]}), SCHEMA)["sweep"]["grid"] == {"training.lr": [0.1]}


@pytest.mark.parametrize("path", sorted(Path("config").glob("*.yaml")) + sorted(Path("config/sweeps").glob("*.yaml")))
def test_every_configuration_in_the_repository_is_valid(path):
    if path.name != "schema.yaml":
        made = deepcopy(BASE)
        update_config(made, yaml.safe_load(path.read_text()))
        check_config(made, SCHEMA)


def leaves(schema, path=""):
    for name, value in schema.get("properties", {}).items():
        if "properties" in value:
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


@pytest.mark.parametrize(("key", "schema"), list(leaves(SCHEMA)))
def test_every_value_has_a_description_and_a_bound(key, schema):
    assert schema.get("description"), key
    bounds = {
        "number": ("minimum", "exclusiveMinimum"),
        "integer": ("minimum",),
        "array": ("maxItems", "minItems"),
        "object": ("additionalProperties",),
    }
    kind = schema.get("type")
    if "enum" not in schema and kind in bounds:
        assert any(bound in schema for bound in bounds[kind]), key
    if "enum" not in schema and kind in ("number", "integer"):
        assert "maximum" in schema or "exclusiveMaximum" in schema, key


def test_the_schema_knows_torchvisions_classifiers():
    known = SCHEMA["properties"]["model"]["properties"]["name"]["enum"]
    assert known == ["compact", "demo", *torchvision.models.list_models(module=torchvision.models)]
