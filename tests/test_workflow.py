"""The workflow itself, in a copy of the repository: dry runs, errors of the configuration, and the whole graph once."""

import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

REPOSITORY = Path(__file__).parents[1]
PARTS = [
    "Snakefile",
    "rules",
    "scripts",
    "fedxray",
    "config",
    "profiles",
    "report",
    "environment.yml",
    "requirements.txt",
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)
    return folder


def snakemake(folder, *arguments):
    command = ["snakemake", "--cores", "2", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def planned(folder, *arguments):
    """The rules that a dry run would run."""
    done = snakemake(folder, "--dry-run", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout + done.stderr
    return {line.split()[0] for line in text.splitlines() if len(line.split()) == 2 and line.split()[1].isdigit()}


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("training={lr: 1e-3}", "lr"),  # YAML reads it as a string
        ("training={learning_rate: 0.1}", "learning_rate"),
        ("sites=[us, Europe]", "Europe"),
        ("sites=[us, shared]", "shared"),
        ("image_size=8", "image_size"),
        ("dataset={source: folder}", "dataset.folder"),
        ("dataset={source: kaggle, archive: /no/such.zip}", "/no/such.zip"),
    ],
)
def test_an_error_of_the_configuration_names_the_key_before_any_job(copy, override, key):
    done = snakemake(copy, "--dry-run", "--config", override)
    assert done.returncode != 0
    assert key in done.stdout + done.stderr
    assert not (copy / "results" / "phantom").exists()


def test_kaggle_fetches_and_an_archive_does_not(copy, real_zip):
    assert "fetch_kaggle" in planned(copy, "--configfile", "config/kaggle.yaml")
    rules = planned(copy, "--configfile", "config/kaggle.yaml", "--config", f"dataset={{archive: {real_zip}}}")
    assert "fetch_kaggle" not in rules
    assert {"catalogue_images", "train_federated"} <= rules


def test_the_whole_graph_then_only_what_a_change_touches(copy):
    smoke = ["--configfile", "config/smoke.yaml"]
    done = snakemake(copy, *smoke)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    results = copy / "results" / "smoke"
    table = pd.read_csv(results / "comparison.csv")
    assert len(table) == 5 * 4
    assert set(table["mode"]) == {"federated", "central", "local"}
    assert not list(results.rglob("workspace"))
    assert "Synthetic phantom data" in (results / "report" / "data.html").read_text()

    assert "Nothing to be done" in "".join([(d := snakemake(copy, *smoke)).stdout, d.stderr])
    before = {"draw_phantom", "catalogue_images", "resample_images", "draw_cohort", "make_site", "provision_federation"}
    changed = planned(copy, *smoke, "--config", "training={lr: 0.01}")
    assert {"train_federated", "train_central", "train_local", "compare_runs"} <= changed
    assert not changed & before

    added = planned(copy, *smoke, "--config", "sites=[us, europe, asia, africa]")
    assert "resample_images" not in added
    assert {"provision_federation", "draw_cohort"} <= added

    with (copy / "fedxray" / "fedavg.py").open("a") as file:
        file.write("\n# edited\n")
    edited = planned(copy, *smoke)
    assert "train_federated" in edited
    assert not edited & (before | {"train_central", "train_local"})

    done = snakemake(copy, *smoke, "--report", "report.html")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (copy / "report.html").stat().st_size > 1_000_000
