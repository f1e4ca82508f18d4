"""YAML files that people write, without what YAML takes for something else without a word.

Of two values of one key it keeps the last, and 064 is 52 to it, and 1:30 is 90.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from fedxray.core.errors import UserError

MERGE = "tag:yaml.org,2002:merge"  # `<<`, which brings in another mapping and may do so again

INTEGER = "tag:yaml.org,2002:int"


def read_yaml(path: Path) -> object:
    """What a YAML file says. Raises UserError if it is not YAML or not UTF-8, and as `check_keys` does."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not text in UTF-8 (byte {error.start}); save it as UTF-8") from error
    except (yaml.YAMLError, ValueError) as error:  # the second for a date or number that cannot be
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    check_keys(path)
    return values


def check_keys(path: Path) -> None:
    """Raise UserError, a line for each, if a YAML or JSON file gives a key of one mapping twice, or a number as 064."""
    text = Path(path).read_text(encoding="utf-8").expandtabs(1)  # JSON may be indented by tabs
    faults = [f"{key}: {fault.format(path=path)}" for key, fault in _faults(yaml.compose(text))]
    if faults:
        raise UserError("\n".join(faults))


def _faults(root: yaml.Node | None) -> Iterator[tuple[str, str]]:
    """(dotted key, what is wrong) of each key that is given twice, and of each number in another base than ten."""
    seen, todo = set(), [("", root)]  # an alias is the node itself, and may lie within it
    while todo:
        key, node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        prefix = f"{key}." if key else ""
        if isinstance(node, yaml.ScalarNode) and node.tag == INTEGER and re.match(r"[-+]?0[0-7_]|.*:", node.value):
            number = yaml.safe_load(node.value)
            yield key, f"YAML reads {node.value} as {number} in {{path}}, line {_line(node)}; write it as you mean it"
        if isinstance(node, yaml.SequenceNode):
            todo += [(f"{prefix}{number}", item) for number, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            lines = {}
            for name, value in node.value:
                if isinstance(name, yaml.ScalarNode) and name.tag != MERGE:
                    if name.value in lines:
                        lines_of_both = f"{lines[name.value]} and {_line(name)}"
                        yield f"{prefix}{name.value}", f"twice in {{path}}, in lines {lines_of_both}; keep one"
                    lines.setdefault(name.value, _line(name))
                    todo.append((f"{prefix}{name.value}", value))


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1
