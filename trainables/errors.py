"""Errors that are shown to the user.

Each message is one line that says what is wrong, where, what is allowed and what to do next.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class NalError(Exception):
    """Base class of errors that are shown to the user as one line, without a traceback.

    Attributes:
        flag_advice: sentence on a flag that helps, which only the command line prints: a Python
            program has no flags.
    """

    exit_code = 1

    def __init__(self, message: str = "", flag_advice: str = "") -> None:
        super().__init__(message)
        self.flag_advice = flag_advice


class UserError(NalError):
    """Base class of errors in the user's request, which end the command with exit code 2."""

    exit_code = 2


class StudyError(UserError):
    """A study file is invalid, or a command-line flag that changes the study."""


class DataError(UserError):
    """A dataset is missing, incomplete or inconsistent."""


class HomeError(UserError):
    """The home folder (of all records) cannot be written, is full or is used by another sweep."""


class ServiceError(UserError):
    """A Ray cluster or a tracking server does not answer."""


class CodeError(UserError):
    """Code from outside this project cannot be used, or the user has not allowed its execution."""


class RecordError(NalError):
    """The record of a run contradicts the run's spec, or cannot be read."""


class InterruptionError(NalError):
    """The user or a job scheduler has interrupted the command (SIGINT or SIGTERM)."""

    exit_code = 130


class FieldError(ValueError):
    """The value of a field, such as a key of a study or a setting of a recipe, is not allowed.

    Attributes:
        field: name of the field, from which callers determine the line in the user's file.
        message: explanation of the error.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message

    def __reduce__(self) -> tuple[type[FieldError], tuple[str, str]]:
        return (type(self), (self.field, self.message))


def suggest(unknown_name: str, known_names: Iterable[str]) -> str:
    """Return the closest known name and a list of all known names, for an error message.

    Names are close if most of their letters agree, or if the known name begins with the unknown
    one. Upper and lower case are not distinguished.

    Args:
        unknown_name: name that the user has written.
        known_names: all names that are allowed in its place.
    """
    names = sorted(known_names)
    names_by_lower_case = {name.lower(): name for name in names}
    lower_case = unknown_name.lower()
    matches = difflib.get_close_matches(lower_case, names_by_lower_case, n=1) or [
        name for name in names_by_lower_case if lower_case and name.startswith(lower_case)
    ]
    hint = f"did you mean '{names_by_lower_case[matches[0]]}'? " if matches else ""
    return f"{hint}known: {', '.join(names)}"
