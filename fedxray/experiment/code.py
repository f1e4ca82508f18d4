"""One checksum of the code that a step runs: a rule's `code` parameter, so that an edit of it runs the step again.

The checksum covers every definition of the package that a script reaches: by name, at any depth, through imports at the
top of a file or inside a function, and through strings that name one ("fedxray.flare.site.SiteTrainer", as a job's
configuration does). Importing a module runs its statements and those of its packages' `__init__.py`, so these count as
soon as anything of it is imported; its functions, classes and constants count only if they are reached. A method of a
class that is reached counts if an attribute of its name is used anywhere in the code that is reached, or if it may be
called by another name or from elsewhere: methods with underscores at both ends, all of a class that a string names or
that has a base from another package, all of their bases, and all where `getattr` is given a name that is computed.

What cannot change a result does not count: comments, docstrings, layout, where in a file a function lies, the words of
an error that is raised or of a line that is logged or printed, and the help of an option. Of packages from elsewhere
only their names count: which function an import takes, and not what it does.

Some code is not seen: a module whose name is computed for `import_module` or lies in a file; a method that another
package calls of a class without a base of that package; a definition that is reached only by its registration, where
a constant's value, a base's `__init_subclass__` or a method's decorator does that. And a table that quotes an error's
words, or a program that reads them, does not follow a change of them.
"""

import ast
import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from fedxray.core.files import write_json

PACKAGE = "fedxray"
NAMED = re.compile(rf"{PACKAGE}(\.\w+)+")
ANY = "*"
LOGGED = ("debug", "info", "warning", "error", "exception")
# Decorators that do nothing beyond the function or class below them. Another one might register it somewhere.
PLAIN_DECORATORS = ("cache", "cached_property", "contextmanager", "dataclass", "lru_cache", "total_ordering", "wraps")
# Bases from elsewhere whose code calls no method of ours by its name.
PLAIN_BASES = ("ABC", "Exception", "Generic", "NamedTuple", "Protocol", "TypedDict", "ValueError", "object")
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
ASKING = {"getattr": 1, "attrgetter": 0, "methodcaller": 0}  # {function: which of its arguments names an attribute}
NAMES_ONLY = "NamesOnly"  # core.names: the annotation of strings that name code without running it

Bindings = dict[str, set[str]]  # {name in a file: the dotted names that its imports give it; several after a `try`}


class Target(NamedTuple):
    """A module of the package, or (with a name) what the module calls by that name."""

    module: str
    name: str | None = None


class Code:
    """The code below a folder that has the package, and scripts that import it."""

    def __init__(self, root: str | Path, memory: Path | None = None):
        """`memory` is a file of checksums, which hold as long as no Python file of package and scripts has changed."""
        self.root = Path(root)
        self.memory = memory
        self.modules: dict[str, Module | None] = {}
        self.checksums: dict[str, str] = {}
        if memory:
            self.state = self._state()
            with suppress(OSError, ValueError):
                remembered = json.loads(memory.read_text(encoding="utf-8"))
                self.checksums = remembered["checksums"] if remembered["state"] == self.state else {}

    def checksum(self, script: str | Path, *files: str | Path) -> str:
        """16 hexadecimal digits over the code that `script` runs, and over further `files` that it reads."""
        name = Path(script).name
        if name not in self.checksums:
            self.checksums[name] = sha256("\0".join(self.reached(script).values()).encode()).hexdigest()
        digest = sha256(self.checksums[name].encode())
        for file in files:
            digest.update(Path(file).read_bytes())
        return digest.hexdigest()[:16]

    def remember(self) -> None:
        """Keep the checksums in the file `memory` for the next time. It does nothing if the file cannot be written."""
        if self.memory:
            with suppress(OSError):
                write_json(self.memory, {"state": self.state, "checksums": self.checksums})

    def _state(self) -> str:
        """The SHA-256 of every Python file of package and scripts, and of the version of Python, which reads them."""
        digest = sha256(sys.version.encode())
        for path in sorted([*self.root.glob(f"{PACKAGE}/**/*.py"), *self.root.glob("scripts/*.py")]):
            digest.update(f"{path.relative_to(self.root).as_posix()}\0".encode() + path.read_bytes())
        return digest.hexdigest()

    def reached(self, script: str | Path) -> dict[str, str]:
        """{place: text} of every statement and definition that `script` runs; the text has only what counts.

        They are in an order that a function or class keeps wherever it is moved in its file, and a statement does not.
        """
        walk = _Walk(self)
        main = Module("__main__", Path(script), Path(script).read_text(encoding="utf-8"))
        walk.take_all(main)
        walk.settle()
        taken = sorted((*one.order, text, place) for place, (one, text) in walk.taken.items())
        return {place: text for *_, text, place in taken}

    def module(self, name: str) -> "Module | None":
        """The module of this name, or None if the package has none."""
        if name not in self.modules:
            path = self.root.joinpath(*name.split("."))
            files = [path / "__init__.py", path.with_suffix(".py")] if name.split(".")[0] == PACKAGE else []
            files = [file for file in files if file.is_file()]
            text = files[0].read_text(encoding="utf-8") if files else ""
            self.modules[name] = Module(name, files[0], text) if files else None
        return self.modules[name]

    def resolve(self, dotted: str) -> Target | None:
        """What a dotted name of the package means: a module, or a name in one. None if it means neither."""
        if self.module(dotted):
            return Target(dotted)
        parent, _, name = dotted.rpartition(".")
        module = self.module(parent) if parent else None
        return Target(parent, name) if module and module.has(name) else None

    def defining(self, dotted: str) -> "list[tuple[Module, Statement]]":
        """The statements that define a dotted name, each with its module; none of a module itself."""
        target = self.resolve(dotted)
        if not (target and target.name and (module := self.module(target.module))):
            return []
        here = [(module, one) for one in module.definitions.get(target.name, [])]
        return here + [pair for meaning in module.bindings.get(target.name, ()) for pair in self.defining(meaning)]


class Module:
    """The top of one file: what it defines, what it imports, and what it runs when it is imported."""

    def __init__(self, name: str, path: Path, text: str):
        self.name = name
        self.is_package = path.name == "__init__.py"
        body = [node for node in ast.parse(text).body if not (isinstance(node, ast.Expr) and _is_text(node.value))]
        self.imports = [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
        self.statements = [Statement(name, node) for node in body if not isinstance(node, (ast.Import, ast.ImportFrom))]

    @cached_property
    def definitions(self) -> "dict[str, list[Statement]]":
        """{name: the statements that define it} of functions, classes and variables."""
        names: dict[str, list[Statement]] = {}
        for statement in self.statements:
            for name in _defined(statement.node):
                names.setdefault(name, []).append(statement)
        return names

    @cached_property
    def bindings(self) -> "Bindings":
        """What the imports at the top bind, and those in a block there, such as a `try`."""
        blocks = [one.node for one in self.statements if one.has_effect and not isinstance(one.node, DEFINITIONS)]
        inner = [node for block in blocks for node in ast.walk(block) if isinstance(node, (ast.Import, ast.ImportFrom))]
        return self.bound([*self.imports, *inner])

    def has(self, name: str) -> bool:
        """Whether the module defines or imports this name."""
        return name in self.definitions or name in self.bindings

    def bound(self, nodes: Iterable[ast.Import | ast.ImportFrom]) -> "Bindings":
        """What import statements of this module bind."""
        names: Bindings = {}
        for node in nodes:
            for alias in node.names:
                if isinstance(node, ast.ImportFrom):
                    names.setdefault(alias.asname or alias.name, set()).add(f"{self.absolute(node)}.{alias.name}")
                else:
                    whole = alias.name if alias.asname else alias.name.split(".")[0]
                    names.setdefault(alias.asname or whole, set()).add(whole)
        return names

    def imported(self, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        """The dotted names that an import statement of this module may load as modules."""
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            yield self.absolute(node)
            yield from (f"{self.absolute(node)}.{alias.name}" for alias in node.names)

    def absolute(self, node: ast.ImportFrom) -> str:
        """The module that `from ... import` names, without leading dots."""
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        base = parts[: len(parts) - node.level + self.is_package]
        return ".".join([*base, *([node.module] if node.module else [])])


class Statement:
    """One statement at the top of a module, such as a function; or a class without its methods; or a method."""

    def __init__(self, module: str, node: ast.stmt, owner: str = ""):
        """`owner` is the class that a method is of."""
        self.place = f"{module}:{node.lineno}:{node.col_offset}"
        self.module, self.node, self.owner = module, node, owner
        self.is_class = isinstance(node, ast.ClassDef)
        self.methods: dict[str, list[Statement]] = {}
        self.bases: list[str] = []
        if isinstance(node, ast.ClassDef):
            self.bases = [ast.unparse(base) for base in node.bases]
            for inner in [one for one in node.body if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))]:
                self.methods.setdefault(inner.name, []).append(Statement(module, inner, node.name))
            node.body = [one for one in node.body if not isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))]
            node.body = node.body or [ast.Pass()]

    @cached_property
    def text(self) -> str:
        """The statement as text, without what does not count."""
        return f"{self.module} {self.owner} {ast.unparse(_Normal().visit(self.node))}"

    @cached_property
    def has_effect(self) -> bool:
        """Whether an import of the module runs the statement for more than a definition of names."""
        return _has_effect(self.node)

    @property
    def order(self) -> tuple[str, bool, int, int]:
        """By what statements are sorted, before their text: those of a module that have an effect, by their place."""
        line, column = (self.node.lineno, self.node.col_offset) if self.has_effect else (0, 0)
        return self.module, self.has_effect, line, column

    @cached_property
    def uses(self) -> "Uses":
        """What the statement refers to."""
        inner = list(ast.walk(self.node))
        imports = [one for one in inner if isinstance(one, (ast.Import, ast.ImportFrom))]
        strings = [] if _names_only(self.node) else [text for one in inner if (text := _text(one)) is not None]
        attributes = {one.attr for one in inner if isinstance(one, ast.Attribute)} | set(_asked(inner))
        if self.is_class:  # a method by its name alone, such as property's
            attributes |= {one.id for one in inner if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)}
        return Uses(_references(inner), imports, [text for text in strings if NAMED.fullmatch(text)], attributes)


class Uses(NamedTuple):
    """What a statement refers to."""

    names: set[str]  # each with the attributes after it: `files.read_json`
    imports: list[ast.Import | ast.ImportFrom]  # import statements inside it
    strings: list[str]  # texts that may name a part of the package
    attributes: set[str]  # names of attributes of any object; ANY if a name is computed


class _Walk:
    """One walk over the code that is reached."""

    def __init__(self, code: Code):
        self.code = code
        self.taken: dict[str, tuple[Statement, str]] = {}  # {place: (statement, text)}
        self.done: set[Target] = set()
        self.attributes: set[str] = set()  # names of attributes that the code uses
        self.waiting: list[tuple[Module, Statement, str, Statement]] = []  # (of class, name, method): unused so far
        self.exposed: set[str] = set()  # places of classes of which other packages may call any method

    def take_all(self, module: Module) -> None:
        """Take every statement of a module, with what it refers to."""
        self.enter(module)
        for statement in module.statements:
            self.take(module, statement)

    def enter(self, module: Module) -> None:
        """Take what an import of the module runs: its packages, its statements, and the imports at its top."""
        if Target(module.name) in self.done:
            return
        self.done.add(Target(module.name))
        parent = module.name.rpartition(".")[0]
        if parent and (package := self.code.module(parent)):
            self.enter(package)
        for node in module.imports:
            self.load(module, node)
        for statement in module.statements:
            if statement.has_effect:
                self.take(module, statement)

    def load(self, module: Module, node: ast.Import | ast.ImportFrom) -> None:
        """Follow an import statement."""
        for name in module.imported(node):
            if name.split(".")[0] == PACKAGE and (loaded := self.code.module(name)):
                self.enter(loaded)
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            self.reach(Target(module.absolute(node)))

    def take(self, module: Module, statement: Statement) -> None:
        """Count a statement, and reach all that it refers to."""
        if statement.place in self.taken:
            return
        uses = statement.uses
        bindings = _merged(module.bindings, module.bound(uses.imports))
        used = {name.split(".")[0] for name in uses.names} & set(module.bindings)
        meanings = [f"{name}={','.join(sorted(module.bindings[name]))}" for name in sorted(used)]
        self.taken[statement.place] = statement, "\n".join([statement.text, *meanings])
        if self.called_from_elsewhere(module, statement):
            self.expose(module, statement)
        for name, methods in statement.methods.items():
            for method in methods:
                if _is_special(name):
                    self.take(module, method)
                else:
                    self.waiting.append((module, statement, name, method))
        for node in uses.imports:
            self.load(module, node)
        for dotted in uses.names:
            self.refer(module, dotted, bindings)
        for text in uses.strings:
            if target := self.code.resolve(text):
                self.reach(target)
                for one in self.code.defining(text):
                    self.expose(*one)
        self.attributes |= uses.attributes

    def settle(self) -> None:
        """Take each method that has been waiting and whose name is used by now, until none is left."""
        while ready := [one for one in self.waiting if self.is_used(one[1], one[2])]:
            self.waiting = [one for one in self.waiting if one not in ready]
            for module, _, _, method in ready:
                self.take(module, method)

    def is_used(self, owner: Statement, name: str) -> bool:
        """Whether a method of a class may be called."""
        return name in self.attributes or ANY in self.attributes or owner.place in self.exposed

    def bases(self, module: Module, statement: Statement) -> tuple[list[tuple[Module, Statement]], bool]:
        """The bases of a class that the package defines, and whether others may call its methods by name."""
        ours, elsewhere = [], False
        for base in statement.bases:
            first, *rest = base.split("[")[0].split(".")
            meanings = module.bindings.get(first, {f"{module.name}.{first}"})
            defining = [pair for one in meanings for pair in self.code.defining(".".join([one, *rest]))]
            found = [pair for pair in defining if pair[1].is_class]
            ours += found
            elsewhere = elsewhere or (not found and [first, *rest][-1] not in PLAIN_BASES)
        return ours, elsewhere

    def called_from_elsewhere(self, module: Module, statement: Statement) -> bool:
        """Whether code of other packages may call the methods of a class by name, because it has a base of theirs."""
        ours, elsewhere = self.bases(module, statement)
        return elsewhere or any(self.called_from_elsewhere(*one) for one in ours)

    def expose(self, module: Module, statement: Statement) -> None:
        """Count every method of a class and of its bases, because code of other packages may call them by name."""
        if statement.place not in self.exposed:
            self.exposed.add(statement.place)
            for one in self.bases(module, statement)[0]:
                self.expose(*one)

    def refer(self, module: Module, dotted: str, bindings: "Bindings") -> None:
        """Reach what a name such as `files.read_json` means in a module."""
        first, *rest = dotted.split(".")
        for meaning in bindings.get(first, ()):
            self.follow(meaning, rest)
        if first in module.definitions:
            self.reach_name(module, first)
        elif first == "globals":  # any name of the module
            self.reach(Target(module.name))

    def follow(self, dotted: str, rest: list[str]) -> None:
        """Reach the longest of the names that `dotted` and the attributes after it mean."""
        while rest and self.code.module(dotted):
            dotted, rest = f"{dotted}.{rest[0]}", rest[1:]
        parent, _, name = dotted.rpartition(".")
        if target := self.code.resolve(dotted):
            module = self.code.module(target.module)
            if module and target.name in module.bindings and rest:  # a module that another one imports
                self.enter(module)
                for meaning in module.bindings[target.name]:
                    self.follow(meaning, rest)
            else:
                self.reach(target)
        elif self.code.module(parent) and not _is_special(name):  # made in another way, such as by `__getattr__`
            self.reach(Target(parent))

    def reach(self, target: Target) -> None:
        """Reach a name of a module, or all of a module that is used as a value."""
        if target.name is None and target.module == PACKAGE:
            return
        module = self.code.module(target.module)
        if module is None:
            return
        self.enter(module)
        if target.name is not None:
            self.reach_name(module, target.name)
        elif (whole := Target(target.module, "*")) not in self.done:
            self.done.add(whole)
            self.take_all(module)
            for name in module.bindings:
                self.reach_name(module, name)

    def reach_name(self, module: Module, name: str) -> None:
        """Reach what a module calls `name`."""
        if (target := Target(module.name, name)) in self.done:
            return
        self.done.add(target)
        for statement in module.definitions.get(name, []):
            self.take(module, statement)
        for meaning in module.bindings.get(name, ()):
            self.follow(meaning, [])


class _Normal(ast.NodeTransformer):
    """Removes what cannot change a result."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Every node, without the docstring that it may begin with."""
        super().generic_visit(node)
        if isinstance(node, DEFINITIONS):
            first = node.body[0]
            if isinstance(first, ast.Expr) and _is_text(first.value):
                first.value = ast.copy_location(ast.Constant(""), first.value)
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """An error that is raised, without its words."""
        return _Wordless().visit(self.generic_visit(node))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """A call, without the words of a line that it logs or prints, or of an option's help."""
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute):
            if node.func.attr == "add_argument_group" or (node.func.attr in LOGGED and _is_log(node.func.value)):
                node.args = [_Wordless().visit(argument) for argument in node.args]
            for keyword in node.keywords if node.func.attr in ("add_argument", "add_parser") else ():
                if keyword.arg == "help":
                    _Wordless().visit(keyword)
        elif _is_print(node):
            node.args = [_Wordless().visit(one) if _is_words(one) else one for one in node.args]
        return node


class _Wordless(ast.NodeTransformer):
    """Removes the text between the values of a message."""

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """A constant, without its text."""
        return ast.copy_location(ast.Constant(""), node) if _is_text(node) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        """An f-string: the values alone, in their order."""
        node.values = [self.visit(value) for value in node.values if isinstance(value, ast.FormattedValue)]
        return node

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.AST:
        """A value of an f-string, however it is written."""
        node.format_spec = None
        return self.generic_visit(node)


def _text(node: ast.AST) -> str | None:
    """The text of a string constant; None of anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _is_text(node: ast.AST) -> bool:
    return _text(node) is not None


def _is_words(node: ast.expr) -> bool:
    return _is_text(node) or isinstance(node, ast.JoinedStr)


def _is_print(node: ast.Call) -> bool:
    """Whether this prints to the standard output."""
    to_output = all(keyword.arg in ("sep", "end", "flush") for keyword in node.keywords)
    return to_output and isinstance(node.func, ast.Name) and node.func.id == "print"


def _is_log(node: ast.expr) -> bool:
    """Whether this is a logger: `log`, or `self.logger` of NVFlare's components."""
    return (node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")) in ("log", "logger")


def _defined(node: ast.stmt) -> Iterator[str]:
    """The names that a statement at the top of a module defines."""
    if isinstance(node, DEFINITIONS):
        yield node.name
    elif isinstance(node, (ast.Assign, ast.AnnAssign)):
        within = [inner.target for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr)]
        for target in [*within, *(node.targets if isinstance(node, ast.Assign) else [node.target])]:
            yield from (inner.id for inner in ast.walk(target) if isinstance(inner, ast.Name))
    elif isinstance(node, ast.stmt) and not isinstance(node, (ast.Import, ast.ImportFrom)):
        for inner in ast.walk(node):  # in a block such as `if` or `try`
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                yield inner.id
            elif isinstance(inner, DEFINITIONS):
                yield inner.name


def _has_effect(node: ast.stmt) -> bool:
    """Whether a statement does more than define names."""
    if isinstance(node, DEFINITIONS):
        called = [one.func if isinstance(one, ast.Call) else one for one in node.decorator_list]
        names = [getattr(one, "attr", getattr(one, "id", "")) for one in called]
        return any(name not in PLAIN_DECORATORS for name in names)
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return bool(node.orelse)
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        stored = [inner for target in targets for inner in ast.walk(target) if isinstance(inner, ast.expr)]
        return not all(isinstance(one, (ast.Name, ast.Tuple, ast.List, ast.Starred)) for one in stored)
    return True


def _is_special(name: str) -> bool:
    """Whether Python itself calls a method of this name."""
    return name.startswith("__") and name.endswith("__")


def _asked(nodes: list[ast.AST]) -> Iterator[str]:
    """The attributes that `getattr` and the like are asked for; ANY for a name that is computed."""
    calls = {id(one.func): one.args for one in nodes if isinstance(one, ast.Call)}
    for node in nodes:
        name = node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
        if name in ASKING:
            names = calls.get(id(node), [])[ASKING[name] :]
            yield from (part for one in names if _is_text(one) for part in (_text(one) or "").split("."))
            if not names or not _is_text(names[0]):
                yield ANY


def _names_only(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.AnnAssign) and isinstance(node.annotation, ast.Name) and node.annotation.id == NAMES_ONLY
    )


def _merged(one: Bindings, other: Bindings) -> Bindings:
    return {name: one.get(name, set()) | other.get(name, set()) for name in one | other}


def _references(nodes: list[ast.AST]) -> set[str]:
    """The names among the parts of a statement, each with the attributes after it: `files.read_json`."""
    names, within = set(), set()
    for node in nodes:  # outer ones first
        if isinstance(node, ast.Attribute) and id(node) not in within:
            parts, value = [node.attr], node.value
            while isinstance(value, ast.Attribute):
                within.add(id(value))
                parts.append(value.attr)
                value = value.value
            if isinstance(value, ast.Name):
                within.add(id(value))
                names.add(".".join([value.id, *reversed(parts)]))
        elif isinstance(node, ast.Name) and id(node) not in within:
            names.add(node.id)
    return names
