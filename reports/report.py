"""Report of a sweep: its results table in each output format."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from reports.comparison import comparison_table
from reports.read import read_sweep
from reports.render import render_markdown, render_terminal, render_text
from trainables.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from reports.table import Table


@dataclass(frozen=True, slots=True)
class Report:
    """The table of a sweep in each output format.

    Attributes:
        table: table to render.
        file_contents: rendered table by file name, for `table.md` and `table.txt`.
        json_values: table and sweep as values that can be written as JSON.
    """

    table: Table
    file_contents: dict[str, str]
    json_values: dict[str, Any]

    def print_table(self, console: Console) -> None:
        """Print the table; the best values are bold on a terminal, and marked with * elsewhere."""
        console.print(render_terminal(self.table, mark_best=not console.is_terminal))


def build_report(uri: str, sweep: str | None) -> Report:
    """Read a sweep from MLflow and build its report.

    Args:
        uri: URI of the MLflow store.
        sweep: name of a study, or the beginning of a sweep's digest; None for the latest sweep.

    Raises:
        UserError: if no sweep or store is found, or the sweep has no confirm runs yet.
        RecordError: if the recorded runs are inconsistent.
    """
    plan, runs = read_sweep(uri, sweep)
    if not plan.cells:
        raise UserError(
            f"sweep {plan.sweep[:12]} of '{plan.study}' has no runs of the confirm phase yet: type "
            "its command again to continue"
        )
    table = comparison_table(plan, runs)
    return Report(
        table=table,
        file_contents={"table.md": render_markdown(table), "table.txt": render_text(table)},
        json_values={
            "sweep": plan.sweep,
            "study": plan.study,
            "state": plan.state,
            **asdict(table),
        },
    )
