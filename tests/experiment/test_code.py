"""What counts as the code of a step: on a small package made up for it, and on the real one."""

from pathlib import Path

import pytest

from fedxray.experiment.code import Code

FILES = {
    "fedxray/__init__.py": '"""A package."""\n',
    "fedxray/core/__init__.py": "import fedxray.core.setup\n",
    "fedxray/core/setup.py": "STYLE = {}\nSTYLE['colour'] = 'red'\nUNUSED = 1\n",
    "fedxray/core/names.py": "NamesOnly = tuple\n",
    "fedxray/core/errors.py": "class UserError(Exception):\n    pass\n",
    "fedxray/core/tools.py": (
        "import functools\nimport logging\n\nfrom fedxray.core.errors import UserError\n\n"
        "log = logging.getLogger(__name__)\nLIMIT = 3\nOTHER = 4\n\n\n"
        "def used(value):\n    '''Say it.'''\n    if value > LIMIT:\n"
        "        raise UserError(f'{value} is more than {LIMIT}: take less')\n"
        "    log.info(f'{value} is taken')\n    return value + 1  # one more\n\n\n"
        "def unused(value):\n    return value\n\n\n"
        "@functools.cache\ndef remembered():\n    return 1\n"
    ),
    "fedxray/core/whole.py": "def first():\n    return 1\n\n\ndef second():\n    return 2\n",
    "fedxray/site.py": "class Trainer:\n    def answer(self):\n        return 1\n\n\nclass Evaluator:\n    pass\n",
    "fedxray/kits.py": (
        "from fedxray.core.names import NamesOnly\n\n"
        "ALLOWED: NamesOnly = ('fedxray.site.Evaluator',)\n\n\ndef write():\n    return ALLOWED\n"
    ),
    "scripts/step.py": (
        '"""A step."""\nimport sys\n\nfrom fedxray.core.tools import used\n\n\n'
        "def main():\n    from fedxray.core import whole\n\n    return used(1), whole.first()\n\n\n"
        "if __name__ == '__main__':\n    main()\n"
    ),
    "scripts/job.py": "from fedxray.kits import write\n\nJOB = {'path': 'fedxray.site.Trainer'}\nwrite()\nprint(JOB)\n",
}


@pytest.fixture
def root(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def checksum(root, script="step", *files):
    return Code(root).checksum(root / "scripts" / f"{script}.py", *files)


def changes(root, file, old, new, script="step"):
    """Whether an edit of a file changes the checksum of a script."""
    before, path = checksum(root, script), root / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    return checksum(root, script) != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("scripts/step.py", "used(1)", "used(2)"),
        ("fedxray/core/tools.py", "value + 1", "value + 2"),
        ("fedxray/core/tools.py", "LIMIT = 3", "LIMIT = 5"),  # a constant that it uses
        ("fedxray/core/tools.py", "if value > LIMIT", "if value >= LIMIT"),
        ("fedxray/core/tools.py", "{value} is more", "{value + 1} is more"),  # code within an error's words
        ("fedxray/core/tools.py", "raise UserError(", "raise ValueError("),
        ("fedxray/core/errors.py", "(Exception)", "(ValueError)"),
        ("fedxray/core/whole.py", "return 1", "return 9"),  # imported inside a function, through its module
        ("fedxray/core/__init__.py", "import fedxray.core.setup", "print(1)"),  # a package above what it imports
        ("fedxray/core/setup.py", "'red'", "'blue'"),  # a statement that an import runs
        ("fedxray/__init__.py", '"""A package."""', "import os\nos.umask(0)"),
    ],
)
def test_an_edit_of_what_a_step_runs_counts(root, file, old, new):
    assert changes(root, file, old, new)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("scripts/step.py", '"""A step."""', '"""Another step."""\n# of a pipeline'),
        ("fedxray/core/tools.py", "  # one more", "  # plus one"),
        ("fedxray/core/tools.py", "'''Say it.'''", "'''Say it again.\n\n    Twice.\n    '''"),
        ("fedxray/core/tools.py", "is more than", "exceeds"),
        ("fedxray/core/tools.py", "is taken", "was taken"),
        ("fedxray/core/tools.py", "value + 1", "(value+1)"),
        ("fedxray/core/tools.py", "OTHER = 4", "OTHER = 5"),
        ("fedxray/core/tools.py", "def unused(value):\n    return value", "def unused(value):\n    return None"),
        ("fedxray/core/tools.py", "return 1", "return 2"),  # of a cached function that nobody calls
        ("fedxray/core/setup.py", "UNUSED = 1", "UNUSED = 2"),
        ("fedxray/core/whole.py", "return 2", "return 3"),
        ("fedxray/site.py", "return 1", "return 2"),
    ],
)
def test_an_edit_of_nothing_that_a_step_runs_does_not_count(root, file, old, new):
    assert not changes(root, file, old, new)


def test_a_string_that_names_code_counts_as_its_use_and_a_list_of_names_does_not(root):
    assert changes(root, "fedxray/site.py", "return 1", "return 2", "job")
    assert not changes(root, "fedxray/site.py", "class Evaluator:\n    pass", "class Evaluator:\n    x = 1", "job")
    assert changes(root, "fedxray/kits.py", "'fedxray.site.Evaluator'", "'fedxray.site.Evaluator', ''", "job")


CLASSES = """
import json

from fedxray.core.tools import used


class Base(json.JSONEncoder):
    def default(self, o):
        return 1


class Ours(Base):
    def item(self):
        return 2


class Plain:
    def __init__(self):
        self.begin()

    def begin(self):
        return 3

    def called(self):
        return used(4)

    def spare(self):
        return 5
"""


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ("return 1", "return 9", True),  # Python's json calls it
        ("return 2", "return 9", True),  # whatever is derived from such a class
        ("return 3", "return 9", True),  # by __init__
        ("used(4)", "used(9)", True),  # by its name in the script
        ("return 5", "return 9", False),
    ],
)
def test_a_method_counts_if_its_name_is_used(root, old, new, counts):
    (root / "fedxray" / "core" / "classes.py").write_text(CLASSES)
    script = root / "scripts" / "step.py"
    script.write_text("from fedxray.core.classes import Ours, Plain\n\nOurs()\nPlain().called()\n")
    assert changes(root, "fedxray/core/classes.py", old, new) == counts


def test_every_method_counts_where_a_name_is_computed(root):
    (root / "fedxray" / "core" / "classes.py").write_text(CLASSES)
    script = root / "scripts" / "step.py"
    script.write_text("from fedxray.core.classes import Plain\n\ngetattr(Plain(), 'spa' + 're')()\n")
    assert changes(root, "fedxray/core/classes.py", "return 5", "return 9")


def test_what_a_method_reaches_counts_with_it(root):
    (root / "fedxray" / "core" / "classes.py").write_text(CLASSES)
    script = root / "scripts" / "step.py"
    script.write_text("from fedxray.core.classes import Plain\n\nPlain().spare()\n")
    assert not changes(root, "fedxray/core/tools.py", "value + 1", "value + 2")
    script.write_text("from fedxray.core.classes import Plain\n\nPlain().called()\n")
    assert changes(root, "fedxray/core/tools.py", "value + 2", "value + 3")


def test_a_module_that_is_used_as_a_value_counts_whole(root):
    assert not changes(root, "fedxray/core/whole.py", "return 2", "return 3")
    path = root / "scripts" / "step.py"
    path.write_text(path.read_text().replace("whole.first()", "getattr(whole, 'second')()"))
    assert changes(root, "fedxray/core/whole.py", "return 3", "return 4")


def test_a_decorator_that_may_register_counts(root):
    path = root / "fedxray" / "core" / "tools.py"
    path.write_text(path.read_text().replace("def unused", "@used\ndef unused"))
    assert changes(
        root, "fedxray/core/tools.py", "def unused(value):\n    return value", "def unused(value):\n    pass"
    )


def test_relative_and_renamed_imports_are_followed(root):
    (root / "fedxray" / "core" / "more.py").write_text(
        "from .tools import used as taken\nfrom . import whole as all_of_it\n"
    )
    script = root / "scripts" / "step.py"
    script.write_text("from fedxray.core import more\n\nmore.taken(1)\nmore.all_of_it.second()\n")
    assert changes(root, "fedxray/core/tools.py", "value + 1", "value + 2")
    assert changes(root, "fedxray/core/whole.py", "return 2", "return 3")
    assert not changes(root, "fedxray/core/whole.py", "return 1", "return 9")


def test_further_files_count_by_their_content(root):
    (root / "page.html").write_text("one")
    before = checksum(root, "step", root / "page.html")
    (root / "page.html").write_text("two")
    assert len({before, checksum(root, "step", root / "page.html"), checksum(root)}) == 3


def test_checksums_are_remembered_until_a_file_changes(root, monkeypatch):
    step, memory = root / "scripts" / "step.py", root / "memory.json"
    code = Code(root, memory)
    first = code.checksum(step)
    code.remember()
    with monkeypatch.context() as patch:
        patch.setattr(Code, "reached", lambda *_: pytest.fail("read again"))
        assert Code(root, memory).checksum(step) == first
    tools = root / "fedxray" / "core" / "tools.py"
    tools.write_text(tools.read_text().replace("value + 1", "value + 2"))
    assert Code(root, memory).checksum(step) == checksum(root) != first
    memory.write_text("{")
    assert Code(root, memory).checksum(step) == checksum(root)
    Code(root, root / "scripts" / "step.py" / "none").remember()  # where it cannot be written


def test_where_the_code_lies_does_not_count(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "here"
    root.rename(elsewhere)
    first = checksum(elsewhere)
    elsewhere.rename(root)
    assert checksum(root) == first


def test_each_script_of_the_workflow_reaches_its_part_of_the_package():
    root = Path(__file__).parents[2]
    code = Code(root)
    reached = {path.stem: set(code.reached(path)) for path in (root / "scripts").glob("*.py")}
    modules = {name: {place.split(":")[0] for place in places} for name, places in reached.items()}
    assert (
        "fedxray.training.trainer" in modules["train_central"] & modules["train_federated"] & modules["train_inprocess"]
    )
    assert "fedxray.flare.site" in modules["train_federated"] & modules["evaluate_federated"]  # named by a job alone
    assert not any(name.startswith("fedxray.flare") for name in modules["train_inprocess"] | modules["train_central"])
    assert not any("training" in name or "torch" in name for name in modules["make_site"] | modules["draw_cohort"])
    assert "fedxray.report.figures" in modules["plot_results"]  # a package's __init__.py
    assert len(reached) == len(list((root / "scripts").glob("*.py")))
