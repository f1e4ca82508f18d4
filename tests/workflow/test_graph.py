"""Whole graphs, in a copy of the repository: their results, what runs again after an edit, and after a kill."""

import json
import re
import shlex
import shutil

import pandas as pd
import pytest
from golden.fingerprints import TABLES, compare, fingerprints
from helpers.browser import EVERY, PROGRAM, WORDS, Browser
from helpers.tensorboard import served
from helpers.tutorial import Reader, checkout
from helpers.workflow import REPOSITORY, SMOKE, kill, planned, snakemake, start, wait_for_federation

from fedxray.core.files import read_table, sha256, write_table

DATA = {"draw_phantom", "catalogue_images", "resample_images", "draw_cohort", "make_site", "provision_federation"}
TRAINING = {"train_federated", "train_central", "train_alone"}
EXTERNAL = ["--config", "dataset={external: [{phantom: {patients: 40, seed: 7}}]}"]


@pytest.fixture(scope="module")
def researcher(tmp_path_factory):
    """The reader of docs/tutorials/laptop.md after `make run`, with the sizes of config/smoke.yaml as the defaults.

    The checkout lies at a place with spaces and umlauts in its name.
    """
    place = tmp_path_factory.mktemp("repository") / "mein Projekt (Röntgen)"
    origin = checkout(place / "origin", REPOSITORY / "config" / "smoke.yaml")
    replaced = {"git clone URL": f"cp -a {shlex.quote(str(origin))}", "results/phantom": "results/smoke"}
    replaced |= {"[0.001, 0.003]": "[0.001]", "[10, 20]": "[1, 2]"}
    replaced["mine.yaml\n```"] = "mine.yaml -- results/mine/points.csv\n```"
    reader = Reader("laptop.md", place, replaced)
    printed = reader.read("Install", "The whole experiment, on synthetic images")
    (reader.folder / "said.txt").write_text(re.search(r".*^The curves: [^\n]+", printed, re.DOTALL | re.MULTILINE)[0])
    return reader


@pytest.fixture(scope="module")
def finished(researcher):
    """The checkout after the whole graph of config/smoke.yaml."""
    return researcher.folder


def test_the_whole_graph_ends_in_a_comparison(finished):
    results = finished / "results" / "smoke"
    table = pd.read_csv(results / "comparison.csv")
    assert len(table) == 5 * 4
    assert set(table["mode"]) == {"federated", "central", "alone"}
    assert not list(results.rglob("workspace"))
    for page in (results / "report").glob("*.html"):
        text = page.read_text()
        assert "Synthetic phantom data" in text, page.name
        assert "://" not in text, page.name  # it opens without a network
    assert len(list((results / "figures").glob("*.svg"))) == len(list((results / "figures").glob("*.png"))) == 12
    assert json.loads((results / "model" / "config.json").read_text())["note"] == "Synthetic phantom data"
    record = pd.read_csv(results / "agreement.csv")
    assert (record["through_federation"] == record["here"]).all()
    assert set(json.loads((results / "config.json").read_text())) > {"experiment", "evaluation"}


def test_without_a_terminal_it_says_a_line_for_each_step_and_ends_in_what_came_out(finished):
    lines = (finished / "said.txt").read_text().splitlines()
    steps = int(re.search(r"^(\d+) steps: ", "\n".join(lines), re.MULTILINE)[1])
    assert len(lines) <= 2 * steps  # a slow machine says more often how far a step is
    done = {line.split()[1]: line for line in lines if re.match(rf" *\d+/{steps}  ", line)}
    assert set(done) >= DATA | TRAINING | {"render_pages"}
    assert re.search(r"  round 4/4  loss \d\.\d{4}  AUROC \d\.\d{4}  \d+\.\d s$", done["train_federated"])
    *_, answer = (finished / "results" / "smoke" / "logs" / "contrast_models.log").read_text().splitlines()
    page, curves = "results/smoke/report/index.html", "results/smoke/tensorboard"
    last = f"The report: {page}", f"The curves: tensorboard --logdir {curves}"
    assert lines[-3:] == [answer, *last]
    assert (finished / page).is_file()
    assert (finished / curves).is_dir()


def test_its_results_are_those_of_before(finished):
    compare("smoke", fingerprints(finished / "results" / "smoke"))


def test_a_second_run_does_nothing(finished):
    done = snakemake(finished, *SMOKE)
    *_, nothing, page, curves = (done.stdout + done.stderr).splitlines()
    assert nothing.startswith("Nothing to be done")
    assert page == "The report: results/smoke/report/index.html"
    assert curves == "The curves: tensorboard --logdir results/smoke/tensorboard"


def test_only_what_a_change_touches_runs_again(finished):
    changed = set(planned(finished, *SMOKE, "--config", "training={lr: 0.01}"))
    assert changed >= TRAINING | {"compare_runs"}
    assert not changed & DATA
    added = set(planned(finished, *SMOKE, "--config", "sites=[us, europe, asia, africa]"))
    assert "resample_images" not in added
    assert {"provision_federation", "draw_cohort"} <= added
    patience = set(planned(finished, *SMOKE, "--config", "federation={round_timeout_s: 99}"))
    shown = {"record_config", "render_pages", "export_tensorboard"}  # what shows the configuration
    assert patience <= shown | {"all", "total"}
    report = set(planned(finished, *SMOKE, "--config", "evaluation={margin: 0.05}"))
    assert report
    assert not report & (DATA | TRAINING | {"predict_chosen"})


@pytest.fixture(scope="module")
def tested(finished, tmp_path_factory):
    """The results of the whole graph, and then the tables and the figure of the same with an external test."""
    copy = tmp_path_factory.mktemp("tested") / "copy"
    shutil.copytree(finished, copy, symlinks=True)
    targets = [f"results/smoke/{name}" for name in ("comparison.csv", "differences.csv", "figures/external.svg")]
    done = snakemake(copy, *targets, *SMOKE, *EXTERNAL)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert not TRAINING & {line.split()[0] for line in done.stdout.splitlines() if line.startswith("train_")}
    return copy / "results" / "smoke"


def test_the_external_test_has_rows_and_a_figure(tested):
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


def test_another_external_test_trains_nothing_again(tested):
    copy = tested.parents[1]
    other = "{phantom: {patients: 30, seed: 8}, site: other}"
    section = f"dataset={{external: [{{phantom: {{patients: 40, seed: 7}}}}, {other}]}}"
    rules = planned(copy, *SMOKE, "--config", section)
    assert not set(rules) & (TRAINING | {"draw_cohort", "make_site", "list_sites", "choose_points"})
    assert (rules["draw_phantom"], rules["catalogue_images"], rules["make_external"]) == (1, 1, 1)
    assert {"predict_chosen", "compare_runs", "contrast_models", "plot_results", "render_pages"} <= set(rules)
    without = planned(copy, *SMOKE)
    assert not set(without) & (TRAINING | {"draw_cohort", "make_site", "list_sites", "choose_points"})


def test_images_of_the_hospitals_are_no_external_test(tested):
    """The phantom of the same seed is drawn again: its first patients are those of the hospitals."""
    copy = tested.parents[1]
    target = "results/smoke/external/same/site/card.json"
    section = "dataset={external: [{phantom: {patients: 30, seed: 1}, site: same}]}"
    done = snakemake(copy, target, *SMOKE, "--config", section)
    assert done.returncode == 1
    assert "error: dataset.external: same: " in done.stdout + done.stderr
    assert "also an image of the hospitals" in done.stdout + done.stderr
    assert not (copy / target).exists()


REPORT = {"plot_data", "plot_results", "plot_mistakes", "render_pages"}
TOLD = {"choose_points", "predict_chosen", "compare_runs", "contrast_models", "evaluate_federated", "export_model"}
TOLD |= {"adapt_thresholds", "export_tensorboard", *REPORT} - {"plot_data"}  # what follows from a model
SHARED_OUT = {"check_split", "make_site", "list_sites", "plot_data"}  # what follows from a split
KITS = {"render_project", "provision_federation"}
UNDUE = [  # a comment, a docstring, and the words of an error
    ("data/cohort.py", "def draw_cohort(", "# a comment\ndef draw_cohort("),
    ("training/trainer.py", '"""Train the steps', '"""Train those steps'),
    ("training/trainer.py", "no C compiler on", "there is no C compiler on"),
]
EDITS = {  # {what is edited: (file, old, new, exactly the rules that are due)}
    "a metric that training does not use": (
        "training/metrics.py",
        "(probabilities - labels) ** 2",
        "(labels - probabilities) ** 2",
        {"adapt_thresholds", "compare_runs", "evaluate_federated", "render_pages"},
    ),
    "the aggregation": ("federation/means.py", "total <= 0", "not total > 0", {"train_federated", *TOLD}),
    "the federation's checks": (
        "flare/engine.py",
        "checks.items() if not passed",
        "checks.items() if passed is False",
        {"train_federated", *TOLD},
    ),
    "the trainer": ("training/trainer.py", "deviation + 1.0", "1.0 + deviation", TRAINING | TOLD),
    "statistics": (
        "analysis/statistics.py",
        "ROUNDING = 1e-12",
        "ROUNDING = 1e-13",
        {"contrast_models", "plot_results", "render_pages", "export_tensorboard"},
    ),
    "a package's __init__.py": (
        "report/figures/__init__.py",
        '"font.size": 11',
        '"font.size": 12',
        REPORT | {"export_tensorboard"},
    ),
    "an empty package's __init__.py": (
        "flare/__init__.py",
        "",
        "import os\n\nos.umask(0o22)\n",
        KITS | {"train_federated"} | TOLD,
    ),
    "one figure": (
        "report/figures/data.py",
        '"#BBBBBB"',
        '"#BBBBBA"',
        {"plot_data", "render_pages", "export_tensorboard"},
    ),
    "the page's template": ("report/templates/index.html", "<html", "<html ", {"render_pages"}),
    "who is where": (
        "data/cohort.py",
        "LEAST_SHARE = 0.1",
        "LEAST_SHARE = 0.2",
        {"draw_cohort", *SHARED_OUT, *TRAINING, *TOLD},
    ),
    "what every script runs": (
        "core/cli.py",
        "arguments.parse_args()",
        "arguments.parse_args(None)",
        DATA | SHARED_OUT | KITS | TRAINING | TOLD | {"record_config", "record_experiment"},
    ),
}


def due_after(finished, *edits):
    """The rules that are due after edits of the package, (file, old, new) each; these are undone."""
    before = {file: (finished / "fedxray" / file).read_text() for file, *_ in edits}
    after = dict(before)
    for file, old, new in edits:
        assert old in after[file]
        after[file] = after[file].replace(old, new, 1)
    for file, text in after.items():
        (finished / "fedxray" / file).write_text(text)
    rules = set(planned(finished, *SMOKE)) - {"all", "total"}
    for file, text in before.items():
        (finished / "fedxray" / file).write_text(text)
    return rules


def test_comments_docstrings_and_the_words_of_errors_run_nothing_again(finished):
    assert not due_after(finished, *UNDUE)


@pytest.mark.parametrize(("file", "old", "new", "due"), EDITS.values(), ids=EDITS)
def test_an_edit_runs_again_what_it_touches_and_nothing_else(finished, file, old, new, due):
    assert due_after(finished, (file, old, new)) == due


@pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium on this machine")
def test_the_page_of_a_whole_run_prints_on_six_pages_at_most(finished, tmp_path):
    browser = Browser(tmp_path / "profile")
    try:
        browser.open(finished / "results" / "smoke" / "report" / "index.html", 800)
        assert 1 < browser.printed(tmp_path / "page.pdf") <= 6
    finally:
        browser.close()


@pytest.fixture
def board(request, finished, tmp_path):
    """(a browser, the address of a TensorBoard that shows the folder that the test names)."""
    browser = Browser(tmp_path / "profile")
    with served(finished / "results" / "smoke" / request.param) as url:
        yield browser, url
    browser.close()


def tab(browser, url, name, *words):
    """What a tab of TensorBoard says, once it says all these words."""
    browser.visit("about:blank", 1400)
    browser.visit(f"{url}#{name}", 1400)
    browser.wait(f"{json.dumps(words)}.every((word) => {WORDS}.includes(word))")
    return browser.value(WORDS)


RUNS_OF_SMOKE = {"central/lr=0.002,epochs=2,seed=1", "federated/fedavg+averaged/lr=0.002,epochs=2,round=0.5,seed=1"}
RUNS_OF_SMOKE |= {f"alone/lr=0.002,epochs=2,seed=1/{site}" for site in ("us", "europe", "asia")}


@pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium on this machine")
@pytest.mark.parametrize("board", ["tensorboard"], indirect=True)
def test_tensorboard_shows_curves_runs_answer_pictures_and_precision_of_a_finished_run(finished, board):
    browser, url = board
    lines = [f"validation/auroc ({run})" for run in RUNS_OF_SMOKE]
    said = tab(browser, url, "custom_scalars", "federated, central and alone", *lines)
    *_, chart = said.partition("\nvalidation/auroc\n")  # all below one head are lines of one chart
    assert all(line in chart for line in lines)
    said = tab(browser, url, "hparams", "Number of matching session groups: 5", *RUNS_OF_SMOKE).splitlines()
    points = read_table(finished / "results" / "smoke" / "points.csv").set_index("path")
    for path in RUNS_OF_SMOKE:
        mode, _round, _rounds, site, _epochs, auroc = said[said.index(path) + 1 :][:6]
        assert (mode, site) == tuple(points.loc[path, ["mode", "site"]])
        assert float(auroc) == pytest.approx(points["validation_auroc"][path], rel=1e-4)
    log = finished / "results" / "smoke" / "logs" / "contrast_models.log"
    tab(browser, url, "text", "answer", log.read_text().splitlines()[-1][:200], '"experiment": "smoke"')
    tab(browser, url, "images", "a batch as the network sees it", "mistakes", "calibration", "gallery")
    browser.wait(f"{EVERY}.some((part) => part.tagName === 'IMG' && part.naturalWidth > 100)")
    tab(browser, url, "pr_curves", "test/precision and recall", *(f"{run} is at" for run in RUNS_OF_SMOKE))


@pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium on this machine")
@pytest.mark.parametrize("board", ["live"], indirect=True)
def test_tensorboard_lists_every_run_of_every_mode_while_they_train(board):
    browser, url = board
    said = tab(browser, url, "hparams", "Number of matching session groups: 5").splitlines()
    groups = {line.partition("/live/")[2] for line in said if "/live/" in line}
    assert groups >= RUNS_OF_SMOKE
    assert len(groups) == 5


def test_the_report_is_one_file(finished):
    assert (finished / "report.html").stat().st_size > 1_000_000


def test_the_researcher_gets_on_with_images_of_their_own(researcher):
    """The rest of docs/tutorials/laptop.md: an account, a sweep up to the choice of its point, and predictions."""
    said = researcher.read()
    assert not researcher.blocks
    points = read_table(researcher.folder / "results" / "mine" / "points.csv")
    assert set(points["epochs"]) == {1, 2}
    assert (points.groupby(["mode", "site"])["chosen"].sum() == 1).all()
    drawn, own = (
        read_table(researcher.folder / "results" / name / "data" / "catalogue.csv") for name in ("smoke", "mine")
    )
    assert sorted(own["patient"]) == sorted(drawn["patient"])
    assert len(re.findall(r"^[01]\.\d{4}  (?:normal|PNEUMONIA) +my-images/", said, re.MULTILINE)) == len(drawn)


def test_killed_in_the_middle_it_ends_in_the_same_models_and_tables(finished, tmp_path):
    """kill -9 of Snakemake while the federation trains; then --unlock and the same command.

    The results lie elsewhere than the workflow.
    """
    command = ["--snakefile", str(finished / "Snakefile"), "--configfile", str(finished / "config" / "smoke.yaml")]
    command += ["--", "results/smoke/summary.csv"]  # and all that it needs: every model and prediction
    run = start(tmp_path, *command)
    wait_for_federation(run, tmp_path / "results" / "smoke")
    kill(run, tmp_path)
    assert snakemake(tmp_path, "--unlock", *command).returncode == 0
    done = snakemake(tmp_path, *command)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    first, second = (place / "results" / "smoke" for place in (finished, tmp_path))
    for path in [*first.glob("runs/**/model.safetensors"), first / "predictions.csv", first / "summary.csv"]:
        assert sha256(path) == sha256(second / path.relative_to(first)), path.name
    assert not list(second.rglob("workspace"))


def test_a_repeated_federated_run_that_is_killed_leaves_whole_curves_and_is_done_by_the_same_command(finished):
    results = finished / "results" / "smoke"
    (events,) = (results / "tensorboard" / "federated").glob("*/*/events*fedxray")
    (model,) = (results / "runs" / "federated").glob("*/*/model.safetensors")
    before, digest = events.read_bytes(), sha256(model)
    run = start(finished, *SMOKE, "--forcerun", "train_federated")
    wait_for_federation(run, results)
    kill(run, finished)
    assert not model.exists()
    assert events.read_bytes() == before
    assert snakemake(finished, *SMOKE, "--unlock").returncode == 0
    assert planned(finished, *SMOKE)["train_federated"] == 1
    record = model.with_name("record.json").relative_to(finished)  # `all` asks for it; its tables take a minute more
    done = snakemake(finished, *SMOKE, "--", str(record))
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert sha256(model) == digest
    assert events.parent.exists()
