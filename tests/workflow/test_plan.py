"""Plans of the workflow, in a copy of the repository: dry runs, and errors of the configuration."""

import re

import pytest
from helpers.workflow import REPOSITORY, copy_repository, planned, snakemake

SWEPT = {"train_inprocess", "train_central", "train_alone"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return copy_repository(tmp_path_factory.mktemp("repository"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training={lr: 1e-3}", "training.lr: '1e-3' is not of type 'number'"),  # YAML reads it as text
        ("training={learning_rate: 0.1}", "training.learning_rate: unknown key"),
        ("sites=[us, shared]", "sites.1"),
        ("dataset={source: folder}", "dataset.folder: empty"),
        ("dataset={source: kaggle, archive: /no/such.zip}", "dataset.archive: /no/such.zip does not exist"),
        ("sweep={grid: {training.lr: [0.1, fast]}}", "sweep.grid.training.lr: training.lr: 'fast'"),
        ("sweep={grid: {image_size: [32]}}", "sweep.grid: image_size cannot be swept"),
    ],
)
def test_an_error_of_the_configuration_is_one_line_before_any_job(copy, override, said):
    done = snakemake(copy, "--dry-run", "--config", override)
    assert done.returncode == 1
    assert [said in line for line in done.stderr.splitlines() if line.startswith("error: ")] == [True]
    assert "Traceback" not in done.stderr
    assert not (copy / "results" / "phantom").exists()


def test_kaggle_fetches_and_an_archive_does_not(copy, real_zip):
    assert "fetch_kaggle" in planned(copy, "--configfile", "config/kaggle.yaml")
    rules = planned(copy, "--configfile", "config/kaggle.yaml", "--config", f"dataset={{archive: {real_zip}}}")
    assert "fetch_kaggle" not in rules
    assert {"catalogue_images", "train_federated"} <= set(rules)


def test_other_machines_train_instead_and_their_figures_are_drawn(copy):
    rules = planned(copy, "--config", "federation={where: remote, admin_kit: kit}")
    assert {"register_sites", "train_remote", "train_alone", "evaluate_remote", "plot_remote"} <= set(rules)
    assert not {"draw_phantom", "make_site", "train_central", "list_sites"} & set(rules)


def test_what_a_remote_job_says_after_ctrl_c_is_seen():
    """A Ctrl-C reaches tee as well, which must outlive the script: that aborts the job, and says so."""
    commands = re.findall(r"tee .*log:q", (REPOSITORY / "rules" / "remote.smk").read_text())
    assert len(commands) == 5
    assert set(commands) == {"tee -i {log:q"}


@pytest.mark.parametrize("path", sorted((REPOSITORY / "config" / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_sweep_can_be_planned(copy, path):
    rules = planned(copy, "--configfile", f"config/sweeps/{path.name}")
    assert set(rules) >= SWEPT | {"confirm_federated"}
    assert rules["resample_images"] == rules["provision_federation"] == rules["choose_points"] == 1
