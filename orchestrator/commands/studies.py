"""The commands `studies`, which lists the shipped studies, and `show`, which prints a study."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from orchestrator.output import headed_table, print_json
from search_spaces.files import study_titles
from search_spaces.layers import format_key, leaves

if TYPE_CHECKING:
    from orchestrator.flags import Changes

PIPED_WIDTH = 200
"""Number of characters in a line of output that is not a terminal.

All keys and most sources fit in one line of this width.
"""


def list_studies(*, as_json: bool) -> int:
    """Print the names and titles of the shipped studies, and return the exit code."""
    titles = study_titles()
    if as_json:
        print_json(titles)
        return 0
    table = Table.grid(padding=(0, 3))
    for name, title in titles.items():
        table.add_row(f"[bold]{name}[/]", title)
    console = Console(highlight=False)
    console.print(table)
    console.print(
        "\n`python -m orchestrator show STUDY` prints one; STUDY may be the path of a YAML file."
    )
    return 0


def show(changes: Changes, *, as_yaml: bool) -> int:
    """Print every value of a resolved study with its source, and return the exit code.

    Args:
        changes: the study and the changes that flags make to it.
        as_yaml: whether to print a study file instead of a table.

    Raises:
        StudyError: if the study is invalid.
    """
    loaded = changes.load()
    if as_yaml:
        sys.stdout.write(loaded.to_yaml())
        return 0
    columns = [Column(name, overflow="fold") for name in ("value", "source")]
    table = headed_table(Column("key", no_wrap=True), *columns)
    resolved_values, sources = loaded.with_references()
    for key_path, value in leaves(resolved_values):
        key = format_key(key_path)
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        table.add_row(Text(key), Text(text), Text(sources.get(key, ""), style="dim"))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(table)
    return 0
