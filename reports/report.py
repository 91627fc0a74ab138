"""The table and the page of a sweep, from the records in MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.comparison import comparison_table
from reports.figures.report import make_figures, open_source
from reports.figures.source import MissingDataError
from reports.formats import format_markdown
from reports.page.content import PageFigure, page_content
from reports.page.html import format_page
from reports.plan_record import PAGE_FILE
from reports.read import read_curves, read_sweep
from reports.render import render_terminal, render_text
from trainables.errors import UserError
from trainables.run.metrics import TEST_ACCURACY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from reports.plan_record import PlanRecord
    from reports.read import RecordedRun
    from reports.table import Table


@dataclass(frozen=True, slots=True)
class SweepReport:
    """The table and the page of a sweep.

    Attributes:
        table: comparison table.
        page: page as HTML.
    """

    table: Table
    page: str

    @property
    def files(self) -> dict[str, str]:
        """Files that MLflow keeps with the sweep, by name."""
        return {
            "table.md": format_markdown(self.table),
            "table.txt": render_text(self.table),
            PAGE_FILE: self.page,
        }


def build_report(uri: str, home: Path, sweep: str | None) -> SweepReport:
    """Read a sweep from MLflow, and build its table and its page.

    Args:
        uri: URI of the MLflow store.
        home: home folder, which holds the data of figures.
        sweep: name of a study, or the beginning of a sweep's digest; None for the latest sweep.

    Raises:
        UserError: if no sweep or store is found, or the sweep has no confirm runs yet.
        RecordError: if the recorded runs are inconsistent.
    """
    plan, runs = read_confirmed_sweep(uri, sweep)
    table = comparison_table(plan, runs)
    return SweepReport(table, build_page(uri, home, plan, runs, table))


def build_page(
    uri: str, home: Path, plan: PlanRecord, runs: Sequence[RecordedRun], table: Table
) -> str:
    """Return the page of a sweep as HTML, with its figures and the curves of the table's runs.

    Args:
        uri: URI of the MLflow store that the runs were read from.
        home: home folder, which holds the data of figures; those without data are left out.
        plan: plan of the sweep.
        runs: recorded runs that the plan names.
        table: comparison table of these runs.

    Raises:
        RecordError: if the recorded runs are inconsistent.
    """
    table_digests = {digest for cell in plan.cells for digest in cell.digests}
    table_runs = [run for run in runs if run.digest in table_digests]
    curves = read_curves(uri, table_runs, TEST_ACCURACY)
    return format_page(page_content(plan, runs, table, curves, _figures(uri, home, plan, runs)))


def _figures(
    uri: str, home: Path, plan: PlanRecord, runs: Sequence[RecordedRun]
) -> list[PageFigure]:
    """Return the figures that a sweep has the data of."""
    try:
        figures, _ = make_figures(open_source(uri, home, plan, runs), suffixes=("svg",))
    except MissingDataError:
        return []
    return [PageFigure(figure.title, figure.caption, figure.svg) for figure in figures]


def read_confirmed_sweep(uri: str, sweep: str | None) -> tuple[PlanRecord, list[RecordedRun]]:
    """Read the plan and the runs of a sweep that has runs of the confirm phase; see `build_report`.

    Raises:
        UserError: if no sweep or store is found, or the sweep has no confirm runs yet.
    """
    plan, runs = read_sweep(uri, sweep)
    require_cells(plan)
    return plan, runs


def require_cells(plan: PlanRecord) -> None:
    """Check that a sweep has reached the confirm phase, whose runs are the entries of its table.

    Raises:
        UserError: if the sweep has no confirm runs yet.
    """
    if not plan.cells:
        raise UserError(
            f"sweep {plan.sweep[:12]} of '{plan.study}' has no runs of the confirm phase yet: type "
            "its command again to continue"
        )


def print_table(table: Table, console: Console) -> None:
    """Print a table; the best values are bold on a terminal, and marked with * elsewhere."""
    console.print(render_terminal(table, console.width, mark_best=not console.is_terminal))
