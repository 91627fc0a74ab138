"""Rendering of comparison tables for the terminal and as plain text."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from reports.words import format_count, format_p_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from reports.pairs import RowPair
    from reports.ranks import RankComparison
    from reports.replication import Replication
    from reports.table import Entry, Row, Section, Table

_MIN_ROW_NAME_WIDTH = 26
_MAX_ROW_NAME_WIDTH = 40
_MIN_COLUMN_WIDTH = len("*93.49 ± 0.07")
_MAX_COLUMN_WIDTH = 15
_PLAIN_TEXT_WIDTH = 80
"""Width of a table in a file or pipe that long names do not exceed, in characters."""
_COLUMN_GAP = 3
"""Number of characters between two columns."""


def render_terminal(table: Table, width: int, *, mark_best: bool = False) -> RenderableType:
    """Render a comparison table for a terminal, with rich.

    Columns for which there is no room are shown below the others, with the names of the rows again.

    Args:
        table: table to render.
        width: width of the terminal, in characters.
        mark_best: whether to mark the best entries with * as well, for output without bold text.
    """
    room = max(1, (width - _MIN_ROW_NAME_WIDTH) // (_MAX_COLUMN_WIDTH + _COLUMN_GAP))
    text_width = min(width, _PLAIN_TEXT_WIDTH) if mark_best else width
    column_count = len(table.columns)
    grids: list[RenderableType] = []
    for section in table.sections:
        for start in range(0, column_count, room):
            columns = range(start, min(start + room, column_count))
            names_width = text_width - len(columns) * (_MAX_COLUMN_WIDTH + _COLUMN_GAP)
            grid = _render_columns(table, section, columns, names_width, mark_best=mark_best)
            grids += [Text(), grid]
    notes = Grid.grid(padding=(0, 1))
    for note in table.notes:
        notes.add_row(Text("-", style="dim"), Text(note, style="dim"))
    return Group(Text(table.title, style="bold"), Text(table.subtitle), *grids, Text(), notes)


def _render_columns(
    table: Table, section: Section, columns: Sequence[int], names_width: int, *, mark_best: bool
) -> Grid:
    """Render some columns of a section; rows without an entry in any of them are left out.

    Args:
        table: table to render.
        section: section of the table.
        columns: positions of the columns.
        names_width: width that is left for the names of the rows, in characters.
        mark_best: whether to mark the best entries with *.
    """
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    grid.add_column(
        Text(section.title, style="italic"),
        min_width=_MIN_ROW_NAME_WIDTH,
        max_width=max(_MIN_ROW_NAME_WIDTH, min(names_width, _MAX_ROW_NAME_WIDTH)),
        overflow="fold",
    )
    for column in columns:
        grid.add_column(
            Text(table.columns[column]),
            justify="right",
            min_width=_MIN_COLUMN_WIDTH,
            max_width=_MAX_COLUMN_WIDTH,
            overflow="fold",
        )
    for row in section.rows:
        entries = [row.entries[column] for column in columns]
        if any(not entry.is_empty for entry in entries):
            style = "dim" if row.kind == "quoted" else ""
            texts = (_format_entry(entry, mark_best=mark_best) for entry in entries)
            grid.add_row(_row_heading(row), *texts, style=style)
    return grid


def render_text(table: Table, width: int = 100) -> str:
    """Render a comparison table as plain text, with * instead of bold.

    Args:
        table: table to render.
        width: maximum length of a line, in characters.
    """
    buffer = io.StringIO()
    console = Console(file=buffer, width=width, color_system=None, force_terminal=False)
    console.print(render_terminal(table, width, mark_best=True))
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def _row_heading(row: Row) -> Text:
    """Return the name of a row, with the origin of its values on a second line."""
    return Text(row.name).append(f"\n{row.marker}", style="dim italic")


def _format_entry(entry: Entry, *, mark_best: bool) -> Text:
    """Format a table entry for the terminal, with its remark on a second line."""
    star = "*" if entry.bold and mark_best else ""
    content = Text(star + entry.text, style="bold" if entry.bold else "")
    return content.append(f"\n{entry.remark}", style="dim") if entry.remark else content


def render_replications(replications: Sequence[Replication]) -> RenderableType:
    """Render measured accuracies beside published ones for the terminal, with rich."""
    columns = ("here", "published", "verdict, difference")
    return _render_sheet(
        "method, label noise, epoch", columns, map(_replication_line, replications)
    )


def render_pairs(pairs: Sequence[RowPair]) -> RenderableType:
    """Render the differences of all pairs of rows for the terminal, with rich."""
    columns = ("n", "p (t, Holm)", "p (signed rank)")
    return _render_sheet("difference, paired over seeds", columns, map(_pair_line, pairs))


def render_ranks(comparison: RankComparison) -> RenderableType:
    """Render average ranks for the terminal, with rich."""
    scenarios = format_count(comparison.scenario_count, "scenario")
    heading = f"average rank over {scenarios}, {comparison.kind}"
    lines = [(Text(each.name), (Text(f"{each.rank:.2f}"),)) for each in comparison.methods]
    return _render_sheet(heading, ("rank",), lines)


def _render_sheet(
    heading: str, columns: Sequence[str], lines: Iterable[tuple[Text, Sequence[RenderableType]]]
) -> RenderableType:
    """Render lines of comparisons: what is compared, then one text for each column."""
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    grid.add_column(Text(heading), overflow="fold")
    for column in columns:
        grid.add_column(Text(column), justify="right", max_width=_MAX_COLUMN_WIDTH, overflow="fold")
    for line_heading, texts in lines:
        grid.add_row(line_heading, *texts)
    return grid


def _replication_line(replication: Replication) -> tuple[Text, Sequence[RenderableType]]:
    verdict = replication.verdict
    heading = Text(", ".join(filter(None, [replication.method, replication.values])))
    heading.append(f"\n{replication.scenario}, {replication.kind}", style="italic dim")
    heading.append(f"\n{replication.source}", style="dim")
    if verdict.reason:
        heading.append(f"\n{verdict.reason}", style="dim")
    if verdict.caveat:
        heading.append(f"\nbut {verdict.caveat}", style="dim")
    verdict_text = Text(verdict.kind, style="bold")
    if verdict.difference is not None:
        verdict_text.append(f"\n{round(verdict.difference, 2) + 0.0:+.2f}", style="not bold")
    return heading, (Text(replication.measured), Text(replication.published), verdict_text)


def _pair_line(pair: RowPair) -> tuple[Text, Sequence[RenderableType]]:
    heading = Text(f"{pair.first} – {pair.second}")
    heading.append(f"\n{pair.scenario}, {pair.kind}", style="italic dim")
    heading.append(f"\n{pair.summary}")
    comparison = pair.comparison
    p_values = map(format_p_value, (pair.holm_p, comparison.wilcoxon_p))
    numbers = (str(comparison.n), *p_values)
    return heading, [Text(number) for number in numbers]
