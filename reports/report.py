"""The table of a sweep, from the records in MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.comparison import comparison_table
from reports.formats import format_markdown
from reports.read import read_sweep
from reports.render import render_terminal, render_text
from trainables.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from reports.plan_record import PlanRecord
    from reports.read import RecordedRun
    from reports.table import Table


def build_table(uri: str, sweep: str | None) -> Table:
    """Read a sweep from MLflow and build its table.

    Args:
        uri: URI of the MLflow store.
        sweep: name of a study, or the beginning of a sweep's digest; None for the latest sweep.

    Raises:
        UserError: if no sweep or store is found, or the sweep has no confirm runs yet.
        RecordError: if the recorded runs are inconsistent.
    """
    return comparison_table(*read_confirmed_sweep(uri, sweep))


def read_confirmed_sweep(uri: str, sweep: str | None) -> tuple[PlanRecord, list[RecordedRun]]:
    """Read the plan and the runs of a sweep that has runs of the confirm phase; see `build_table`.

    Raises:
        UserError: if no sweep or store is found, or the sweep has no confirm runs yet.
    """
    plan, runs = read_sweep(uri, sweep)
    if not plan.cells:
        raise UserError(
            f"sweep {plan.sweep[:12]} of '{plan.study}' has no runs of the confirm phase yet: type "
            "its command again to continue"
        )
    return plan, runs


def print_table(table: Table, console: Console) -> None:
    """Print a table; the best values are bold on a terminal, and marked with * elsewhere."""
    console.print(render_terminal(table, mark_best=not console.is_terminal))


def recorded_files(table: Table) -> dict[str, str]:
    """Return the files of a table that MLflow keeps with the sweep, by name."""
    return {"table.md": format_markdown(table), "table.txt": render_text(table)}
