"""Output of the commands: JSON, and two styles of table for the terminal."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from rich.table import Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterable


def print_json(value: object) -> None:
    """Print a value as one line of JSON on standard output."""
    sys.stdout.write(json.dumps(value) + "\n")


def facts_table(facts: Iterable[tuple[str, str]]) -> Table:
    """Return a table of two columns, with a row for each fact.

    Args:
        facts: pairs of the name of a fact and its text.
    """
    table = Table.grid(Column(style="dim"), Column(overflow="fold"), padding=(0, 3))
    for name, text in facts:
        table.add_row(name, text)
    return table


def headed_table(*headers: Column | str, gap: int = 3) -> Table:
    """Return a table that has headers, but neither rows nor lines yet.

    Args:
        headers: headers of the columns.
        gap: number of spaces between two columns.
    """
    return Table(*headers, box=None, pad_edge=False, header_style="dim", padding=(0, gap, 0, 0))
