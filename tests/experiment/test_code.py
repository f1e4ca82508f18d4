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


ONE = "def one():\n    return 1\n"
EDIT = ("return 1", "return 9")
# {what: (the package's a.py, its b.py, the script, what is edited in a.py)}
WAYS = {
    "imports in a try": (
        ONE,
        "try:\n    from fedxray.a import one\nexcept ImportError:\n    one = None\n\n\ndef two():\n    return one()\n",
        "from fedxray.b import two\n\ntwo()\n",
        EDIT,
    ),
    "either of two imports": (
        ONE,
        "def one():\n    return 2\n",
        "if __debug__:\n    from fedxray.a import one\nelse:\n    from fedxray.b import one\n\n\ndef f():\n    one()\n",
        EDIT,
    ),
    "the other branch of TYPE_CHECKING": (
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    one = print\nelse:\n"
        "    def one():\n        return 1\n",
        "",
        "from fedxray.a import one\n\none()\n",
        EDIT,
    ),
    "a name that is imported twice in a function": (
        ONE,
        "def one():\n    return 2\n",
        "from fedxray.a import one\n\n\ndef f():\n    def g():\n        from fedxray.b import one\n\n        one()\n\n"
        "    one()\n",
        EDIT,
    ),
    "a star over a re-export": (ONE, "from fedxray.a import one\n", "from fedxray.b import *\n\none()\n", EDIT),
    "a name that a module makes": (
        ONE + "\n\ndef __getattr__(name):\n    return one\n",
        "",
        "from fedxray import a\n\na.other()\n",
        EDIT,
    ),
    "globals": (
        "def one():\n    return 1\n\n\ndef get(name):\n    return globals()[name]\n",
        "",
        "from fedxray.a import get\n\nget('one')()\n",
        EDIT,
    ),
    "another package's function": (
        "from math import floor as down\n\n\ndef one():\n    return down(1.5)\n",
        "",
        "from fedxray.a import one\n\none()\n",
        ("floor as", "ceil as"),
    ),
    "another function of ours that is reached too": (
        "def one():\n    return 1\n\n\ndef two():\n    return 2\n",
        "",
        "from fedxray.a import one as f, two as g\n\nprint(f(), g())\n",
        (
            "def one():\n    return 1\n\n\ndef two():\n    return 2\n",
            "def two():\n    return 1\n\n\ndef one():\n    return 2\n",
        ),
    ),
    "two statements on a line": (
        "A = 1; B = 1\n",
        "",
        "from fedxray.a import A, B\n\nprint(A, B)\n",
        ("B = 1", "B = 9"),
    ),
    "statements in another order": (
        "X = []\nX.append(1)\nX.append(2)\n",
        "",
        "from fedxray.a import X\n\nprint(X)\n",
        ("X.append(1)\nX.append(2)\n", "X.append(2)\nX.append(1)\n"),
    ),
    "methods that change their class": (
        "class A:\n    def f(self):\n        return 1\n\n\nclass B:\n    def f(self):\n        return 2\n",
        "",
        "from fedxray.a import A, B\n\nprint(A().f(), B().f())\n",
        (
            "class A:\n    def f(self):\n        return 1\n\n\nclass B:\n    def f(self):\n        return 2\n",
            "class A:\n    def f(self):\n        return 2\n\n\nclass B:\n    def f(self):\n        return 1\n",
        ),
    ),
    "a list that another module adds to": (
        "from fedxray.b import ALL\n\nALL += [1]\n",
        "ALL = []\n",
        "import fedxray.a\nfrom fedxray.b import ALL\n\nprint(ALL)\n",
        ("[1]", "[9]"),
    ),
    "a walrus": ("A = [B := 1, 2]\n", "", "from fedxray.a import B\n\nprint(B)\n", (":= 1", ":= 9")),
    "a method under another name": (
        "class A:\n    def one(self):\n        return 1\n\n    two = property(one)\n",
        "",
        "from fedxray.a import A\n\nA().two\n",
        EDIT,
    ),
    "methodcaller": (
        "class A:\n    def one(self):\n        return 1\n",
        "",
        "from operator import methodcaller\n\nfrom fedxray.a import A\n\nmethodcaller('one')(A())\n",
        EDIT,
    ),
    "getattr as a value": (
        "class A:\n    def one(self):\n        return 1\n",
        "",
        "from fedxray.a import A\n\nlist(map(getattr, [A()], ['o' + 'ne']))\ngetattr(*[A(), 'one'])\n",
        EDIT,
    ),
    "a base without a base of its own": (
        "class Mixin:\n    def one(self):\n        return 1\n",
        "import json\n\nfrom fedxray.a import Mixin\n\n\nclass B(Mixin, json.JSONEncoder):\n    pass\n",
        "from fedxray.b import B\n\nprint(B)\n",
        EDIT,
    ),
    "the base of a class that a string names": (
        "class Base:\n    def one(self):\n        return 1\n",
        "from fedxray.a import Base\n\n\nclass B(Base):\n    pass\n",
        "print('fedxray.b.B')\n",
        EDIT,
    ),
    "a base that is imported again": (
        "from fedxray.b import Encoder\n\n\nclass A(Encoder):\n    def one(self):\n        return 1\n",
        "import json\n\nEncoder = json.JSONEncoder\n",
        "from fedxray.a import A\n\nprint(A)\n",
        EDIT,
    ),
    "help of another function": (
        "def one(help):\n    return help\n\n\nprint(one(help='some'))\n",
        "",
        "import fedxray.a\n",
        ("'some'", "'other'"),
    ),
    "what is printed into a file": (
        "import sys\n\nprint('some', file=sys.stderr)\n",
        "",
        "import fedxray.a\n",
        ("'some'", "'other'"),
    ),
    "the key of a value that is printed": (
        "import json\n\nprint(json.dumps({'some': 1}))\n",
        "",
        "import fedxray.a\n",
        ("'some'", "'other'"),
    ),
}


@pytest.mark.parametrize("what", WAYS)
def test_code_that_is_reached_in_another_way_counts(root, what):
    first, second, step, (old, new) = WAYS[what]
    (root / "fedxray" / "a.py").write_text(first)
    (root / "fedxray" / "b.py").write_text(second)
    (root / "scripts" / "step.py").write_text(step)
    assert changes(root, "fedxray/a.py", old, new)


PRINTS = """
import argparse


def unlike():
    return 1


def main():
    print(f"{unlike()} was read")


parser = argparse.ArgumentParser()
parser.add_argument_group("some options").add_argument("--x", help="some help")
main()
"""


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ("was read", "is read", False),
        ("unlike()}", "unlike() + 1}", True),
        ("some help", "other help", False),
        ("some options", "other options", False),
        ("--x", "--y", True),
        (
            PRINTS[PRINTS.index("def unlike") : PRINTS.index("parser")],
            "def main():\n    print(f'{unlike()} was read')\n\n\ndef unlike():\n    return 1\n\n\n",
            False,
        ),
    ],
)
def test_what_is_printed_and_where_a_function_lies_does_not_count(root, old, new, counts):
    (root / "scripts" / "step.py").write_text(PRINTS)
    assert changes(root, "scripts/step.py", old, new) == counts


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


def test_all_that_a_federation_runs_counts():
    """Whatever a module has for evaluations, cards and other machines, no training on one host runs."""
    root = Path(__file__).parents[2]
    code, scripts = Code(root), ("train_federated", "provision_federation", "render_project")
    reached = {place for name in scripts for place in code.reached(root / "scripts" / f"{name}.py")}
    missed = set()
    for name in ("admission", "certificates", "guard", "kits", "launcher", "one_host", "session", "store"):
        module = code.module(f"fedxray.flare.{name}")
        assert module
        for statement in module.statements:
            methods = [method for same in statement.methods.values() for method in same]
            missed |= {one.place for one in (statement, *methods) if one.place not in reached}
    assert not missed


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
