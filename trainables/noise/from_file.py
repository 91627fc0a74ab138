"""Noisy labels from a file of the user's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Self

from trainables.errors import FieldError
from trainables.noise.base import FixedLabels

_PREFIX = "file-"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class FromFile(FixedLabels):
    """The labels that stand in a file, one fixed set; see `label_files` for its forms.

    Attributes:
        name: of the file in the data folder's `labels/`, without its ending.
    """

    name: str

    forms: ClassVar[tuple[str, ...]] = ("file-NAME",)

    @classmethod
    def parse(cls, scenario: str) -> Self | None:
        """Read `file-mine`.

        Raises:
            FieldError: the name is no plain file name.
        """
        if not scenario.startswith(_PREFIX):
            return None
        name = scenario.removeprefix(_PREFIX)
        if not _NAME.fullmatch(name):
            raise FieldError(
                "scenario",
                f"scenario '{scenario}': after file- comes the name of a file in labels/ in the "
                "data folder, without its ending: letters, digits, _ . and -",
            )
        return cls(name)

    @property
    def title(self) -> str:
        """The setting as tables head a column with it."""
        return f"labels from {self.name}"

    @property
    def annotation(self) -> str:
        """The scenario's name, which no set of human annotations has."""
        return f"{_PREFIX}{self.name}"

    @property
    def label_file(self) -> str:
        """Name of the file."""
        return self.name
