"""What documents and comments name is there: links, files, rules, commands, keys; graph and module; tutorials."""

import re
import subprocess
from copy import deepcopy
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from helpers.tutorial import PAGES, Reader
from helpers.workflow import copy_repository, planned, snakemake
from snakemake.utils import update_config

from fedxray.experiment.check import check_config
from fedxray.experiment.code import Code
from fedxray.experiment.experiment import Experiment
from fedxray.experiment.folder import Folder, RunRecord
from fedxray.operators import server, site

ROOT = Path(__file__).parents[2]
MARKDOWN = sorted(
    path
    for pattern in ("*.md", "[!.]*/README.md", "docs/**/*.md", "fedxray/**/*.md", "tests/*/*.md")
    for path in ROOT.glob(pattern)
)
# Files for people beside these, and files whose comments speak of other files.
TEXTS = sorted(
    path
    for pattern in (
        *(
            "Makefile",
            "Snakefile",
            "environment.yml",
            "pyproject.toml",
            ".ci/run",
            ".github/**/*.yml",
            ".snakemake-*.yml",
        ),
        *("config/**/*.yaml", "config/project.yml", "profiles/*/*", "container/*", "report/*.rst", "rules/*.smk"),
        *("scripts/*.py", "fedxray/**/*.py", "fedxray/operators/texts/*", "benchmarks/**/*.py"),
    )
    for path in ROOT.glob(pattern)
    if path.is_file() and path.suffix != ".sif"
)
FOLDERS = ["benchmarks", "config", "container", "docs", "fedxray", "profiles", "rules", "scripts", "tests"]
ROOMS = ["core", "experiment", "data", "training", "federation", "flare", "analysis", "report", "operators"]
ENDINGS = ["csv", "json", "npy", "onnx", "py", "safetensors", "service", "sif", "tar", "yaml", "yml"]  # of files' names
HISTORY = ROOT / "CHANGELOG.md"  # it also names what there is no more
RULES = {
    name
    for path in (ROOT / "rules").glob("*.smk")
    for pair in re.findall(r"^ *(?:rule (\w+):|use rule \w+ as (\w+) with:)$", path.read_text(), re.MULTILINE)
    for name in pair
    if name
}
CONFIG, SCHEMA = (yaml.safe_load((ROOT / "config" / name).read_text()) for name in ("config.yaml", "schema.yaml"))


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def quoted(text):
    """What stands between backticks, and the lines of code blocks, of fenced ones the commands."""
    inline = re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    fenced = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return "\n".join([*inline, *fenced, *re.findall(r"^ {4}(.+)$", text, re.MULTILINE)])


def anchors(path):
    """The anchors that GitHub gives a document's headings."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", MARKDOWN, ids=name_of)
def test_every_link_leads_somewhere(path):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert not broken


def test_a_broken_link_would_be_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A page: of `code`\n\n[a](other.md) [b](#a-page-of-code) [c](#nowhere)\n")
    assert anchors(page) == {"a-page-of-code"}
    with pytest.raises(AssertionError, match=r"other\.md.*#nowhere"):
        test_every_link_leads_somewhere(page)


@pytest.mark.parametrize("path", [*MARKDOWN, *TEXTS], ids=name_of)
def test_every_file_that_is_named_is_there(path):
    """Of paths below the repository's folders, and of Python files below the package's."""
    text = path.read_text().replace("<br>", " ")
    named = re.findall(rf"(?<![\w/.<>~-])((?:{'|'.join(FOLDERS)})/[\w./*<>-]*[\w*>])", text)
    named += [f"fedxray/{file}" for file in re.findall(rf"(?<![\w/.])((?:{'|'.join(ROOMS)})/[\w/]+\.py)\b", text)]
    patterns = {file: re.sub(r"<\w+>|\b[A-Z]+\b(?=\.)", "*", file) for file in named if not file.endswith(".sif")}
    assert not [file for file, pattern in patterns.items() if not list(ROOT.glob(pattern))]


@pytest.mark.parametrize("path", [*MARKDOWN, *TEXTS], ids=name_of)
def test_every_name_of_the_package_is_defined(path):
    """In code, of what stands between backticks."""
    code, quote = Code(ROOT), "`" if path.suffix == ".py" else ""
    names = re.findall(rf"{quote}(?<![\w/.-])(fedxray(?:\.\w+)+){quote}", path.read_text())
    names = {name for name in names if name.rpartition(".")[2] not in (*ENDINGS, "org")}
    assert not [name for name in names if not (code.resolve(name) or code.resolve(name.rpartition(".")[0]))]


@pytest.mark.parametrize("path", [*MARKDOWN, *ROOT.glob("profiles/*/config.yaml")], ids=name_of)
def test_every_rule_that_is_named_is_one(path):
    """In profiles the keys of set-resources, in comments too; in documents each word that begins as a rule does."""
    if path in (HISTORY, ROOT / "docs" / "performance.md"):  # the latter names rows of benchmarks
        pytest.skip("names other things too")
    text = path.read_text()
    if path.suffix == ".yaml":
        named = set(re.findall(r"^#?   ?(\w+):(?: [&*{]|$)", text, re.MULTILINE)) - {"mem_mb"}
    else:
        verbs = {name.split("_")[0] for name in RULES}
        named = {
            word for word in re.findall(r"(?<![\w./-])\w+_\w+(?![\w./(])", quoted(text)) if word.split("_")[0] in verbs
        }
        named -= set(CONFIG["federation"])
    assert not named - RULES


@pytest.mark.parametrize("path", [path for path in MARKDOWN if path != HISTORY], ids=name_of)
def test_every_command_and_key_that_is_named_is_one(path, monkeypatch):
    text = quoted(path.read_text())
    targets = re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert not set(re.findall(r"(?<![\w-])make ([\w./-]+)", text)) - set(targets)
    for name, command in (("server", server), ("site", site)):
        for word in set(re.findall(rf"(?:bin/)?fedxray-{name} ([a-z]+)", text)):
            monkeypatch.setattr("sys.argv", [name, word, "--help"])
            with pytest.raises(SystemExit) as end:
                command.main()
            assert end.value.code == 0
    keys = re.findall(rf"(?<![\w/.-])({'|'.join(CONFIG)})\.(\w+)", text)
    assert not [f"{part}.{key}" for part, key in keys if key not in (*ENDINGS, *CONFIG[part])]


def test_every_file_of_the_results_and_every_field_of_a_record_is_described():
    """The files of an experiment's folder in results/README.md, the fields of `record.json` in docs/architecture.md."""
    files = [path.name for path in vars(Folder("results")).values() if path.suffix or path.name == "salt"]
    table = (ROOT / "results" / "README.md").read_text()
    within = {"project.yml", "kits.json"}  # of federation/
    assert not [name for name in files if f"`{name}`" not in table and name not in within]
    record = re.search(
        r"^`record.json` .*?\n\n", (ROOT / "docs" / "architecture.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert not [name for name in RunRecord.__annotations__ if not re.search(rf"\b{name}\b", record[0])]


def configurations(path):
    """The configurations that a document shows as blocks: YAML of which every key is one of the configuration's."""
    for block in re.findall(r"(?:^ {4}.*\n)+", path.read_text(), re.MULTILINE):
        try:
            values = yaml.safe_load(block)
        except yaml.YAMLError:
            continue
        if isinstance(values, dict) and set(values) <= set(CONFIG):
            yield values


def test_every_configuration_that_is_shown_is_valid():
    shown = [values for path in MARKDOWN for values in configurations(path)]
    assert len(shown) >= 2
    for values in shown:
        config = deepcopy(CONFIG)
        update_config(config, values)
        check_config(config, SCHEMA)
    (hospitals,) = [one for one in configurations(ROOT / "docs" / "hospitals.md") if "federation" in one]
    assert Experiment.from_config(CONFIG | {"federation": CONFIG["federation"] | hospitals["federation"]}).modes == (
        "federated",
        "alone",
    )


def test_the_federation_that_is_shown_is_valid(tmp_path):
    text = (ROOT / "docs" / "hospitals.md").read_text()
    block = re.search(r"federation\.yml <<'END'\n(.*?) {4}END", text, re.DOTALL)[1]
    (tmp_path / server.FEDERATION).write_text(re.sub(r"^ {4}", "", block, flags=re.MULTILINE))
    assert server.read_federation(tmp_path)["sites"] == ["us", "europe"]


def drawn(text):
    """{(from, to)} of a flowchart of Mermaid whose nodes are bare names, chained by `-->` and joined by `&`."""
    edges = set()
    for line in text.splitlines():
        stations = [part.replace(" ", "").split("&") for part in line.split("-->")]
        edges |= {(a, b) for left, right in pairwise(stations) for a in left for b in right}
    return edges


def reachable(edges):
    """{(from, to)} of all paths along the edges."""
    while more := {(a, d) for a, b in edges for c, d in edges if b == c} - edges:
        edges = edges | more
    return edges


@pytest.mark.slow
def test_the_graph_that_is_drawn_is_that_of_the_rules(tmp_path):
    """Of the default configuration, without the target `all`: the same nodes, and the same that needs the same."""
    (section,) = re.findall(r"^## The graph\n(.*?)^## ", (ROOT / "docs" / "architecture.md").read_text(), re.M | re.S)
    (chart,) = re.findall(r"```mermaid\nflowchart LR\n(.*?)```", section, re.DOTALL)
    edges = drawn(chart)
    assert {node for edge in edges for node in edge} <= RULES
    text = snakemake(copy_repository(tmp_path), "--rulegraph").stdout
    names = dict(re.findall(r'(\d+)\[label ?= ?"(\w+)"', text))
    real = {(names[a], names[b]) for a, b in re.findall(r"(\d+) -> (\d+)", text) if "all" not in (names[a], names[b])}
    assert len(real) > 40
    edges = {edge for edge in edges if "fetch_kaggle" not in edge}  # which is there where draw_phantom is not
    assert reachable(edges) == reachable(real)


@pytest.mark.slow
def test_the_module_that_is_shown_is_planned(tmp_path):
    (example,) = re.findall(r"```python\n(module .*?)```", (ROOT / "config" / "README.md").read_text(), re.DOTALL)
    checkout = copy_repository(tmp_path / "a checkout")
    (tmp_path / "Snakefile").write_text(example.replace("PATH", str(checkout)))
    rules = planned(tmp_path)
    assert (rules["xray_train_federated"], rules["after"]) == (2, 1)


def test_every_tutorial_is_followed_by_a_test():
    tests = "".join(path.read_text() for path in ROOT.glob("tests/*/test_*.py") if path != Path(__file__))
    pages = {path.name for path in PAGES.glob("*.md")}
    assert pages == set(re.findall(r'Reader\(\s*"(\w+\.md)"', tests))


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A function that makes a tutorial of a text, and returns its reader."""
    monkeypatch.setattr("helpers.tutorial.PAGES", tmp_path)

    def make(text, **replaced):
        (tmp_path / "page.md").write_text(text)
        return Reader("page.md", tmp_path, replaced)

    return make


STEPS = """# A page

## First

```sh
mkdir there
cd there
cat > a <<'END'
1 URL
END
```

## Second

```sh
echo "$(cat a): -0.5 [2, 3]"
```

```text
9 here: 0.1 ...
```
"""


def test_a_tutorial_is_followed_where_the_step_before_has_ended(page):
    reader = page(STEPS, URL="here")
    assert reader.read("First") == ""
    assert reader.folder.name == "there"
    assert [heading for heading, *_ in reader.blocks] == ["Second", "Second"]
    assert reader.read() == "1 here: -0.5 [2, 3]\n"
    assert not reader.blocks


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("mkdir there", "false", "false\ncd there"),
        ("9 here", "9 nowhere", "'9 nowhere: 0.1 ...' was not printed"),
        ("URL", "ADDRESS", "page.md no longer says 'URL'"),
    ],
)
def test_what_is_wrong_with_a_tutorial_is_told(page, old, new, said):
    with pytest.raises(AssertionError, match=re.escape(said)):
        page(STEPS.replace(old, new), URL="here").read()


def test_no_document_is_forgotten_here():
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout of git")
    tracked = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    assert sorted(map(name_of, MARKDOWN)) == sorted(tracked)
