"""A table as the terminal shows it, as Markdown, and as plain values."""

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

_LABEL = 26
_NUMBER = len("*93.49 ± 0.07")
_HEADING = 15


def terminal(table: Table, *, stars: bool = False) -> RenderableType:
    """Return what rich prints; made for 100 columns, wrapped in fewer.

    Args:
        table: to be shown.
        stars: mark the best of a column with * too, for where bold cannot be seen.
    """
    grids: list[RenderableType] = []
    for section in table.sections:
        grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        grid.add_column(Text(section.title, style="italic"), min_width=_LABEL)
        for column in table.columns:
            grid.add_column(column, justify="right", min_width=_NUMBER, max_width=_HEADING)
        for row in section.rows:
            style = "dim" if row.kind == "quoted" else ""
            places = (_place(entry, stars=stars) for entry in row.entries)
            grid.add_row(_heading(row), *places, style=style)
        grids += [Text(), grid]
    notes = Grid.grid(padding=(0, 1))
    for note in table.notes:
        notes.add_row(Text("-", style="dim"), Text(note, style="dim"))
    return Group(Text(table.title, style="bold"), Text(table.subtitle), *grids, Text(), notes)


def text(table: Table, width: int = 100) -> str:
    """Return the table as the terminal shows it, without colours: * instead of bold."""
    sink = io.StringIO()
    console = Console(file=sink, width=width, color_system=None, force_terminal=False)
    console.print(terminal(table, stars=True))
    return "\n".join(line.rstrip() for line in sink.getvalue().splitlines()) + "\n"


def markdown(table: Table) -> str:
    """Return the table as Markdown."""
    environment = Environment(
        loader=PackageLoader("reports"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - Markdown, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(name=_escaped, entry=_markdown_entry)
    return environment.get_template("table.md.j2").render(table=table)


def _heading(row: Row) -> Text:
    return Text(row.name).append(f"\n{row.marker}", style="dim italic")


def _place(entry: Entry, *, stars: bool) -> Text:
    star = "*" if entry.bold and stars else ""
    shown = Text(star + entry.text, style="bold" if entry.bold else "")
    return shown.append(f"\n{entry.remark}", style="dim") if entry.remark else shown


def _markdown_entry(entry: Entry) -> str:
    shown = f"**{entry.text}**" if entry.bold else entry.text
    return f"{shown} ({entry.remark})" if entry.remark else shown


def _escaped(words: str) -> str:
    return words.replace("|", "\\|")
