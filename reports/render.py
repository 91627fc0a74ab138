"""Rendering of a table for the terminal, as plain text, and as Markdown."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

if TYPE_CHECKING:
    from reports.table import Entry, Row, Table

_LABEL_WIDTH = 26
_MIN_COLUMN_WIDTH = len("*93.49 ± 0.07")
_MAX_COLUMN_WIDTH = 15


def render_terminal(table: Table, *, stars: bool = False) -> RenderableType:
    """Return a table for rich, laid out for a width of 100 characters.

    Args:
        table: table to render.
        stars: whether to mark the best entry of a column with * as well, where bold cannot be seen.
    """
    grids: list[RenderableType] = []
    for section in table.sections:
        grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        grid.add_column(Text(section.title, style="italic"), min_width=_LABEL_WIDTH)
        for column in table.columns:
            grid.add_column(
                column, justify="right", min_width=_MIN_COLUMN_WIDTH, max_width=_MAX_COLUMN_WIDTH
            )
        for row in section.rows:
            style = "dim" if row.kind == "quoted" else ""
            entries = (_entry_text(entry, stars=stars) for entry in row.entries)
            grid.add_row(_row_heading(row), *entries, style=style)
        grids += [Text(), grid]
    notes = Grid.grid(padding=(0, 1))
    for note in table.notes:
        notes.add_row(Text("-", style="dim"), Text(note, style="dim"))
    return Group(Text(table.title, style="bold"), Text(table.subtitle), *grids, Text(), notes)


def render_text(table: Table, width: int = 100) -> str:
    """Return a table as plain text, with * instead of bold.

    Args:
        table: table to render.
        width: maximum length of a line, in characters.
    """
    buffer = io.StringIO()
    console = Console(file=buffer, width=width, color_system=None, force_terminal=False)
    console.print(render_terminal(table, stars=True))
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def render_markdown(table: Table) -> str:
    """Return a table as Markdown."""
    environment = Environment(
        loader=PackageLoader("reports"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - Markdown, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(name=_escape_pipes, entry=_markdown_entry)
    return environment.get_template("table.md.j2").render(table=table)


def _row_heading(row: Row) -> Text:
    """Return the name of a row with its marker on a second line."""
    return Text(row.name).append(f"\n{row.marker}", style="dim italic")


def _entry_text(entry: Entry, *, stars: bool) -> Text:
    """Return an entry for rich, with its remark on a second line."""
    star = "*" if entry.bold and stars else ""
    content = Text(star + entry.text, style="bold" if entry.bold else "")
    return content.append(f"\n{entry.remark}", style="dim") if entry.remark else content


def _markdown_entry(entry: Entry) -> str:
    """Return an entry as Markdown."""
    content = f"**{entry.text}**" if entry.bold else entry.text
    return f"{content} ({entry.remark})" if entry.remark else content


def _escape_pipes(text: str) -> str:
    """Escape the characters that separate the columns of a Markdown table."""
    return text.replace("|", "\\|")
