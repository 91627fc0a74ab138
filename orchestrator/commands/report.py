"""The `report` command, which prints the table of a sweep from the records in MLflow."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.output import CommandConsole, print_json
from reports.comparison import comparison_table
from reports.read import read_sweep
from reports.render import render_markdown, render_terminal, render_text
from reports.store import existing_store_uri
from trainables.errors import UserError
from trainables.run.record import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from orchestrator.flags import Locations
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


def run(
    sweep: str | None, locations: Locations, markdown_file: Path | None, *, as_json: bool
) -> int:
    """Print the table of a sweep, and optionally write it as Markdown.

    Args:
        sweep: name of a study, or the beginning of a sweep's digest; None for the latest sweep.
        locations: locations of the home folder and the MLflow store.
        markdown_file: path of the Markdown file; None to write none.
        as_json: whether to print JSON on standard output.

    Returns:
        The exit code, 0.

    Raises:
        NalError: if the sweep cannot be read, or has no runs to put into a table yet.
    """
    uri = locations.tracking_uri or existing_store_uri(locations.home_dir)
    report = build_report(uri, sweep)
    if markdown_file is not None:
        write_atomically(markdown_file, report.file_contents["table.md"])
    if as_json:
        print_json(report.json_values)
    else:
        report.print_table(CommandConsole())
    return 0
