"""Texts of users, such as names in data folders, in messages and in the output of commands."""

from __future__ import annotations

import re

ACTING_CHARACTER = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters except tab and line feed, characters that change the direction of text, and
bytes of file names that are not UTF-8."""

MAX_WORD_LENGTH = 500
"""Largest length of a word in a message, in characters; paths are rarely as long."""

MAX_LINE_LENGTH = 5000
"""Largest length of a line of a message, in characters."""

MAX_VALUE_LENGTH = 200
"""Largest length of a value that a message repeats, in characters."""

_LONG_WORD = re.compile(rf"\S{{{MAX_WORD_LENGTH + 1},}}")


def visible(text: str) -> str:
    r"""Return a text whose control characters are escaped, such as `\x1b` for ESC.

    A terminal would otherwise carry out what they say: move, delete and colour other output.
    """
    return ACTING_CHARACTER.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def shorten(text: str, max_length: int) -> str:
    """Return a text whose middle is left out, with its length, if it is too long.

    Args:
        text: text.
        max_length: largest length that is not shortened, in characters.
    """
    if len(text) <= max_length:
        return text
    kept = max_length // 4
    return f"{text[: 2 * kept]}…{text[-kept:]} ({len(text):,} characters)"


def short_value(value: object) -> str:
    """Return the `repr` of a value of the user's, shortened, for a message."""
    return shorten(repr(value), MAX_VALUE_LENGTH)


def printable_message(message: str) -> str:
    """Return a message as it is printed: with visible characters, and without very long words."""
    lines = (
        shorten(
            _LONG_WORD.sub(lambda match: shorten(match[0], MAX_VALUE_LENGTH), line), MAX_LINE_LENGTH
        )
        for line in message.split("\n")
    )
    return visible("\n".join(lines))
