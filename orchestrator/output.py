"""Output of the commands: JSON for programs; a console and two styles of table for people."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleRenderable, RenderableType, RenderHook
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text, TextType

from trainables.texts import visible

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rich.console import ConsoleOptions, RenderResult
    from rich.status import Status


PIPED_LINE_WIDTH = 10_000
"""Width of the lines that are written to a pipe or file, in characters.

No line of a command is that long, so none is broken.
"""


class WithoutTrailingBlanks:
    """Text of a renderable, without the blanks that fill its lines to the width of a column."""

    def __init__(self, renderable: ConsoleRenderable) -> None:
        self._renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the text, without styles."""
        segments = console.render(self._renderable, options)
        text = "".join(segment.text for segment in segments if not segment.control)
        yield Segment(re.sub(r" +\n", "\n", text))


class TrailingBlankRemover(RenderHook):
    """Hook of a console that prints everything without blanks at the ends of lines."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Return what the console prints in place of some renderables."""
        return [WithoutTrailingBlanks(renderable) for renderable in renderables]


class CommandConsole(Console):
    """Console of a command: it prints texts literally, and breaks lines on a terminal only.

    In a pipe or file, lines have no blanks at their ends.

    Titles, class names and paths of the user's may contain square brackets and colons. Rich would
    read them as markup (`[bold]`) and emoji codes (`:smile:`). Control characters, which would act
    on the terminal, are escaped.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        """Create a console.

        Args:
            stderr: whether to print on standard error instead of standard output.
        """
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)
        if not self.is_terminal:
            self.width = PIPED_LINE_WIDTH
            self.push_render_hook(TrailingBlankRemover())

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        """Return the text to write, after all layout, with escaped control characters."""
        return super()._render_buffer(
            segment if segment.control else Segment(visible(segment.text), segment.style)
            for segment in buffer
        )

    def status(self, status: RenderableType, **options: Any) -> Status:  # noqa: ANN401 - as in rich
        """Return a status display with a spinner and a literal text."""
        return super().status(Text(status) if isinstance(status, str) else status, **options)

    def input(self, prompt: TextType = "", **options: Any) -> str:  # noqa: ANN401 - as in rich
        """Print a literal prompt, and return the line that the user types."""
        return super().input(prompt, **{**options, "markup": False, "emoji": False})


def print_written(path: Path) -> None:
    """Print on standard error that a file was written, by the path that the user has typed."""
    CommandConsole(stderr=True).print(f"wrote {path}", soft_wrap=True)


def print_json(value: object) -> None:
    """Print a value as one line of JSON on standard output."""
    sys.stdout.write(json.dumps(value) + "\n")


def facts_table(facts: Iterable[tuple[str, str]]) -> Table:
    """Return a table of two columns without headers: names on the left, texts on the right.

    Args:
        facts: name and text of each row.
    """
    table = Table.grid(Column(style="dim"), Column(overflow="fold"), padding=(0, 3))
    for name, text in facts:
        table.add_row(name, text)
    return table


def headed_table(*headers: Column | str, gap: int = 3) -> Table:
    """Return an empty table with column headers and without lines, to which rows can be added.

    Args:
        headers: header of each column.
        gap: number of spaces between two columns.
    """
    return Table(*headers, box=None, pad_edge=False, header_style="dim", padding=(0, gap, 0, 0))
