"""YAML with the line of every key, and nothing in it that surprises.

Scalars follow YAML 1.2 (`1e-3` is a number, `no` is a word), a key may stand once, and what
PyYAML adds (anchors, merge keys, tags, dates, infinities) is refused: a study is plain data.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TypeAlias

import yaml

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"
"""A value as YAML or JSON holds it."""

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys, and positions in lists, from the top of a document down to a value."""

WIDTH = 80
_PREFIX = "tag:yaml.org,2002:"
_NUMBER_START = list("-+0123456789.")
_FLOAT = (
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_IMPLICIT = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", _NUMBER_START),
    ("float", _FLOAT, _NUMBER_START),
)

SCALARS = {"str", *(kind for kind, _, _ in _IMPLICIT)}


class YamlError(ValueError):
    """What is wrong in a YAML text, and in which line of it (from 1)."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(line, message)
        self.line = line
        self.message = message


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML text as values, with the line of each key and list item."""

    value: Plain
    lines: dict[KeyPath, int]


class _Loader(yaml.SafeLoader):
    """Composes nodes; aliases are refused, so that a document is a tree of bounded size."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - as PyYAML has it

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise YamlError(
                self.line + 1, "anchors and aliases (*name) are not read here: write it out"
            )
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


class _Dumper(yaml.SafeDumper):
    """Short collections of scalars stand in one line, everything else in lines of its own."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - as PyYAML has it

    def represent_data(self, data: object) -> yaml.Node:
        node: yaml.Node = super().represent_data(data)
        if isinstance(node, yaml.CollectionNode) and len(str(data)) > WIDTH:
            node.flow_style = False
        return node

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's interface
        return True


for _kind, _pattern, _first in _IMPLICIT:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_PREFIX + _kind, re.compile(f"^(?:{_pattern})$"), _first)


def parse_yaml(text: str) -> Document:
    """Read a YAML text.

    Raises:
        YamlError: it is no YAML, has a key twice, or holds what is not plain data.
    """
    try:
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        if error.context_mark and (mark is None or not text[mark.index :].strip()):
            mark = (
                error.context_mark
            )  # what is open at the end of the file is at fault, not the end
        reason = " ".join(str(error.problem or error.context).split())
        raise YamlError(mark.line + 1 if mark else 1, f"not valid YAML: {reason}") from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise YamlError(1, f"not valid YAML: {reason}") from error
    except RecursionError as error:
        raise YamlError(1, "not valid YAML: nested too deeply") from error
    lines: dict[KeyPath, int] = {}
    return Document(None if node is None else _value(node, (), lines), lines)


def dump_yaml(tree: dict[str, Plain]) -> str:
    """Write values so that `parse_yaml` reads the same back; keys keep their order."""
    text: str = yaml.dump(
        tree,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=100,
    )
    return text


def _value(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int]) -> Plain:
    kind = node.tag.removeprefix(_PREFIX)
    if isinstance(node, yaml.MappingNode) and kind == "map":
        return _mapping(node, path, lines)
    if isinstance(node, yaml.SequenceNode) and kind == "seq":
        items: list[Plain] = []
        for position, item in enumerate(node.value):
            lines[*path, position] = item.start_mark.line + 1
            items.append(_value(item, (*path, position), lines))
        return items
    if isinstance(node, yaml.ScalarNode) and kind in SCALARS:
        return _scalar(node, kind)
    raise YamlError(node.start_mark.line + 1, f"tags are not read here: remove {node.tag}")


def _mapping(node: yaml.MappingNode, path: KeyPath, lines: dict[KeyPath, int]) -> dict[str, Plain]:
    mapping: dict[str, Plain] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise YamlError(line, "a key must be a word")
        key = key_node.value
        if key in mapping:
            raise YamlError(line, f"{key}: is already given in line {lines[*path, key]}")
        lines[*path, key] = line
        mapping[key] = _value(value_node, (*path, key), lines)
    return mapping


def _scalar(node: yaml.ScalarNode, kind: str) -> Plain:
    line, text = node.start_mark.line + 1, node.value
    try:
        match kind:
            case "str":
                return str(text)
            case "null":
                return None
            case "bool":
                return {"true": True, "false": False}[text.lower()]
            case "int":
                return int(text)
            case _:
                number = float(re.sub(r"\.(?=[in])", "", text.lower()))
    except (KeyError, ValueError) as error:
        raise YamlError(line, f"{text!r} cannot be read as {kind}") from error
    if not math.isfinite(number):
        raise YamlError(line, f"a number must be finite, got {text}")
    return number
