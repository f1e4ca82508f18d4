"""Promotion and rollback: what is let through, what is refused, and that nothing is half done."""

import fcntl
import json
import os
import sys

import numpy as np
import pandas as pd
import pytest
from helpers.data import jpeg, make_settings, make_sites

from fedxray.analysis.gate import BELONGS, Rules, Scored, judge, measure
from fedxray.core.errors import UserError
from fedxray.core.files import read_json, sha256, write_json, write_table
from fedxray.core.parameters import save_model
from fedxray.data.registry import tabulate_cohorts
from fedxray.experiment.folder import Folder
from fedxray.operators import versions as library
from fedxray.operators.server import main
from fedxray.operators.versions import promote, rollback
from fedxray.training.exported import predict_images, write_config
from fedxray.training.models import build, get_parameters

SITES = ("us", "asia")


def experiment(root, seed):
    """The folder of an experiment with an exported model that was never trained, and the registry of its data."""
    folder, settings = Folder(root), make_settings(image_size=16, seed=seed)
    make_sites(folder.sites, SITES)
    cards = [read_json(folder.sites / site / "card.json") for site in SITES]
    write_table(folder.registry, tabulate_cohorts({"": cards}))
    folder.model.mkdir()
    save_model(folder.model / "model.safetensors", get_parameters(build(settings)))
    (folder.model / "model.onnx").write_bytes(b"onnx")
    origin = {"experiment": root.name, "cohort": "", "mode": "federated", "run": "federated/lr=0.1"}
    write_config(folder.model, settings, threshold=0.5, origin=origin, fit="stretch", note="")
    return folder


def gate(folder, predecessor, loss=0.0):
    """Let the model be judged against the one in `predecessor`, on made-up predictions; asia loses by `loss`."""
    rules = Rules(sha256(predecessor / "model.safetensors"), SITES, 0.02, 0.3, 0.0, 20, 0.95, 1)
    rules.write(folder.gate_rules, read_before=False)
    rng, parts = np.random.default_rng(0), {}
    for site in SITES:
        labels = np.arange(200) % 2.0
        before = np.clip(0.25 + 0.5 * labels + 0.05 * rng.normal(size=200), 0, 1)
        swapped = (site == "asia") & (rng.random(200) < loss)
        after = np.where(swapped, 1 - before, before)
        parts[site] = Scored(labels, np.arange(200).astype(str), after, before, np.ones(200, int))
    measured = {site: measure(site, part, rules.seed, rules.replicates) for site, part in parts.items()}
    table = judge(measured, rules, {}, "Nothing is known.")
    digests = sha256(folder.model / "model.safetensors"), rules.predecessor_sha256, rules.sha256
    write_table(folder.gate, table.assign(**dict(zip(BELONGS, digests, strict=True))))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folders of two experiments: `first`, and `second` without a gate; not to be changed."""
    root = tmp_path_factory.mktemp("results")
    return experiment(root / "first", 1), experiment(root / "second", 2)


@pytest.fixture
def second(made, tmp_path):
    """The second experiment in a folder of its own, without a gate."""
    folder = Folder(tmp_path / "second")
    folder.root.mkdir()
    for path in made[1].root.iterdir():
        (folder.root / path.name).symlink_to(path)
    return folder


@pytest.fixture
def models(made, tmp_path):
    """A folder with one version, that of the first experiment."""
    promote(made[0].root, tmp_path / "models", "A. Meyer")
    return tmp_path / "models"


@pytest.fixture
def make_image(tmp_path):
    path = tmp_path / "one.jpg"
    path.write_bytes(jpeg(90))
    return path


def rows(models):
    return pd.read_csv(models / "registry.csv", dtype=str, keep_default_na=False).to_dict("records")


def everything(models):
    """Each file below a folder with its bytes, and each link with where it leads; not the lock."""
    return {
        path.relative_to(models): os.readlink(path) if path.is_symlink() else path.is_dir() or path.read_bytes()
        for path in models.rglob("*")
        if path.name != ".lock"
    }


def test_the_first_version_replaces_none_and_its_card_says_of_which_data_it_is(made, models):
    (row,) = rows(models)
    card = read_json(models / "current" / "config.json")
    assert [row[key] for key in ("event", "version", "parent", "who")] == ["promoted", "1", "", "A. Meyer"]
    assert row["model_sha256"] == sha256(models / "1" / "model.safetensors") == card["sha256"]["model.safetensors"]
    data = {site: read_json(made[0].sites / site / "card.json")["sha256"] for site in SITES}
    assert json.loads(row["data"]) == card["lineage"]["data"] == data
    assert card["lineage"]["version"] == "1"
    assert {path.name for path in (models / "1").iterdir()} == {"config.json", "model.onnx", "model.safetensors"}
    assert all(path.stat().st_mode & 0o777 == 0o444 for path in (models / "1").iterdir())


def test_a_version_that_passed_its_gate_replaces_the_one_before_and_a_rollback_goes_back(second, models, make_image):
    gate(second, models / "1")
    assert promote(second.root, models, "B") == "2"
    assert os.readlink(models / "current") == "2"
    first, row = rows(models)
    assert row["parent"] == "1"
    table = pd.read_csv(second.gate)
    lows = table[table["what"].str.startswith("AUROC")]
    assert float(row["worst_low"]) == lows["low"].min() == 0  # the same predictions
    assert float(row["worst_calibration"]) == table["value"][table["what"] == "calibration error"].max()
    lineage = read_json(models / "2" / "config.json")["lineage"]
    assert (lineage["parent"], lineage["gate_sha256"]) == ("1", sha256(models / "2" / "gate.csv"))
    assert sha256(models / "2" / "gate.csv") == sha256(second.gate) == row["gate_sha256"]
    assert predict_images(models / "current", [make_image])[0]  # with its lineage it is a model as before
    assert rollback(models, "C") == "1"
    assert os.readlink(models / "current") == "1"
    assert [row["event"] for row in rows(models)] == ["promoted", "promoted", "rolled back"]
    assert rows(models)[0] == first
    assert rows(models)[2]["model_sha256"] == first["model_sha256"]
    with pytest.raises(UserError, match=r"version 1 is the first, and replaced none; say which by --to"):
        rollback(models, "C")
    assert rollback(models, "C", "2") == "2"
    with pytest.raises(UserError, match=r"version 2 is the current one already"):
        rollback(models, "C", "2")
    with pytest.raises(UserError, match=r"no version 7; there are 1, 2"):
        rollback(models, "C", "7")


def test_what_does_not_hold_or_does_not_belong_together_is_refused_and_changes_nothing(made, second, models, tmp_path):
    before = everything(models)

    def refused(said, results=second.root, who="B"):
        with pytest.raises(UserError, match=said):
            promote(results, models, who)
        assert everything(models) == before

    refused(r"gate\.json: missing, so no gate was written before the test sets were read")
    gate(second, models / "1", loss=0.4)
    refused(r"the gate does not hold: On the 200 test patients of asia the AUROC is 0\..* lower")
    gate(second, models / "1")
    refused(r"--who '': name who decides", who="")
    card = read_json(second.model / "config.json")
    write_json(second.model / "config.json", card | {"sha256": {}})
    refused(r"its config\.json has no checksum of model\.safetensors; export the model again")
    write_json(second.model / "config.json", card)
    refused(r"version 1 already; to use it again: fedxray-server rollback --to 1$", results=made[0].root)
    table = pd.read_csv(second.gate, keep_default_na=False)
    write_table(second.gate, table.assign(candidate_sha256="0" * 64))
    refused(r"gate\.csv: of another model")
    write_table(second.gate, table[table["hospital"] != "asia"])
    refused(r"not the gate of the rules beside it")
    second.gate.unlink()
    refused(r"gate\.csv: missing")
    second.gate_rules.unlink()
    gate(second, made[1].model)
    refused(r"judged against another model than the current version 1")
    second.gate_rules.unlink()
    gate(second, models / "1")
    write_json(second.gate_rules, read_json(second.gate_rules) | {"margin": 0.4})
    refused(r"gate\.json: changed since it was written")
    second.gate_rules.unlink()
    gate(second, models / "1")
    with pytest.raises(UserError, match=r"of a predecessor that is no version here"):
        promote(second.root, tmp_path / "others", "B")
    broken = tmp_path / "model"
    broken.mkdir()
    for path in made[1].model.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    (broken / "model.onnx").write_bytes(b"another")
    second.model.unlink()
    broken.rename(second.model)
    refused(r"model\.onnx: not the file that config\.json was written for")


def test_a_version_whose_files_were_changed_is_not_gone_back_to(second, models):
    gate(second, models / "1")
    promote(second.root, models, "B")
    path = models / "1" / "model.safetensors"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    before = everything(models)
    with pytest.raises(UserError, match=r"1/model\.safetensors: not what was promoted"):
        rollback(models, "C")
    assert everything(models) == before


def test_a_file_that_is_gone_and_a_registry_that_is_none_are_one_line(second, models):
    gate(second, models / "1")
    promote(second.root, models, "B")
    (models / "1").chmod(0o755)
    (models / "1" / "model.onnx").unlink()
    before = everything(models)
    with pytest.raises(UserError, match=r"1/model\.onnx: not what was promoted"):
        rollback(models, "C")
    assert everything(models) == before
    registry = models / "registry.csv"
    head, one, two = registry.read_text().splitlines(keepends=True)
    others = b"", b"\xff", b"a,b\n1,2\n", head.encode(), (head + one + two.replace("promoted", "rolled back")).encode()
    for content in others:
        registry.write_bytes(content)
        for call in (lambda: rollback(models, "C"), lambda: promote(second.root, models, "C")):
            with pytest.raises(UserError, match=r"registry\.csv: not a registry of versions; put the file back"):
                call()
    assert registry.read_bytes() == content


def test_a_version_of_which_nobody_knows_the_data_is_not_made(second, tmp_path):
    (second.root / "sites").unlink()
    with pytest.raises(UserError, match=r"sites/registry\.csv: missing, and says which data a version is of"):
        promote(second.root, tmp_path / "others", "B")
    assert not (tmp_path / "others").exists()


def test_a_promotion_that_is_cut_short_is_finished_or_told_by_the_next_command(second, models, monkeypatch):
    gate(second, models / "1")
    write = library.write_table

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(library, "write_table", killed)
    with pytest.raises(KeyboardInterrupt):
        promote(second.root, models, "B")
    assert (len(rows(models)), os.readlink(models / "current")) == (1, "1")
    monkeypatch.setattr(library, "write_table", write)
    with pytest.raises(UserError, match=r"models/2: there, but not in the registry, .* remove it"):
        promote(second.root, models, "B")
    (models / "2").rename(models.with_name("away"))
    monkeypatch.setattr(library, "_point", lambda models: None)  # killed between the registry and the link
    promote(second.root, models, "B")
    assert (len(rows(models)), os.readlink(models / "current")) == (2, "1")
    monkeypatch.undo()
    with pytest.raises(UserError, match="already"):
        rollback(models, "C", "2")
    assert os.readlink(models / "current") == "2"


def test_two_at_once_are_not_let_in(second, models):
    before = everything(models)
    with (models / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for call in (lambda: promote(second.root, models, "B"), lambda: rollback(models, "B")):
            with pytest.raises(UserError, match="another promote or rollback is at work"):
                call()
    assert everything(models) == before


def test_the_commands_say_what_is_current_and_refuse_in_one_line(made, tmp_path, monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["fedxray-server", *map(str, words), "--models", str(tmp_path / "m")])
        try:
            main()
        except SystemExit as end:
            return end.code

    assert run("rollback", "--who", "A").startswith(f"error: {tmp_path / 'm' / 'registry.csv'}: missing; promote")
    assert run("promote", made[0].root, "--who", "A") is None
    assert capsys.readouterr().out == f"{tmp_path / 'm' / '1'}: version 1, the current one\n"
    assert run("promote", tmp_path, "--who", "A").startswith(f"error: {tmp_path / 'model' / 'config.json'}: no such")
    assert run("rollback", "--who", "A").startswith("error: ")
    (tmp_path / "m" / "registry.csv").write_text("event\n")
    assert run("rollback", "--who", "A").endswith("not a registry of versions; put the file back")
