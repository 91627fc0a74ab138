"""`studies` and `show`: what there is to be carried out, and one of them resolved."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Column, Table

from orchestrator.output import headed_table, print_json
from search_spaces.files import study_titles
from search_spaces.layers import format_key, leaves

if TYPE_CHECKING:
    from orchestrator.flags import Changes

PIPED_WIDTH = 200
"""Where the output is no terminal: wide enough for every key and most sources in one line."""


def list_studies(*, as_json: bool) -> int:
    """Print the shipped studies."""
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
        "\npython -m orchestrator show STUDY prints one; the path of a YAML file works too."
    )
    return 0


def show(changes: Changes, *, as_yaml: bool) -> int:
    """Print a study resolved, each value with its source.

    Raises:
        StudyError: it cannot be read; says why.
    """
    loaded = changes.load()
    if as_yaml:
        sys.stdout.write(loaded.to_yaml())
        return 0
    folded = [Column(name, overflow="fold") for name in ("value", "source")]
    table = headed_table(Column("key", no_wrap=True), *folded)
    plain, sources = loaded.with_references()
    for path, value in leaves(plain):
        key = format_key(path)
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        table.add_row(key, shown, f"[dim]{sources.get(key, '')}[/]")
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(table)
    return 0
