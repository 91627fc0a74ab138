"""Tables of the `report` command that join several sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.commands.report import find_formats, recorded_name, write_tables
from orchestrator.home import Home
from orchestrator.output import CommandConsole, print_json
from orchestrator.table_layout import LayoutSweep, TableLayout, read_layout
from orchestrator.tracking.home_store import open_home_store, update_home_store
from orchestrator.tracking.planned_cells import plan_study
from reports.formats import table_values
from reports.joined import joined_table
from reports.paper import STUDIES_BY_TABLE
from reports.paper_tables import check_table_number, paper_table
from reports.read import read_latest_sweeps, read_sweep
from reports.report import print_table, read_confirmed_sweep
from reports.store import home_database
from trainables.databases import with_installed_driver
from trainables.errors import HomeError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.flags import Locations
    from reports.plan_record import PlanRecord
    from reports.read import RecordedRun
    from reports.table import Table


def check_flags(table: str, flags: Mapping[str, bool]) -> None:
    """Raise `UserError` if a flag is passed that a joined table does not have.

    Args:
        table: what makes the table a joined one, such as "--table".
        flags: whether each other flag is passed, by name.
    """
    for flag, is_passed in flags.items():
        if is_passed:
            raise UserError(f"{flag} does not go with {table}: leave out one of them")


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
    formats = find_formats(out_files)
    studies = STUDIES_BY_TABLE[number]
    recorded = _read_sweeps(number, sweeps, locations)
    table = paper_table(number, [plan_study(name) for name in studies], recorded)
    _print(table, formats, as_json=as_json)
    return 0


def print_joined_table(
    layout_file: Path | None,
    sweeps: Sequence[str],
    locations: Locations,
    out_files: Sequence[Path],
    *,
    as_json: bool,
) -> int:
    """Print a table joined from several sweeps, and write it to files.

    Args:
        layout_file: YAML file that lays out the table; None for all methods and scenarios.
        sweeps: sweeps to join if there is no layout, all of one store.
        locations: locations of the home folder and the MLflow store, for sweeps without a place of
            their own.
        out_files: files to write, whose suffixes choose the formats.
        as_json: whether to print JSON on standard output.

    Returns:
        The exit code, 0.

    Raises:
        NalError: if the layout is invalid, a sweep cannot be read, or a file has an unknown suffix
            or cannot be written.
    """
    formats = find_formats(out_files)
    if layout_file is None:
        layout = TableLayout(sweeps=tuple(LayoutSweep(sweep=sweep) for sweep in sweeps))
    elif sweeps:
        raise UserError("--layout names the sweeps: leave out those on the command line")
    else:
        layout = read_layout(layout_file)
    folder = layout_file.parent if layout_file else Path()
    uris = [_uri_of(sweep, folder, locations) for sweep in layout.sweeps]
    recorded = [
        read_confirmed_sweep(uri, recorded_name(sweep.sweep, uri, folder))
        for uri, sweep in zip(uris, layout.sweeps, strict=True)
    ]
    places = [(uri, plan.sweep) for uri, (plan, _) in zip(uris, recorded, strict=True)]
    for place, (plan, _) in zip(places, recorded, strict=True):
        if places.count(place) > 1:
            raise UserError(
                f"sweep {plan.sweep[:12]} of '{plan.study}' is named twice: leave out one"
            )
    try:
        table = joined_table(recorded, layout.joined)
    except UserError as error:
        if layout_file is None:
            raise
        raise UserError(f"--layout {layout_file}: {error}") from error
    _print(table, formats, as_json=as_json)
    return 0


def _uri_of(sweep: LayoutSweep, folder: Path, locations: Locations) -> str:
    """Return the URI of the MLflow store that holds a sweep of a layout.

    Args:
        sweep: sweep of the layout.
        folder: folder of the layout file, from which relative paths start.
        locations: locations for sweeps without a place of their own.
    """
    if sweep.tracking:
        return with_installed_driver(sweep.tracking)
    if sweep.home:
        home = Home((folder / Path(sweep.home).expanduser()).resolve())
        try:
            home.check_layout()
            return open_home_store(home)
        except HomeError as error:
            raise HomeError(f"home '{sweep.home}' of the layout: {error}") from error
    return open_home_store(locations.home) if locations.uses_home_store else locations.store_uri


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
        plan, runs = read_sweep(uri, recorded_name(sweep, uri))
        if plan.study not in studies:
            raise UserError(
                f"sweep {plan.sweep[:12]} is of study '{plan.study}', but Table {number} is made "
                f"by {' and '.join(studies)}: name a sweep of one of these"
            )
        recorded[plan.study] = (plan, runs)
    return recorded


def _print(table: Table, formats: dict[Path, Callable[[Table], str]], *, as_json: bool) -> None:
    """Write a table to files, and print it as JSON or for the terminal."""
    write_tables(table, formats)
    if as_json:
        print_json(table_values(table))
    else:
        print_table(table, CommandConsole())
