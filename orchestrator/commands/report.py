"""`report`: the table of a sweep, from MLflow alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from orchestrator.output import print_json
from reports.comparison import comparison_table
from reports.read import read_sweep
from reports.render import markdown, terminal, text
from reports.store import existing_store
from trainables.errors import UserError
from trainables.run.record import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.flags import Places
    from reports.table import Table


@dataclass(frozen=True, slots=True)
class Report:
    """A sweep's table in every form.

    Attributes:
        table: for rich.
        files: texts by file name.
        plain: as JSON values.
    """

    table: Table
    files: dict[str, str]
    plain: dict[str, Any]

    def show(self, console: Console) -> None:
        """Print the table, the best marked with * where bold cannot be seen."""
        console.print(terminal(self.table, stars=not console.is_terminal))


def build_report(uri: str, sweep: str | None) -> Report:
    """Read a sweep from MLflow and make its table.

    Args:
        uri: of the store.
        sweep: name of a study, or the beginning of a sweep's digest; None for the latest.

    Raises:
        UserError: there is no such sweep, or no such store.
        RecordError: what is recorded contradicts itself.
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
        files={"table.md": markdown(table), "table.txt": text(table)},
        plain={"sweep": plan.sweep, "study": plan.study, "state": plan.state, **asdict(table)},
    )


def run(sweep: str | None, places: Places, markdown_file: Path | None, *, as_json: bool) -> int:
    """Print the table; write it as Markdown where asked.

    Raises:
        NalError: one line for the user.
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
