"""Errors that are shown to the user.

Each message is one line that says what is wrong, where, what is allowed and what to do next.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class NalError(Exception):
    """Base class of errors that are shown to the user as one line, without a traceback."""

    exit_code = 1


class UserError(NalError):
    """An error in the user's request, which ends the command with exit code 2."""

    exit_code = 2


class StudyError(UserError):
    """A study, or a flag that changes it, is invalid."""


class DataError(UserError):
    """A dataset is missing, incomplete or inconsistent."""


class HomeError(UserError):
    """The home folder cannot be used: unwritable, full, or in use by another sweep."""


class ServiceError(UserError):
    """A Ray cluster or a tracking server does not answer."""


class CodeError(UserError):
    """Code outside the package that cannot be used, or that the user has not allowed."""


class RecordError(NalError):
    """A recorded run contradicts its spec, or cannot be read."""


class FieldError(ValueError):
    """A value that its field does not allow.

    Attributes:
        field: name of the field, from which callers find the file and line.
        message: explanation of the error.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message

    def __reduce__(self) -> tuple[type[FieldError], tuple[str, str]]:
        return (type(self), (self.field, self.message))


def suggest(wrong: str, known: Iterable[str]) -> str:
    """Return the end of an "unknown name" message: the closest match and all known names."""
    names = sorted(known)
    matches = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    hint = f"did you mean '{matches[0]}'? " if matches else ""
    return f"{hint}known: {', '.join(names)}"
