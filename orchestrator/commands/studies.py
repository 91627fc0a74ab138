"""The commands `studies` (list the included studies) and `show` (print one study)."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from rich.table import Column, Table
from rich.text import Text

from orchestrator.output import CommandConsole, headed_table, print_json
from search_spaces.files import shipped_study_titles
from search_spaces.layers import format_key, iter_leaves

if TYPE_CHECKING:
    from orchestrator.flags import StudyFlags


def list_studies(*, as_json: bool) -> int:
    """Print the names and titles of the studies in the package, and return the exit code."""
    titles = shipped_study_titles()
    if as_json:
        print_json(titles)
        return 0
    table = Table.grid(padding=(0, 3))
    for name, title in titles.items():
        table.add_row(Text(name, style="bold"), title)
    console = CommandConsole()
    console.print(table)
    console.print(
        "\n`python -m orchestrator show STUDY` prints all values of a study. STUDY is a name from "
        "this list, or the path of a YAML file."
    )
    return 0


def show(study_flags: StudyFlags, *, as_yaml: bool) -> int:
    """Print every value of a resolved study with its source, and return the exit code.

    Args:
        study_flags: flags that select the study and change it.
        as_yaml: whether to print a YAML study file instead of a table.

    Raises:
        StudyError: if the study is invalid.
    """
    loaded = study_flags.load()
    if as_yaml:
        sys.stdout.write(loaded.to_yaml())
        return 0
    columns = [Column(name, overflow="fold") for name in ("value", "source")]
    table = headed_table(Column("key", no_wrap=True), *columns)
    resolved_values, sources = loaded.with_references()
    for key_path, value in iter_leaves(resolved_values):
        key = format_key(key_path)
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        table.add_row(Text(key), Text(text), Text(sources.get(key, ""), style="dim"))
    CommandConsole().print(table)
    return 0
