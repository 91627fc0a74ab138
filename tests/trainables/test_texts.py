from __future__ import annotations

import pytest

from trainables.texts import MAX_LINE_LENGTH, printable_message, short_value, shorten, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("\x9b2J", r"\x9b2J"),  # a C1 code, which acts like ESC [
        ("a\rb\x7f\u202e", r"a\rb\x7f\u202e"),
        ("\udcff", r"\udcff"),  # a byte of a file name that is not UTF-8
        ("ä\tλ = 0.5\n日本", "ä\tλ = 0.5\n日本"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert printable_message(text) == shown


def test_long_texts_are_shortened() -> None:
    assert shorten("x" * 200, 200) == "x" * 200
    assert shorten("a" * 50_000 + "b" * 50_000, 200) == (
        f"{'a' * 100}…{'b' * 50} (100,000 characters)"
    )
    assert len(short_value(list(range(200_000)))) < 200
    message = f"unknown study {'k' * 100_000}: known: {'digits, ' * 10}\nTraceback"
    line, rest = printable_message(message).split("\n")
    assert rest == "Traceback"
    assert line.startswith("unknown study kkk")
    assert "(100,001 characters)" in line
    assert line.endswith("digits, ")
    assert len(line) < 400
    assert len(printable_message("word " * 100_000)) < MAX_LINE_LENGTH
