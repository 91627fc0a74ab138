"""A strict subset of YAML, parsed with the line number of every key.

Scalars follow YAML 1.2 (`1e-3` is a number, `no` is a text) and duplicate keys are refused, as
are anchors, merge keys, tags and infinities. Dates are read as texts.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TypeAlias

import yaml

from trainables.texts import ACTING_CHARACTER, short_value

PlainValue: TypeAlias = "bool | int | float | str | list[PlainValue] | dict[str, PlainValue] | None"
"""Type of the values that both YAML and JSON can represent."""

KeyPath: TypeAlias = tuple[str | int, ...]
"""Path to a value in nested mappings: keys and list positions, such as ("seeds", 0)."""

MAX_INLINE_LENGTH = 80
"""Largest length, in characters, of a list or mapping that `dump_yaml` writes in one line."""

_TAG_PREFIX = "tag:yaml.org,2002:"
_NUMBER_START = list("-+0123456789.")
_FLOAT_PATTERN = (
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_SCALAR_PATTERNS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", _NUMBER_START),
    ("float", _FLOAT_PATTERN, _NUMBER_START),
)
"""Name, regular expression and possible first characters of each kind of untagged scalar.

The first kind whose expression matches a scalar applies.
"""

SCALAR_KINDS = {"str", *(kind for kind, _, _ in _SCALAR_PATTERNS)}
"""Names of the kinds of scalars that a study may contain, as in YAML's tags."""


class YamlError(ValueError):
    """Error in a YAML text, with its line number.

    Attributes:
        line: number of the faulty line, from 1.
        message: description of the error.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(line, message)
        self.line = line
        self.message = message


@dataclass(frozen=True, slots=True)
class Document:
    """Content of a YAML text, with the line number of every key.

    Attributes:
        value: parsed content.
        lines: line number, from 1, of each key and list item.
    """

    value: PlainValue
    lines: dict[KeyPath, int]


class _Loader(yaml.SafeLoader):
    """YAML loader that refuses aliases, since nested aliases can expand without bound."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's interface

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise YamlError(
                self.line + 1,
                "anchors and aliases (*name) are not allowed in a study: repeat the value",
            )
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


class _Dumper(yaml.SafeDumper):
    """YAML dumper that writes short lists and mappings of scalars in one line."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's interface

    def represent_data(self, data: object) -> yaml.Node:
        node: yaml.Node = super().represent_data(data)
        if isinstance(node, yaml.CollectionNode) and len(str(data)) > MAX_INLINE_LENGTH:
            node.flow_style = False
        return node

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's interface
        return True


for _kind, _pattern, _first_characters in _SCALAR_PATTERNS:
    for _yaml_class in (_Loader, _Dumper):
        _yaml_class.add_implicit_resolver(
            _TAG_PREFIX + _kind, re.compile(f"^(?:{_pattern})$"), _first_characters
        )


def parse_yaml(text: str) -> Document:
    """Parse a YAML text and record the line number of every key.

    Raises:
        YamlError: if the text is not valid YAML, repeats a key, or contains an alias, a tag or an
            infinite number.
    """
    try:
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        if error.context_mark and (mark is None or not text[mark.index :].strip()):
            # A bracket or quote left open is at fault, not the end of the text that reveals it.
            mark = error.context_mark
        reason = " ".join(str(error.problem or error.context).split())
        raise YamlError(mark.line + 1 if mark else 1, f"not valid YAML: {reason}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = f"U+{ord(text[error.position]):04X}"
        raise YamlError(
            line, f"not valid YAML: remove the character {code}, which cannot be printed"
        ) from error
    except RecursionError as error:
        raise YamlError(
            1, "not valid YAML: the lists and mappings are nested too deeply"
        ) from error
    lines: dict[KeyPath, int] = {}
    return Document(None if node is None else _convert_node(node, (), lines), lines)


def dump_yaml(tree: dict[str, PlainValue]) -> str:
    """Return YAML text that `parse_yaml` parses to the same values; keys keep their order."""
    text: str = yaml.dump(
        tree,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=100,
    )
    return text


def _convert_node(node: yaml.Node, key_path: KeyPath, lines: dict[KeyPath, int]) -> PlainValue:
    """Return the value of a node, and record the lines of the keys and items inside it."""
    kind = node.tag.removeprefix(_TAG_PREFIX)
    if isinstance(node, yaml.MappingNode) and kind == "map":
        return _convert_mapping(node, key_path, lines)
    if isinstance(node, yaml.SequenceNode) and kind == "seq":
        items: list[PlainValue] = []
        for position, item in enumerate(node.value):
            lines[*key_path, position] = item.start_mark.line + 1
            items.append(_convert_node(item, (*key_path, position), lines))
        return items
    if isinstance(node, yaml.ScalarNode) and kind in SCALAR_KINDS:
        return _convert_scalar(node, kind)
    raise YamlError(node.start_mark.line + 1, f"tags are not allowed in a study: remove {node.tag}")


def _convert_mapping(
    node: yaml.MappingNode, key_path: KeyPath, lines: dict[KeyPath, int]
) -> dict[str, PlainValue]:
    mapping: dict[str, PlainValue] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise YamlError(line, "a key must be a text, not a list or mapping")
        key = key_node.value
        if key in mapping:
            raise YamlError(
                line,
                f"{key}: this key is already set in line {lines[*key_path, key]}: remove one",
            )
        lines[*key_path, key] = line
        _checked_text(key, line)
        mapping[key] = _convert_node(value_node, (*key_path, key), lines)
    return mapping


def _checked_text(text: str, line: int) -> str:
    """Return a text without characters that would act on a terminal instead of being shown.

    Raises:
        YamlError: if there are such characters.
    """
    match = ACTING_CHARACTER.search(text)
    if match is not None:
        raise YamlError(
            line, f"a text contains the control character U+{ord(match[0]):04X}: remove it"
        )
    return text


def _convert_scalar(node: yaml.ScalarNode, kind: str) -> PlainValue:
    line = node.start_mark.line + 1
    text = _checked_text(node.value, line)
    try:
        match kind:
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return {"true": True, "false": False}[text.lower()]
            case "int":
                return int(text)
            case _:
                number = float(re.sub(r"\.(?=[in])", "", text.lower()))
    except (KeyError, ValueError) as error:
        raise YamlError(line, f"{short_value(text)} cannot be read as {kind}") from error
    if not math.isfinite(number):
        raise YamlError(line, f"a number must be finite, got {text}")
    return number
