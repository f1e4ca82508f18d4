"""The files around the package that no other test reads: environments, workflows of GitHub, the catalog's."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(path):
    return yaml.safe_load((ROOT / path).read_text())


def test_the_environment_of_conda_has_what_make_installs():
    environment = read("environment.yml")
    python, (pip,) = (
        [part for part in environment["dependencies"] if isinstance(part, str)],
        [part["pip"] for part in environment["dependencies"] if isinstance(part, dict)],
    )
    assert pip == ["-r requirements.txt"]
    assert (ROOT / "requirements.txt").is_file()
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert python == [f"python{wanted}", "pip"]


def test_the_catalogs_readme_names_what_the_configuration_has():
    text, config = (ROOT / "config" / "README.md").read_text(), read("config/config.yaml")
    assert re.findall(r"^\| `(\w+)` \| [^|]+ \|$", text, re.MULTILINE)[-len(config) :] == list(config)
    named = [words for words in re.findall(r"`(\w+)\.(\w+)", text) if words[0] in config]
    assert len(named) > 5
    assert not [f"{section}.{key}" for section, key in named if key not in config[section]]


def test_the_catalog_is_promised_no_more_than_there_is():
    usage = read(".snakemake-workflow-catalog.yml")["usage"]
    deployment = usage["software-stack-deployment"]
    assert deployment == {"conda": False, "apptainer": False, "apptainer+conda": False}
    assert usage["report"] is True


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_of_github_is_pinned_bounded_and_may_do_little(path):
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["group"]
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())
    uses = re.findall(r"uses: (.+)", path.read_text())
    assert uses
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v[\d.]+", line) for line in uses), uses
    scripts = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert not [script for script in scripts if "${{" in script]  # an input is data, never a part of a command


def test_a_fresh_clone_has_the_folder_of_results_and_git_sees_nothing_else_in_it():
    def ignored(path):
        return subprocess.run(["git", "check-ignore", "-q", "--no-index", path], cwd=ROOT).returncode

    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout of git")
    assert [ignored(f"results/{name}") for name in ("README.md", "phantom", "phantom/points.csv")] == [1, 0, 0]
    assert (ROOT / "results" / "README.md").is_file()


def test_what_a_step_says_goes_to_its_log_from_which_the_screen_reads():
    for path in sorted(ROOT.glob("rules/*.smk")):
        text = path.read_text()
        commands = re.findall(r"^ +shell:\n((?: +f?\".*\"\n)+)", text, re.MULTILINE)
        assert len(commands) == text.count(" shell:\n"), path.name
        for command in commands:
            assert command.endswith(' > {log:q} 2>&1"\n'), command
