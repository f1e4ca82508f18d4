"""One checksum of the code that a step runs: a rule's `code` parameter, so that an edit of it runs the step again.

The checksum covers every definition of the package that a script reaches: by name, at any depth, through imports at the
top of a file or inside a function, and through strings that name one ("fedxray.flare.site.SiteTrainer", as a job's
configuration does). Importing a module runs its statements and those of its packages' `__init__.py`, so these count as
soon as anything of it is imported; its functions, classes and constants count only if they are reached. A method of a
class that is reached counts if an attribute of its name is used anywhere in the code that is reached, or if it may be
called by another name or from elsewhere: methods with underscores at both ends, all of a class that a string names or
that has a base from another package, and all where `getattr` is given a name that is computed.

What cannot change a result does not count: comments, docstrings, layout, the words of an error that is raised or of a
line that is logged, and the help of an option. Packages from elsewhere do not count either.
"""

import ast
import json
import re
import sys
from collections.abc import Iterator
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
NAMES_ONLY = "NamesOnly"  # core.names: the annotation of strings that name code without running it


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
            self.checksums[name] = sha256("\0".join(sorted(set(self.reached(script).values()))).encode()).hexdigest()
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
        """{place: text} of every statement and definition that `script` runs; the text has only what counts."""
        walk = _Walk(self)
        main = Module("__main__", Path(script), Path(script).read_text(encoding="utf-8"))
        walk.take_all(main)
        walk.settle()
        return walk.texts

    def module(self, name: str) -> "Module | None":
        """The module of this name, or None if the package has none."""
        if name not in self.modules:
            path = self.root.joinpath(*name.split("."))
            files = [file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()]
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

    def defining(self, target: Target) -> "list[Statement]":
        """The statements that define a name of a module; none of a module itself, and of a name that it imports."""
        module = self.module(target.module)
        return module.definitions.get(target.name, []) if module and target.name else []


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
    def bindings(self) -> dict[str, str]:
        """{name here: dotted name} of what the imports at the top bind."""
        return dict(pair for node in self.imports for pair in self.bound(node))

    def has(self, name: str) -> bool:
        """Whether the module defines or imports this name."""
        return name in self.definitions or name in self.bindings

    def bound(self, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
        """(name here, dotted name) of what an import statement of this module binds, if it is the package's."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == PACKAGE:
                    yield (alias.asname, alias.name) if alias.asname else (PACKAGE, PACKAGE)
        elif (base := self.absolute(node)).split(".")[0] == PACKAGE:
            for alias in node.names:
                yield alias.asname or alias.name, f"{base}.{alias.name}"

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

    def __init__(self, module: str, node: ast.stmt):
        self.place = f"{module}:{node.lineno}"
        self.module, self.node = module, node
        self.methods: dict[str, list[Statement]] = {}
        self.bases: list[str] = []
        if isinstance(node, ast.ClassDef):
            self.bases = [ast.unparse(base) for base in node.bases]
            for inner in [one for one in node.body if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))]:
                self.methods.setdefault(inner.name, []).append(Statement(module, inner))
            node.body = [one for one in node.body if not isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))]
            node.body = node.body or [ast.Pass()]

    @cached_property
    def text(self) -> str:
        """The statement as text, without what does not count."""
        return f"{self.module} {ast.unparse(_Normal().visit(self.node))}"

    @cached_property
    def has_effect(self) -> bool:
        """Whether an import of the module runs the statement for more than a definition of names."""
        return _has_effect(self.node)

    @cached_property
    def uses(self) -> "Uses":
        """What the statement refers to."""
        inner = list(ast.walk(self.node))
        imports = [one for one in inner if isinstance(one, (ast.Import, ast.ImportFrom))]
        strings = [] if _names_only(self.node) else [text for one in inner if (text := _text(one)) is not None]
        attributes = {one.attr for one in inner if isinstance(one, ast.Attribute)} | set(_asked(inner))
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
        self.texts: dict[str, str] = {}
        self.done: set[Target] = set()
        self.attributes: set[str] = set()  # names of attributes that the code uses
        self.waiting: list[tuple[Module, Statement, str, Statement]] = []  # (of class, name, method): unused so far
        self.named: set[str] = set()  # places of classes that a string names: other packages use them

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
        if statement.place in self.texts:
            return
        uses = statement.uses
        self.texts[statement.place] = statement.text
        everything = self.called_from_elsewhere(module, statement)
        for name, methods in statement.methods.items():
            for method in methods:
                if everything or _is_special(name):
                    self.take(module, method)
                else:
                    self.waiting.append((module, statement, name, method))
        bindings = dict(module.bindings)
        for node in uses.imports:
            self.load(module, node)
            bindings |= dict(module.bound(node))
        for dotted in uses.names:
            self.refer(module, dotted, bindings)
        for text in uses.strings:
            if target := self.code.resolve(text):
                self.reach(target)
                self.named |= {one.place for one in self.code.defining(target)}
        self.attributes |= uses.attributes

    def settle(self) -> None:
        """Take each method that has been waiting and whose name is used by now, until none is left."""
        while ready := [one for one in self.waiting if self.is_used(one[1], one[2])]:
            self.waiting = [one for one in self.waiting if one not in ready]
            for module, _, _, method in ready:
                self.take(module, method)

    def is_used(self, owner: Statement, name: str) -> bool:
        """Whether a method of a class may be called."""
        return name in self.attributes or ANY in self.attributes or owner.place in self.named

    def called_from_elsewhere(self, module: Module, statement: Statement) -> bool:
        """Whether code of other packages may call the methods of a class by name, because it has a base of theirs."""
        for base in statement.bases:
            first, *rest = base.split("[")[0].split(".")
            dotted = ".".join([module.bindings.get(first, f"{module.name}.{first}"), *rest])
            target = self.code.resolve(dotted)
            if target and target.name and (ours := self.code.module(target.module)):
                if any(self.called_from_elsewhere(ours, one) for one in self.code.defining(target)):
                    return True
            elif base.split("[")[0].rpartition(".")[2] not in PLAIN_BASES:
                return True
        return False

    def refer(self, module: Module, dotted: str, bindings: dict[str, str]) -> None:
        """Reach what a name such as `files.read_json` means in a module."""
        first, *rest = dotted.split(".")
        if first in bindings:
            self.follow(bindings[first], rest)
        elif first in module.definitions:
            self.reach_name(module, first)

    def follow(self, dotted: str, rest: list[str]) -> None:
        """Reach the longest of the names that `dotted` and the attributes after it mean."""
        while rest and self.code.module(dotted):
            dotted, rest = f"{dotted}.{rest[0]}", rest[1:]
        if target := self.code.resolve(dotted):
            module = self.code.module(target.module)
            if module and target.name in module.bindings and rest:  # a module that another one imports
                self.enter(module)
                self.follow(module.bindings[target.name], rest)
            else:
                self.reach(target)

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

    def reach_name(self, module: Module, name: str) -> None:
        """Reach what a module calls `name`."""
        if (target := Target(module.name, name)) in self.done:
            return
        self.done.add(target)
        for statement in module.definitions.get(name, []):
            self.take(module, statement)
        if name in module.bindings:
            self.follow(module.bindings[name], [])


class _Normal(ast.NodeTransformer):
    """Removes what cannot change a result."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Every node, without the docstring that it may begin with."""
        super().generic_visit(node)
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            if isinstance(first, ast.Expr) and _is_text(first.value):
                first.value = ast.copy_location(ast.Constant(""), first.value)
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """An error that is raised, without its words."""
        return _Wordless().visit(self.generic_visit(node))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """A call, without the words of a line that it logs or of an option's help."""
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr in LOGGED and _is_log(node.func.value):
            node.args = [_Wordless().visit(argument) for argument in node.args]
        for keyword in node.keywords:
            if keyword.arg == "help":
                _Wordless().visit(keyword)
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


def _is_log(node: ast.expr) -> bool:
    """Whether this is a logger: `log`, or `self.logger` of NVFlare's components."""
    return (node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")) in ("log", "logger")


def _defined(node: ast.stmt) -> Iterator[str]:
    """The names that a statement at the top of a module defines."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            yield from (inner.id for inner in ast.walk(target) if isinstance(inner, ast.Name))
    elif isinstance(node, ast.stmt) and not isinstance(node, (ast.Import, ast.ImportFrom)):
        for inner in ast.walk(node):  # in a block such as `if` or `try`
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                yield inner.id
            elif isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                yield inner.name


def _has_effect(node: ast.stmt) -> bool:
    """Whether a statement does more than define names."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        called = [one.func if isinstance(one, ast.Call) else one for one in node.decorator_list]
        names = [getattr(one, "attr", getattr(one, "id", "")) for one in called]
        return any(name not in PLAIN_DECORATORS for name in names)
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return False
    if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        stored = [inner for target in targets for inner in ast.walk(target) if isinstance(inner, ast.expr)]
        return not all(isinstance(one, (ast.Name, ast.Tuple, ast.List, ast.Starred)) for one in stored)
    return True


def _is_special(name: str) -> bool:
    """Whether Python itself calls a method of this name."""
    return name.startswith("__") and name.endswith("__")


def _asked(nodes: list[ast.AST]) -> Iterator[str]:
    """The attributes that `getattr` is asked for; ANY for a name that is computed."""
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            yield _text(node.args[1]) or ANY


def _names_only(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.AnnAssign) and isinstance(node.annotation, ast.Name) and node.annotation.id == NAMES_ONLY
    )


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
