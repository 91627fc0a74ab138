"""The `report` command: print the table of a sweep, reading MLflow only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from orchestrator.output import print_json
from reports.comparison import comparison_table
from reports.read import read_sweep
from reports.render import render_markdown, render_terminal, render_text
from reports.store import existing_store
from trainables.errors import UserError
from trainables.run.record import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.flags import Places
    from reports.table import Table


@dataclass(frozen=True, slots=True)
class Report:
    """The table of a sweep in each output format.

    Attributes:
        table: table to render.
        files: contents of the files `table.md` and `table.txt`, by file name.
        plain: table and sweep as values that can be written as JSON.
    """

    table: Table
    files: dict[str, str]
    plain: dict[str, Any]

    def show(self, console: Console) -> None:
        """Print the table; where a console has no bold text, * marks the best values."""
        console.print(render_terminal(self.table, stars=not console.is_terminal))


def build_report(uri: str, sweep: str | None) -> Report:
    """Read a sweep from MLflow and build its report.

    Args:
        uri: URI of the MLflow store.
        sweep: name of a study, or the beginning of a sweep's digest; None for the latest sweep.

    Raises:
        UserError: if there is no such sweep or store, or the sweep has no confirmed runs.
        RecordError: if the recorded runs are inconsistent.
    """
    plan, runs = read_sweep(uri, sweep)
    if not plan.cells:
        raise UserError(
            f"sweep {plan.sweep[:12]} of '{plan.study}' has no confirmed runs yet: type its "
            "command again to go on"
        )
    table = comparison_table(plan, runs)
    return Report(
        table=table,
        files={"table.md": render_markdown(table), "table.txt": render_text(table)},
        plain={"sweep": plan.sweep, "study": plan.study, "state": plan.state, **asdict(table)},
    )


def run(sweep: str | None, places: Places, markdown_file: Path | None, *, as_json: bool) -> int:
    """Print the table of a sweep, and optionally write it as Markdown.

    Args:
        sweep: name of a study, or the beginning of a sweep's digest; None for the latest sweep.
        places: locations of the home folder and the MLflow store.
        markdown_file: path of the Markdown file; None to write none.
        as_json: whether to print JSON on standard output.

    Returns:
        The exit code, 0.

    Raises:
        NalError: if the sweep cannot be read or has no table yet.
    """
    uri = places.tracking_uri or existing_store(places.home_dir)
    report = build_report(uri, sweep)
    if markdown_file is not None:
        write_atomically(markdown_file, report.files["table.md"])
    if as_json:
        print_json(report.plain)
    else:
        report.show(Console(highlight=False))
    return 0
