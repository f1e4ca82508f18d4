"""What can be checked of clusters and containers without them: dry runs of profiles, an image's parts and commands.

A profile whose executor is not installed is dry-run without the executor's own keys; those are compared with the
options that the executor had when the profile was written.
"""

import importlib.util
import re
import shutil

import pytest
import yaml
from helpers.workflow import ENVIRONMENT, REPOSITORY, SMOKE, copy_repository, snakemake

OPTIONS = {
    "slurm": {"status-command", "logdir", "jobname-prefix"},
    "cluster-generic": {"submit-cmd", "status-cmd", "cancel-cmd"},
    "lsf": set(),
}
DOCKERFILE = REPOSITORY / "container" / "Dockerfile"
GPU_RULES = {"train_federated", "train_central", "train_alone", "predict_chosen", "evaluate_federated"}
APPTAINER = """#!/bin/bash
echo "$@" >> {log}
[ "$1" = --version ] && echo "apptainer version 1.3.4" && exit
while [ "$1" != -c ]; do shift; done
exec bash -c "$2"
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return copy_repository(tmp_path_factory.mktemp("repository"))


def plan(folder, profile):
    """The resources that a dry run gives each rule: {rule: {name: value}}, for the last job of each."""
    done = snakemake(folder, "--dry-run", "--profile", profile, *SMOKE)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-3000:]
    blocks = re.findall(r"rule (\w+):\n(?: +\S.*\n)*? +resources: (.+)", text)
    return {rule: dict(part.split("=", 1) for part in line.split(", ")) for rule, line in blocks}


def usable(folder, name):
    """The profile. If its executor is not installed, the profile without it, and the executor's keys are checked."""
    profile = yaml.safe_load((folder / "profiles" / name / "config.yaml").read_text())
    executor = profile["executor"]
    if importlib.util.find_spec(f"snakemake_executor_plugin_{executor.replace('-', '_')}"):
        return f"profiles/{name}"
    keys = {key for key in profile if key.startswith(f"{executor}-")}
    assert {key.removeprefix(f"{executor}-") for key in keys} <= OPTIONS[executor]
    rest = {key: value for key, value in profile.items() if key not in keys | {"executor"}}
    where = folder / "profiles" / f"{name}-without-executor"
    where.mkdir(exist_ok=True)
    (where / "config.yaml").write_text(yaml.safe_dump(rest))
    return str(where)


@pytest.mark.parametrize("name", sorted(path.name for path in REPOSITORY.glob("profiles/[!d]*")))
def test_every_profile_plans_the_whole_graph_and_every_job_says_what_it_needs(copy, name):
    rules = plan(copy, usable(copy, name))
    assert set(rules) >= GPU_RULES | {"draw_phantom", "choose_points", "render_pages"}
    for rule, resources in rules.items():
        assert rule == "all" or int(resources["mem_mb"]) >= 500, rule
        assert rule == "all" or int(resources["runtime"]) >= 5, rule
    assert all(rules[rule]["gpu"] == "1" for rule in GPU_RULES)


def test_where_slurm_wants_gres_it_gets_that_and_no_gpus_beside_it(copy):
    profile = (copy / "profiles" / "slurm" / "config.yaml").read_text()
    block = re.search(r"# set-resources:\n#   train_federated: &gpu .*\n(?:#   .*\n)+", profile)[0]
    where = copy / "profiles" / "gres"
    where.mkdir()
    (where / "config.yaml").write_text(profile.replace(block, block.replace("# ", "")))
    rules = plan(copy, "profiles/gres")
    with_gres = {rule for rule, resources in rules.items() if resources.get("gres") == "gpu:1"}
    assert with_gres == {rule for rule, resources in rules.items() if "gpu" in resources} == GPU_RULES
    assert all(rules[rule]["gpu"] == "0" for rule in with_gres)


def rules_with(word):
    """The rules that have a line of `word`, such as `group:`."""
    rules = []
    for path in REPOSITORY.glob("rules/*.smk"):
        parts = re.split(r"^ *rule (\w+):$", path.read_text(), flags=re.MULTILINE)
        rules += [name for name, body in zip(parts[1::2], parts[2::2], strict=True) if f" {word}" in body]
    return set(rules)


def test_every_rule_that_asks_for_a_gpu_is_named_where_a_profile_asks_in_its_own_way():
    slurm, lsf = ((REPOSITORY / "profiles" / name / "config.yaml").read_text() for name in ("slurm", "lsf"))
    asking = rules_with("gpu=GPU,\n")
    assert asking >= GPU_RULES
    assert set(re.findall(r"^#   (\w+): [&*]gpu", slurm, re.MULTILINE)) == asking
    assert set(yaml.safe_load(lsf)["set-resources"]) == asking


def test_the_download_runs_on_the_login_node_and_no_training_or_figure_is_in_a_group():
    there = {"fetch_kaggle", "prepare_start", "render_project", "provision_federation", "record_config"}
    assert rules_with("localrule: True") == there
    said = (REPOSITORY / "profiles" / "slurm" / "config.yaml").read_text().partition("run on the login node")[2]
    assert not [rule for rule in there if rule not in said]
    grouped = rules_with("group:\n")
    assert not [rule for rule in grouped if rule.startswith(("train_", "plot_", "render_", "fetch_"))]
    assert {"catalogue_images", "make_site", "predict_chosen", "contrast_models"} <= grouped


def copied():
    """The files of the image: the sources of every COPY."""
    lines = re.findall(r"^COPY (.+)$", DOCKERFILE.read_text(), re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_the_image_holds_what_the_workflow_needs_in_the_pinned_versions(tmp_path):
    text = DOCKERFILE.read_text()
    assert "uv pip install --system --no-cache --compile-bytecode -r requirements.txt" in text
    allowed = (REPOSITORY / ".dockerignore").read_text().splitlines()
    for source in copied():
        assert f"!{source}" in allowed
        path = REPOSITORY / source
        shutil.copytree(path, tmp_path / source) if path.is_dir() else shutil.copy(path, tmp_path / source)
    pod = yaml.safe_load((REPOSITORY / "container" / "kubernetes.yaml").read_text())
    container = pod["spec"]["template"]["spec"]["containers"][0]
    for command in (yaml.safe_load(re.search(r"^CMD (.+)$", text, re.MULTILINE)[1]), container["args"]):
        done = snakemake(tmp_path, "--dry-run", *command[1:])
        assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    volumes = {volume["name"] for volume in pod["spec"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_jobs_run_in_the_container_if_asked_and_else_not(copy, tmp_path, monkeypatch):
    """A stand-in for apptainer notes its command and runs it here."""
    log, program = tmp_path / "log", tmp_path / "apptainer"
    program.write_text(APPTAINER.format(log=log))
    program.chmod(0o755)
    monkeypatch.setitem(ENVIRONMENT, "PATH", f"{tmp_path}:{ENVIRONMENT['PATH']}")
    target = "results/smoke/federation/project.yml"
    assert snakemake(copy, *SMOKE, "--", target).returncode == 0
    assert not log.exists()
    (copy / "container").mkdir()
    (copy / "container" / "fedxray.sif").touch()
    options = ["--sdm", "apptainer", "--apptainer-args", '--bind "$PWD":/fedxray']
    done = snakemake(copy, *SMOKE, *options, "--forcerun", "render_project", "--", target)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    words = log.read_text().splitlines()[-1]
    assert f"--bind {copy}:/fedxray" in words
    assert "container/fedxray.sif bash -c" in words
    assert f"python {copy}/scripts/render_project.py" in words


def test_what_failed_is_listed_on_one_machine_too(copy):
    template = copy / "config" / "project.yml"
    before = template.read_text()
    template.write_text("participants: [")
    done = snakemake(copy, *SMOKE, "--forceall", "--", "results/smoke/federation/kits.json")
    template.write_text(before)
    assert done.returncode == 1
    listed = done.stderr.split("Failed, with the end of each log:")[1]
    assert listed.startswith("\n  render_project: results/smoke/logs/render_project.log\n      ")
    assert "provision_federation" not in listed
    assert done.stderr.endswith(listed)
