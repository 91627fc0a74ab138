"""A study's plain tree while what is published is written out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search_spaces.yaml_lines import KeyPath

Tree = dict[str, Any]

SOURCES = "sources"
"""Key under which an override gathers sources while it is settled."""


@dataclass
class Settled:
    """A study's tree with everything published written out.

    Attributes:
        tree: as the schema reads it.
        sources: where what was written out comes from, by path.
    """

    tree: Tree
    sources: dict[KeyPath, str] = field(default_factory=dict)


def mapping(value: object) -> Tree:
    """Return a value that is a mapping, or an empty one."""
    return value if isinstance(value, dict) else {}


def listed(value: object) -> list[Any]:
    """Return a value that is a list, or an empty one."""
    return value if isinstance(value, list) else []
