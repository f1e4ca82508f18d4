"""Plans of several sources, and of external tests; test_graph.py has a run with one."""

import pytest
from conftest import REAL
from helpers.workflow import SMOKE, copy_repository, planned, snakemake


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return copy_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def archives():
    paths = {name: REAL / f"{name}.zip" for name in ("chest-xray-pneumonia-224", "nih-1000-224")}
    for path in paths.values():
        if not path.exists():
            pytest.skip(f"{path.name} (real radiographs) is not on this machine")
    return paths.values()


def test_a_natural_federation_is_planned_with_the_users_archives_and_fetches_what_is_missing(copy, archives):
    natural, (kermany, nih) = ["--configfile", "config/natural.yaml"], archives
    rules = planned(copy, *natural)
    assert (rules["fetch_kaggle"], rules["catalogue_images"], rules["make_site"]) == (2, 2, 3)
    entries = f"{{kermany: {{archive: {kermany}}}, site: guangzhou}}, {{nih: {{archive: {nih}}}, site: nih}}"
    rules = planned(copy, *natural, "--config", f"dataset={{sources: [{entries}]}}")
    assert "fetch_kaggle" not in rules
    assert (rules["catalogue_images"], rules["resample_images"], rules["draw_cohort"]) == (2, 2, 1)
    assert rules["train_inprocess"] == 5 * 3


def test_an_external_test_is_planned_of_a_real_archive(copy, archives):
    kermany, nih = archives
    section = f"{{source: kermany, archive: {kermany}, external: [{{nih: {{archive: {nih}}}}}]}}"
    words = made(copy, f"dataset={section}")
    assert words[words.index("--name") + 1] == "nih"
    assert words[words.index("--same-patients") + 1] == "--fit"  # no source of training is of the same data set
    section = f"{{source: nih, archive: {nih}, external: [{{nih: {{archive: {kermany}}}}}]}}"
    words = made(copy, f"dataset={section}")
    assert words[words.index("--same-patients") + 1] == "results/phantom/data/catalogue.csv"


def made(copy, override):
    """The words of the command that would make the external test."""
    done = snakemake(copy, "--dry-run", "--printshellcmds", "--config", override)
    (command,) = [line for line in done.stdout.splitlines() if "make_external.py" in line]
    return command.split()


def test_without_external_tests_no_command_speaks_of_them(copy):
    done = snakemake(copy, "--dry-run", "--printshellcmds", *SMOKE)
    assert "--external" not in done.stdout
    assert "/external/" not in done.stdout
    assert "make_external" not in planned(copy, *SMOKE)


def test_an_external_test_that_cannot_be_is_one_line_before_any_job(copy):
    done = snakemake(copy, "--dry-run", *SMOKE, "--config", "dataset={external: [{phantom: {}, site: asia}]}")
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert [line.partition(";")[0] for line in lines] == [
        "error: config: dataset.external.0.phantom: an external test cannot be called asia"
    ]
