"""Tables of the `report` command that join several sweeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.commands.report import recorded_name
from orchestrator.output import CommandConsole, print_json
from orchestrator.planning.planned_cells import plan_study
from orchestrator.tracking.home_store import update_home_store
from reports.formats import find_format, table_values
from reports.paper_tables import STUDIES_BY_TABLE, check_table_number, paper_table
from reports.read import read_latest_sweeps, read_sweep
from reports.report import print_table
from reports.store import home_database
from trainables.errors import UserError
from trainables.run.record import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from orchestrator.flags import Locations
    from reports.plan_record import PlanRecord
    from reports.read import RecordedRun
    from reports.table import Table


def check_flags(flag: str, *, paper: bool, pairs: bool) -> None:
    """Raise `UserError` if a flag of the table of one sweep is passed for a joined table.

    Args:
        flag: what makes the table a joined one, such as "--table".
        paper: whether `--paper` is passed.
        pairs: whether `--pairs` is passed.
    """
    if paper or pairs:
        raise UserError(
            f"{'--paper' if paper else '--pairs'} is about the table of one sweep: leave out {flag}"
        )


def print_paper_table(
    number: int,
    sweeps: Sequence[str],
    locations: Locations,
    out_files: Sequence[Path],
    *,
    as_json: bool,
) -> int:
    """Print a table of the NAL paper, and write it to files.

    Args:
        number: number of the table.
        sweeps: sweeps to take instead of the latest ones of their studies: names of studies, or
            beginnings of digests.
        locations: locations of the home folder and the MLflow store. Nothing need be recorded.
        out_files: files to write, whose suffixes choose the formats.
        as_json: whether to print JSON on standard output.

    Returns:
        The exit code, 0.

    Raises:
        NalError: if the paper has no such table, a sweep cannot be read or belongs to another
            study, or a file has an unknown suffix or cannot be written.
    """
    check_table_number(number)
    formats = {path: find_format(path) for path in out_files}
    studies = STUDIES_BY_TABLE[number]
    recorded = _read_sweeps(number, sweeps, locations)
    table = paper_table(number, [plan_study(name) for name in studies], recorded)
    _print(table, formats, as_json=as_json)
    return 0


def _read_sweeps(
    number: int, sweeps: Sequence[str], locations: Locations
) -> dict[str, tuple[PlanRecord, list[RecordedRun]]]:
    """Read the sweeps of a paper's table by study: those that are named, else the latest."""
    uri, studies = locations.store_uri, STUDIES_BY_TABLE[number]
    if locations.uses_home_store:
        update_home_store(locations.home)
        if not home_database(locations.home.path).exists():
            # Reading would create the database.
            if sweeps:
                raise UserError(f"no run is recorded under --home {locations.home.path}")
            return {}
    recorded = read_latest_sweeps(uri, studies)
    for sweep in sweeps:
        plan, runs = read_sweep(uri, recorded_name(sweep))
        if plan.study not in studies:
            raise UserError(
                f"sweep {plan.sweep[:12]} is of study '{plan.study}', but Table {number} is made "
                f"by {' and '.join(studies)}: name a sweep of one of these"
            )
        recorded[plan.study] = (plan, runs)
    return recorded


def _print(table: Table, formats: dict[Path, Callable[[Table], str]], *, as_json: bool) -> None:
    """Write a table to files, and print it as JSON or for the terminal."""
    for path, format_table in formats.items():
        write_atomically(path, format_table(table))
    if as_json:
        print_json(table_values(table))
    else:
        print_table(table, CommandConsole())
