"""Plans of the workflow, in a copy of the repository: dry runs, and errors of the configuration."""

import os
import re
import shlex
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
from helpers.data import jpeg
from helpers.workflow import ENVIRONMENT, REPOSITORY, SMOKE, copy_repository, planned, snakemake
from PIL import Image

from fedxray.core.files import read_json
from fedxray.core.parameters import save_model

REMOTE = "federation={where: remote, admin_kit: kit}"
# A workflow that uses this one.
MODULE = """
module fedxray:
    snakefile: "{snakefile}"
    config: {{"experiment": "mine", "seeds": [1, 2], "image_size": 16, "dataset": {{"phantom": {{"patients": 60}}}}}}

use rule * from fedxray as xray_*

rule after:
    default_target: True
    input: rules.xray_all.input
    output: "done.txt"
    shell: "touch {{output}}"
"""
SWEPT = {"train_inprocess", "train_central", "train_alone"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return copy_repository(tmp_path_factory.mktemp("repository"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training={lr: 1e-3}", "training.lr: '1e-3' is not a number"),  # YAML reads it as text
        ("dataset={source: kermany, archive: /no/such.zip}", "dataset.archive: /no/such.zip does not exist"),
        ("sweep={grid: {training.lr: [0.1, fast]}}", "sweep.grid.training.lr: training.lr: 'fast'"),
        ("training=3", "training: 3 is not a section of keys"),
        ("dataset={sources: [{kermany: {}}, {nih: {}, wave: 3}]}", "dataset.sources: no entry is of wave 2, of 3"),
    ],
)
def test_an_error_of_the_configuration_is_one_line_before_any_job(copy, override, message):
    """One of each kind: tests/experiment/test_check.py has all."""
    done = snakemake(copy, "--dry-run", "--config", override)
    assert done.returncode == 1
    assert [message in line for line in done.stderr.splitlines() if line.startswith("error: ")] == [True]
    assert "Traceback" not in done.stderr
    assert not (copy / "results" / "phantom").exists()


def test_the_rules_run_the_python_that_runs_snakemake(copy, tmp_path):
    """Started by its path, without its environment active, where `python` is another one, or none."""
    (tmp_path / "python").write_text("#!/bin/sh\necho another python; exit 1\n")
    (tmp_path / "python").chmod(0o755)
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "results/other/config.json"]
    for path in (f"{tmp_path}:/usr/bin:/bin", "/usr/bin:/bin"):
        words = [*command, "--config", "experiment=other", "--forcerun", "record_config"]
        done = subprocess.run(words, cwd=copy, env=os.environ | {"PATH": path}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        assert (copy / "results" / "other" / "config.json").exists()


def test_a_pattern_with_braces_reaches_the_jobs(copy, tmp_path):
    for number, label in enumerate(("NORMAL", "PNEUMONIA")):
        (tmp_path / "images" / label).mkdir(parents=True)
        (tmp_path / "images" / label / f"p00{number}-1.png").write_bytes(jpeg(90))
    words = f"dataset={{source: folder, folder: '{tmp_path / 'images'}', patient: '/p([0-9]{{3}})-'}}"
    done = snakemake(copy, "results/braces/config.json", "--config", "experiment=braces", words)
    assert done.returncode == 0, done.stderr[-2000:]
    assert read_json(copy / "results" / "braces" / "config.json")["dataset"]["patient"] == "/p([0-9]{3})-"


def test_a_section_that_is_twice_in_any_configuration_file_is_one_line(copy, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("training: {lr: 0.1}\nseeds: [2]\ntraining: {batch_size: 8}\n")
    done = snakemake(copy, "--dry-run", "--configfile", str(path), "config/smoke.yaml")
    assert done.returncode == 1
    assert f"error: config: training: twice in {path}, in lines 1 and 3; keep one" in done.stderr.splitlines()
    assert "Traceback" not in done.stderr


def test_kaggle_fetches_and_an_archive_does_not(copy, real_zip):
    assert "fetch_kaggle" in planned(copy, "--configfile", "config/kermany.yaml")
    rules = planned(copy, "--configfile", "config/kermany.yaml", "--config", f"dataset={{archive: {real_zip}}}")
    assert "fetch_kaggle" not in rules
    assert {"catalogue_images", "train_federated"} <= set(rules)


def test_other_machines_train_instead_and_their_figures_are_drawn(copy):
    rules = planned(copy, "--config", REMOTE)
    assert {"register_sites", "train_remote", "train_alone_remote", "evaluate_remote", "plot_remote"} <= set(rules)
    assert not {"draw_phantom", "make_site", "train_central", "list_sites"} & set(rules)


def test_attacks_run_only_where_they_are_asked_for(copy):
    assert "audit_model" not in planned(copy)
    assert planned(copy, "--config", "privacy={audit: true}")["audit_model"] == 1


def test_a_start_is_prepared_where_one_is_given_and_every_run_begins_with_it(copy, tmp_path):
    save_model(tmp_path / "mein Modell.safetensors", {"a": np.zeros(2, np.float32)})
    words = ["--config", f"model={{initial: '{tmp_path / 'mein Modell.safetensors'}'}}", "experiment=started"]
    assert "prepare_start" not in planned(copy)
    done = snakemake(copy, "--dry-run", "--printshellcmds", *words)
    assert done.returncode == 0, done.stderr[-2000:]
    commands = re.findall(r"^Shell command: python .*/(\w+)\.py .+$", done.stdout, re.MULTILINE)
    assert commands.count("prepare_start") == 1
    begun = re.findall(r"(\w+)\.py .*--initial results/started/initial\.safetensors", done.stdout)
    assert sorted(begun) == ["train_alone", "train_central", "train_federated"]


@pytest.mark.parametrize(("name", "seeds"), [("continue", 2), ("waves", 3)])
def test_strategies_for_a_second_wave_go_on_from_the_models_of_the_first(copy, name, seeds):
    done = snakemake(copy, "--dry-run", "--printshellcmds", "--configfile", f"config/{name}.yaml")
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    begun = re.findall(r"/(train_\w+)\.py .*--initial \S*strategy=keep\S* .*strategy=(\w+)", done.stdout)
    assert sorted(set(begun)) == [
        (f"train_{mode}", strategy) for mode in ("alone", "central", "inprocess") for strategy in ("all", "new")
    ]
    assert len(begun) == 3 * 2 * seeds  # modes, strategies, seeds
    assert len(re.findall(r"/train_\w+\.py ", done.stdout)) == 3 * 4 * seeds
    waves = re.findall(r"--train-waves ([12 ]+) --output \S*strategy=(\w+)", done.stdout)
    assert dict(map(reversed, waves)) == {"all": "1 2", "keep": "1", "new": "2", "anew": "1 2"}


def test_a_gate_is_written_before_a_test_set_is_read(copy):
    (copy / "models" / "1").mkdir(parents=True)
    (copy / "models" / "1" / "model.safetensors").write_bytes(b"parameters")
    (copy / "models" / "1" / "config.json").write_text('{"image_size": 64, "fit": "stretch"}')
    words = ["--config", "promotion={predecessor: models/1}", "experiment=next"]
    rules = planned(copy, *words)
    assert rules["record_gate"] == rules["judge_model"] == 1
    assert planned(copy, "results/next/predictions.csv", *words)["record_gate"] == 1
    elsewhere = planned(copy, *words, REMOTE)
    assert elsewhere["record_gate"] == elsewhere["judge_remote"] == 1
    assert planned(copy, "results/next/at_sites.csv", *words, REMOTE)["record_gate"] == 1
    graph = snakemake(copy, "--rulegraph", *words).stdout
    names = {name: number for number, name in re.findall(r'(\d+)\[label = "(\w+)"', graph)}
    assert f"{names['judge_model']} -> {names['all']}\n" in graph  # so that a table that is lost is made again
    done = snakemake(copy, "--dry-run", *words, "image_size=32")
    assert "error: config: promotion.predecessor: it takes other images: image_size is 64, here 32" in done.stderr


def test_where_all_models_stay_at_their_hospitals_none_is_exported(copy):
    assert "export_model" not in planned(copy, "--config", REMOTE, "algorithm={name: ditto}")


def test_with_secure_aggregation_models_that_hospitals_train_alone_stay_there(copy):
    words = ["--config", REMOTE, "privacy={secure_aggregation: true}"]
    done = snakemake(copy, "--dry-run", "--printshellcmds", *words)
    stays = [line for line in done.stdout.splitlines() if "--stays" in line]
    assert len(stays) == 1
    assert "train_alone_remote.py" in stays[0]


def test_a_printed_command_can_be_run_by_hand(copy):
    """Every command is plain words, files and options. It has JSON only where the configuration becomes a file."""
    done = snakemake(copy, "--dry-run", "--printshellcmds", *SMOKE)
    commands = re.findall(r"^Shell command: (python .+)$", done.stdout, re.MULTILINE)
    assert len(commands) == 29
    assert sum("{" in command for command in commands) == 2
    (train,) = [command for command in commands if "train_central.py" in command]
    assert "--lr 0.002" in train
    assert shlex.split(train)[:2] == ["python", str(copy / "scripts" / "train_central.py")]


def test_it_is_planned_from_anywhere(copy, tmp_path):
    """By --snakefile and --directory, and as a module of another workflow, which overrides our defaults."""
    words = ["--snakefile", str(copy / "Snakefile"), "--directory", str(tmp_path / "there"), "--config", "experiment=x"]
    assert planned(tmp_path, *words)["train_federated"] == 1
    (tmp_path / "Snakefile").write_text(MODULE.format(snakefile=copy / "Snakefile"))
    rules = planned(tmp_path)
    assert (rules["xray_train_federated"], rules["xray_train_alone"], rules["after"]) == (2, 2, 1)
    done = snakemake(tmp_path, "--until", "xray_list_sites", "xray_provision_federation")
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert len(pd.read_csv(tmp_path / "results" / "mine" / "sites" / "registry.csv")) == 4
    (tmp_path / "Snakefile").write_text(MODULE.format(snakefile=copy / "Snakefile").replace("seeds", "sedes"))
    done = snakemake(tmp_path, "--dry-run")
    assert done.returncode == 1
    assert "error: config: sedes: unknown key; did you mean seeds?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("grid", "within", "folder"),
    [
        ("training.lr: [0.01, 0.1]", "", ""),
        ("training.lr: [0.01], split.partition: [iid, quantity]", ",within=partition=iid", "partition=iid/"),
        (
            "training.lr: [0.01], split.partition: [iid, dirichlet], split.alpha: [0.1]",
            ",within=partition=dirichlet+alpha=0.1",
            "partition=dirichlet+alpha=0.1/",
        ),
    ],
)
def test_a_node_of_a_cluster_plans_the_run_that_it_is_given(copy, grid, within, folder):
    """Snakemake hands it over as RULE:WILDCARD=VALUE,... and would split a value that has commas."""
    job = f"train_central:lr=0.01,epochs=2,seed=1{within}"
    words = [*SMOKE, "--config", f"sweep={{grid: {{{grid}}}}}", "--target-jobs", job]
    done = snakemake(copy, "--dry-run", "--printshellcmds", *words)
    assert f"/runs/central/{folder}lr=0.01,epochs=2,seed=1/model.safetensors" in done.stdout, done.stderr


@pytest.mark.parametrize("path", sorted((REPOSITORY / "config" / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_sweep_can_be_planned(copy, path):
    rules = planned(copy, "--configfile", f"config/sweeps/{path.name}")
    assert set(rules) >= SWEPT | {"confirm_federated"}
    assert rules["resample_images"] == rules["provision_federation"] == rules["choose_points"] == 1


READ = {"catalogue_images", "resample_images"}  # the rules that read the images


def draw(path, seed, time=None):
    """An image of 16 x 16 pixels, of the same size for each seed; `time` is that of the file, in seconds."""
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    if time is not None:
        os.utime(path, (time, time))


def own_images(folder):
    """Six images of each class."""
    for number in range(12):
        draw(folder / ("NORMAL", "PNEUMONIA")[number % 2] / f"p{number}.bmp", number)
    return folder


def due(copy, target, experiment, dataset):
    """The rules that a dry run up to a file of the experiment's data would run."""
    words = [f"results/{experiment}/data/{target}", "--config", f"experiment={experiment}", "image_size=16", dataset]
    return set(planned(copy, *words)) - {"total"}


def make(copy, target, experiment, dataset):
    """Make that file."""
    words = [f"results/{experiment}/data/{target}", "--config", f"experiment={experiment}", "image_size=16", dataset]
    done = snakemake(copy, *words)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def test_the_content_of_a_folder_decides_what_is_due(copy, tmp_path):
    images = own_images(tmp_path / "images")
    about = ("pixels.npy", "own", f"dataset={{source: folder, folder: {images}, patient: image}}")
    make(copy, *about)
    draw(images / "NORMAL" / "p0.bmp", 0, 1_000_000)  # the same pixels with another time
    (images / "README.txt").write_text("x")
    (images / "NORMAL" / ".DS_Store").write_text("x")
    os.utime(images)
    assert due(copy, *about) == set()
    draw(images / "NORMAL" / "p0.bmp", 99, 1_000_000)  # other pixels with the same size and time
    assert due(copy, *about) == READ
    assert due(copy, *about) == READ  # the dry run before has hidden nothing
    draw(images / "NORMAL" / "p0.bmp", 0, 1_000)
    assert due(copy, *about) == set()
    (images / "NORMAL" / "p2.bmp").rename(images / "PNEUMONIA" / "p2.bmp")
    make(copy, *about)
    table = pd.read_csv(copy / "results" / "own" / "data" / "catalogue.csv", index_col="image")
    assert table["label"].to_dict()["PNEUMONIA/p2.bmp"] == 1
    assert due(copy, *about) == set()


def test_an_archive_that_is_replaced_by_an_older_one_is_due(copy, tmp_path):
    path = tmp_path / "images.zip"
    about = ("catalogue.csv", "archived", f"dataset={{source: kermany, archive: {path}, patient: image}}")

    def pack(folder):
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(folder.rglob("*.bmp")):
                archive.write(file, file.relative_to(folder))

    images = own_images(tmp_path / "images")
    pack(images)
    make(copy, *about)
    os.utime(path)
    assert due(copy, *about) == set()
    draw(images / "NORMAL" / "p0.bmp", 99)
    pack(images)
    os.utime(path, (1_000_000, 1_000_000))
    assert due(copy, *about) == {"catalogue_images"}


def test_an_image_that_changes_during_a_run_is_due_and_jobs_look_at_nothing(tmp_path):
    """It changes when its catalogue has been made, just before the next step reads it. Jobs run as on a cluster."""
    copy, images, other = copy_repository(tmp_path / "copy"), own_images(tmp_path / "images"), tmp_path / "other.bmp"
    about = ("pixels.npy", "changing", f"dataset={{source: folder, folder: {images}, patient: image}}")
    draw(other, 99)
    step = copy / "scripts" / "resample_images.py"
    change = f"import os\nos.replace({str(other)!r}, {str(images / 'NORMAL' / 'p0.bmp')!r})\n"
    step.write_text(change + step.read_text())
    done = snakemake(
        copy, "results/changing/data/pixels.npy", "--config", "experiment=changing", "image_size=16", about[2]
    )
    assert "NORMAL/p0.bmp has changed since the catalogue was made; run the workflow again" in done.stdout + done.stderr
    assert not other.exists()
    (record,) = (copy / ".snakemake" / "fedxray-content").iterdir()
    before = record.read_bytes()
    words = ["--config", "experiment=changing", "image_size=16", about[2], "--target-jobs", "catalogue_images:"]
    done = snakemake(copy, "--mode", "remote", "--force", "--nolock", "--dry-run", *words)
    assert "catalogue_images" in done.stdout, done.stderr
    assert record.read_bytes() == before
    assert due(copy, *about) == READ
    assert record.read_bytes() != before


@pytest.mark.parametrize(
    ("visible", "more", "limit"),
    [
        ("0,1", (), "8"),
        ("0", ("--resources", "gpu=7"), "7"),
        ("0", ("--executor", "slurm", "--jobs", "2"), "None"),
    ],
)
def test_on_one_machine_four_jobs_share_each_gpu_unless_the_user_says_how_many(
    copy, tmp_path, monkeypatch, visible, more, limit
):
    monkeypatch.setitem(ENVIRONMENT, "CUDA_VISIBLE_DEVICES", visible)
    told = tmp_path / "Snakefile"
    limits = "workflow.global_resources"
    told.write_text(
        f'include: "{copy}/Snakefile"\nprint("limit:", {limits}["gpu"].value if "gpu" in {limits} else "None")\n'
    )
    done = snakemake(copy, "--snakefile", str(told), "--dry-run", *more)
    assert f"limit: {limit}" in done.stdout.splitlines()
