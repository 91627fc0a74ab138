"""The errors a user may meet. Each message is one line: what, where, what is allowed, what next."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class NalError(Exception):
    """Any fault that is explained to the user in one line, without a traceback."""

    exit_code = 1


class UserError(NalError):
    """What was asked for cannot be done as asked: exit code 2."""

    exit_code = 2


class StudyError(UserError):
    """A study, or a flag that changes it, says something that cannot be."""


class DataError(UserError):
    """A dataset is missing, incomplete or not what it claims to be."""


class HomeError(UserError):
    """The home folder cannot be used: unwritable, full, or in use by another sweep."""


class ServiceError(UserError):
    """A Ray cluster or a tracking server does not answer."""


class RecordError(NalError):
    """A recorded run contradicts its spec, or cannot be read."""


class FieldError(ValueError):
    """A value that its field does not allow; `field` names it for whoever knows file and line."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message

    def __reduce__(self) -> tuple[type[FieldError], tuple[str, str]]:
        return (type(self), (self.field, self.message))


def suggest(wrong: str, known: Iterable[str]) -> str:
    """Say which names are known, nearest first: the tail of an "unknown name" message."""
    names = sorted(known)
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}known: {', '.join(names)}"
