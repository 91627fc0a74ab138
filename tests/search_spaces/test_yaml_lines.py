from __future__ import annotations

import re

import pytest

from search_spaces.yaml_lines import PlainValue, YamlError, dump_yaml, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("5E4", 50000.0),
        (".5", 0.5),
        ("-1.5e+2", -150.0),
        ("12", 12),
        ("010", 10),
        ("-3", -3),
        ("true", True),
        ("False", False),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2024-01-31", "2024-01-31"),
        ("'1e-3'", "1e-3"),
        ("null", None),
        ("~", None),
        ("", None),
        ("[1, 2.0, a]", [1, 2.0, "a"]),
        ("symmetric-0.4", "symmetric-0.4"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    read = parse_yaml(text).value
    assert read == value
    assert type(read) is type(value)


def test_every_key_and_item_has_its_line() -> None:
    document = parse_yaml("a: 1\n\nb:\n  c:\n    - x\n    - y\n  d: {e: 2}\n")
    assert document.value == {"a": 1, "b": {"c": ["x", "y"], "d": {"e": 2}}}
    assert document.lines == {
        ("a",): 1,
        ("b",): 3,
        ("b", "c"): 4,
        ("b", "c", 0): 5,
        ("b", "c", 1): 6,
        ("b", "d"): 7,
        ("b", "d", "e"): 7,
    }


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\nb: [1,\nc: 2\n", 2, "not valid YAML: "),
        ("a: 1\n b: 2\n", 2, "not valid YAML: "),
        ("a: 'open\n\n", 1, "not valid YAML: "),
        ("a: \x00", 1, "not valid YAML: remove the character U+0000, which cannot be printed"),
        ("a: 1\nb: 2\nc: x\x1by\nd: 3\n", 3, "not valid YAML: remove the character U+001B, "),
        ("a: 1\nb: 2\na: 3\n", 3, "a: this key is already set in line 1"),
        ("x:\n  y: 1\n  y: 2\n", 3, "y: this key is already set in line 2"),
        ("a: &n 1\nb: *n\n", 2, "anchors and aliases"),
        ("a: 1\nb: .inf\n", 2, "must be finite"),
        ("a: .NaN", 1, "must be finite"),
        ("a: -.Inf", 1, "must be finite"),
        ("a: 1e999", 1, "must be finite"),
        ("a: !!python/object:os.system x", 1, "tags are not allowed"),
        ("a: !!set {b}", 1, "tags are not allowed"),
        ("a: !!int x", 1, "cannot be read as int"),
        ("? [a, b]\n: 1\n", 1, "a key must be a text"),
        ("a: 1\n---\nb: 2\n", 2, "not valid YAML: "),
    ],
)
def test_a_fault_has_a_line_number_and_a_one_line_message(text: str, line: int, part: str) -> None:
    with pytest.raises(YamlError) as error_info:
        parse_yaml(text)
    assert error_info.value.line == line
    assert part in error_info.value.message
    assert "\n" not in error_info.value.message


def test_dumped_values_parse_to_the_same_values() -> None:
    tree: dict[str, PlainValue] = {
        "word": "1e-3",
        "truth": "true",
        "nothing": None,
        "small": 1e-05,
        "large": 1e300,
        "text": "ends with: a colon # and a hash",
        "greek": "λ and α",
        "lists": [[1, 2], [], ["null", "~"]],
        "map": {"x": {}, "y": {"low": 0.05, "log": True}},
    }
    again = parse_yaml(dump_yaml(tree)).value
    assert isinstance(again, dict)
    assert again == tree
    assert list(again) == list(tree)


def test_a_shared_list_is_dumped_twice() -> None:
    shared: list[PlainValue] = [1, 2]
    assert dump_yaml({"a": shared, "b": shared}) == "a: [1, 2]\nb: [1, 2]\n"


@pytest.mark.parametrize(
    ("text", "code"), [('title: "a\\e[31mb"', "U+001B"), ('a: 1\n"b\\u202e": 2', "U+202E")]
)
def test_control_characters_are_refused_with_their_line(text: str, code: str) -> None:
    with pytest.raises(YamlError, match=rf"contains the control character {re.escape(code)}") as e:
        parse_yaml(text)
    assert e.value.line == text.count("\n") + 1
