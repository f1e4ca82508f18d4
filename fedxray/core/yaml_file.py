"""YAML files that people write, in which each key is given once: YAML itself keeps the last of two without a word."""

from collections.abc import Iterator
from pathlib import Path

import yaml

from fedxray.core.errors import UserError

MERGE = "tag:yaml.org,2002:merge"  # `<<`, which brings in another mapping and may do so again


def read_yaml(path: Path) -> object:
    """What a YAML file says. Raises UserError if it is not YAML, is not UTF-8, or gives a key twice."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not text in UTF-8 (byte {error.start}); save it as UTF-8") from error
    except (yaml.YAMLError, ValueError) as error:  # the second for a date or number that cannot be
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    check_keys(path)
    return values


def check_keys(path: Path) -> None:
    """Raise UserError, a line for each, if a YAML or JSON file gives a key of one of its mappings twice."""
    text = Path(path).read_text(encoding="utf-8").expandtabs(1)  # JSON may be indented by tabs
    lines = [f"{key}: twice in {path}, in lines {a} and {b}; keep one" for key, a, b in _twice(yaml.compose(text))]
    if lines:
        raise UserError("\n".join(lines))


def _twice(root: yaml.Node | None) -> Iterator[tuple[str, int, int]]:
    """(dotted key, first line, second line) of each key that is given twice; lines count from 1."""
    seen, todo = set(), [("", root)]  # an alias is the node itself, and may lie within it
    while todo:
        prefix, node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            todo += [(f"{prefix}{number}.", item) for number, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            lines = {}
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                    continue
                name, line = key.value, key.start_mark.line + 1
                if name in lines:
                    yield f"{prefix}{name}", lines[name], line
                lines.setdefault(name, line)
                todo.append((f"{prefix}{name}.", value))
