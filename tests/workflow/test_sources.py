"""Several sources, and external tests: their plans, and a whole run with an external test."""

import pandas as pd
import pytest
from conftest import REAL
from golden.fingerprints import TABLES, compare, fingerprints
from helpers.workflow import SMOKE, copy_repository, planned, snakemake

from fedxray.core.files import read_table, write_table

EXTERNAL = ["--config", "dataset={external: [{phantom: {patients: 40, seed: 7}}]}"]
TRAINING = {"train_federated", "train_central", "train_alone"}


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
    assert rules["train_federated"] == 1


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


@pytest.fixture(scope="module")
def tested(copy):
    """The results of config/smoke.yaml with an external test."""
    done = snakemake(copy, *SMOKE, *EXTERNAL)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return copy / "results" / "smoke"


def test_the_external_test_has_rows_a_figure_and_a_section(tested):
    comparison, differences = read_table(tested / "comparison.csv"), read_table(tested / "differences.csv")
    rows = comparison[comparison["test_set"] == "phantom"]
    assert list(zip(rows["mode"], rows["site"], strict=True)) == [
        *(("federated", "pooled"), ("central", "pooled")),
        *(("alone", site) for site in ("asia", "europe", "us")),
    ]
    assert set(rows["patients"]) == {40}
    assert ((rows["auroc_low"] <= rows["auroc"]) & (rows["auroc"] <= rows["auroc_high"])).all()
    assert (differences["test_set"] == "phantom").sum() == 4 * differences["metric"].nunique()
    for file in ("figures/external.svg", "figures/external.png", "external/phantom/account.html"):
        assert (tested / file).stat().st_size > 0
    assert "<h2>External tests</h2>" in (tested / "report" / "conclusions.html").read_text()
    assert "phantom" not in set(read_table(tested / "sites" / "registry.csv")["site"])


def test_everything_else_is_as_it_was_without_an_external_test(tested, tmp_path):
    """Models, curves and the rows of hospitals: the golden results of the experiment without one."""
    (tmp_path / "runs").symlink_to(tested / "runs")
    for name in TABLES:
        if (tested / f"{name}.csv").exists():
            table = pd.read_csv(tested / f"{name}.csv", dtype=str, keep_default_na=False)
            column = "set" if "set" in table else "test_set"
            write_table(tmp_path / f"{name}.csv", table[table[column] != "phantom"] if column in table else table)
    compare("smoke", fingerprints(tmp_path))


def test_another_external_test_trains_nothing_again(copy, tested):
    other = "{phantom: {patients: 30, seed: 8}, site: other}"
    section = f"dataset={{external: [{{phantom: {{patients: 40, seed: 7}}}}, {other}]}}"
    rules = planned(copy, *SMOKE, "--config", section)
    assert not set(rules) & (TRAINING | {"draw_cohort", "make_site", "list_sites", "choose_points"})
    assert (rules["draw_phantom"], rules["catalogue_images"], rules["make_external"]) == (1, 1, 1)
    assert {"predict_chosen", "compare_runs", "contrast_models", "plot_results", "render_pages"} <= set(rules)
    without = planned(copy, *SMOKE)
    assert not set(without) & (TRAINING | {"draw_cohort", "make_site", "list_sites", "choose_points"})


def test_images_of_the_hospitals_are_no_external_test(copy, tested):
    """The phantom of the same seed is drawn again: its first patients are those of the hospitals."""
    target = "results/smoke/external/same/site/card.json"
    section = "dataset={external: [{phantom: {patients: 30, seed: 1}, site: same}]}"
    done = snakemake(copy, target, *SMOKE, "--config", section)
    assert done.returncode == 1
    assert "error: dataset.external: same: " in done.stdout + done.stderr
    assert "also an image of the hospitals" in done.stdout + done.stderr
    assert not (copy / target).exists()
