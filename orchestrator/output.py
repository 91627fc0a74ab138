"""What commands print: JSON for programs, and the two kinds of table for people."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from rich.table import Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterable


def print_json(value: object) -> None:
    """Print a value as JSON, in one line on standard output."""
    sys.stdout.write(json.dumps(value) + "\n")


def facts_table(facts: Iterable[tuple[str, str]]) -> Table:
    """Return a table of facts, each with its name at its left."""
    table = Table.grid(Column(style="dim"), Column(overflow="fold"), padding=(0, 3))
    for name, text in facts:
        table.add_row(name, text)
    return table


def headed_table(*headers: Column | str, gap: int = 3) -> Table:
    """Return an empty table without lines.

    Args:
        headers: of the columns.
        gap: width between two columns.
    """
    return Table(*headers, box=None, pad_edge=False, header_style="dim", padding=(0, gap, 0, 0))
