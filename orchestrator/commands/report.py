"""The `report` command, which prints the table of a sweep from the records in MLflow."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.text import Text

from orchestrator.output import CommandConsole, print_json, print_written
from orchestrator.recorded_names import iter_stored
from orchestrator.tracking.archive import SweepArchive
from orchestrator.tracking.home_store import open_home_store
from orchestrator.watching.progress_record import read_progress
from orchestrator.watching.sweep_status import find_failures
from reports.comparison import comparison_table
from reports.extra_columns import parse_extra_columns
from reports.formats import find_format, table_values
from reports.pairs import PAIRS_NOTE, compare_rows
from reports.ranks import rank_rows
from reports.read import sweep_starts
from reports.render import render_pairs, render_ranks, render_replications
from reports.replication import find_replications
from reports.report import build_page, print_table, read_confirmed_sweep
from reports.spread import Spread
from reports.verdict import VERDICTS_NOTE
from reports.words import shortened_list
from search_spaces.files import is_study_path, read_study_file, shipped_study_names
from search_spaces.loader import load_study
from trainables.databases import database_path
from trainables.errors import CodeError, StudyError, UserError
from trainables.run.record import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from orchestrator.flags import Locations
    from reports.figures.report import FigureRequest, WrittenFigures
    from reports.pairs import RowPair
    from reports.ranks import RankComparison
    from reports.replication import Replication
    from reports.table import Table


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """What the command prints and writes of a sweep, beside its table.

    Attributes:
        table_files: files of the table, whose suffixes choose the formats.
        page_file: file of the sweep's page; None for no page.
        figures: figures to write; None for none.
        has_verdicts: whether verdicts on the published accuracies are printed.
        has_pairs: whether the differences of all pairs of rows are printed.
        has_ranks: whether average ranks over the scenarios are printed.
        spread: what is printed after ± of measured accuracies.
        columns: names of further columns of the table, separated by commas.
    """

    table_files: Sequence[Path] = ()
    page_file: Path | None = None
    figures: FigureRequest | None = None
    has_verdicts: bool = False
    has_pairs: bool = False
    has_ranks: bool = False
    spread: Spread = Spread.SD
    columns: str = ""


@dataclass(frozen=True, slots=True)
class Sheets:
    """What is printed below a table; None for what is not requested.

    Attributes:
        pairs: differences of all pairs of rows.
        verdicts: published accuracies beside the measured ones.
        ranks: average ranks over the scenarios.
        figures: figures that were written.
    """

    pairs: Sequence[RowPair] | None = None
    verdicts: Sequence[Replication] | None = None
    ranks: RankComparison | None = None
    figures: WrittenFigures | None = None

    def values(self) -> dict[str, Any]:
        """Return the requested sheets as values that can be written as JSON, by name."""
        lists = {"verdicts": self.verdicts, "pairs": self.pairs}
        return {
            **{
                name: [asdict(line) for line in lines]
                for name, lines in lists.items()
                if lines is not None
            },
            **({} if self.ranks is None else {"ranks": asdict(self.ranks)}),
            **({} if self.figures is None else {"figures": self.figures.values()}),
        }

    def print(self, console: Console) -> None:
        """Print the requested sheets, each after an empty line."""
        if self.pairs:
            console.print()
            console.print(render_pairs(self.pairs), PAIRS_NOTE)
        elif self.pairs is not None:
            console.print("No two rows have two finished seeds in common.")
        if self.verdicts:
            console.print()
            console.print(render_replications(self.verdicts), VERDICTS_NOTE)
        elif self.verdicts is not None:
            console.print("Nothing is published for these methods, label noise and network.")
        if self.ranks is not None:
            console.print()
            console.print(render_ranks(self.ranks), Text(self.ranks.statement))
        if self.figures is not None:
            _print_figures(self.figures, console)


def run(sweep: str | None, locations: Locations, request: ReportRequest, *, as_json: bool) -> int:
    """Print the table of a sweep, and write what is requested to files.

    Args:
        sweep: name of a study, path of a study file, or the beginning of a sweep's digest; None for
            the latest sweep.
        locations: locations of the home folder and the MLflow store.
        request: what is printed and written.
        as_json: whether to print JSON on standard output.

    Returns:
        The exit code, 0.

    Raises:
        NalError: if the study file or the sweep cannot be read, the sweep has no runs to put into
            a table yet, a figure lacks its data, or a file has an unknown suffix or cannot be
            written.
    """
    columns = parse_extra_columns(request.columns)
    formats = find_formats(request.table_files)
    is_path = sweep is not None and is_study_path(sweep)
    if sweep is not None:
        sweep = recorded_name(sweep, locations.store_uri)
    uri = open_home_store(locations.home) if locations.uses_home_store else locations.store_uri
    plan, runs = read_confirmed_sweep(uri, sweep)
    table = comparison_table(plan, runs, request.spread, columns)
    home = locations.home_dir
    # Figures come first, since they are refused if their data are missing.
    figures = request.figures.fulfil(uri, home, plan, runs) if request.figures else None
    write_tables(table, formats)
    if request.page_file is not None:
        write_atomically(request.page_file, build_page(uri, home, plan, runs, table))
        print_written(request.page_file)
    for path in figures.paths if figures else ():
        print_written(path)
    sheets = Sheets(
        pairs=compare_rows(table) if request.has_pairs else None,
        verdicts=find_replications(plan, runs) if request.has_verdicts else None,
        ranks=rank_rows(table) if request.has_ranks else None,
        figures=figures,
    )
    if as_json:
        print_json(table_values(table) | sheets.values())
    else:
        console = CommandConsole()
        print_table(table, console)
        sheets.print(console)
    if is_path and sweep in shipped_study_names():
        CommandConsole(stderr=True).print(
            f"A study file is found by its name, '{sweep}', which is that of a shipped study too: "
            "this may be a sweep of the shipped study.",
            soft_wrap=True,
        )
    if sweep == table.source.study:
        _print_other_sweeps(uri, table)
    _print_failures(home, plan.sweep)
    return 0


def find_formats(out_files: Sequence[Path]) -> dict[Path, Callable[[Table], str]]:
    """Return the function that formats a table for each file that the user names.

    Raises:
        UserError: if no format has a file's suffix.
    """
    try:
        return {path: find_format(path) for path in out_files}
    except UserError as error:
        raise UserError(f"--out {error}") from error


def write_tables(table: Table, formats: Mapping[Path, Callable[[Table], str]]) -> None:
    """Write a table to files, and print which ones.

    Args:
        table: table to write.
        formats: function that formats the table, by the file.

    Raises:
        HomeError: if a file cannot be written.
    """
    for path, format_table in formats.items():
        write_atomically(path, format_table(table))
        print_written(path)


def recorded_name(sweep: str, uri: str, folder: Path | None = None) -> str:
    """Return the text by which a store finds a sweep: a study is recorded by its name.

    Args:
        sweep: name of a study, path of a study file, or the beginning of a sweep's digest.
        uri: URI of the store.
        folder: folder from which a relative path starts; None for the current folder.

    Raises:
        StudyError: if the study file cannot be read or is not valid.
    """
    if not is_study_path(sweep):
        return sweep
    path = sweep if folder is None else str(folder / sweep)
    name = read_study_file(path).name
    try:
        load_study(path)
    except CodeError:
        pass  # reports execute no code of a study, so that the rest of it is not checked
    except StudyError as error:
        digest = _latest_sweep(uri, name)
        if not digest:
            raise
        raise StudyError(
            f"{error} (this study file is not valid; `report {name}` prints the latest sweep of "
            f"that name, {digest[:12]})"
        ) from error
    return name


def _latest_sweep(uri: str, study: str) -> str:
    """Return the digest of a study's latest sweep in a store; "" if there is none."""
    database = database_path(uri)
    if database is not None:
        return next((digest for name, digest in iter_stored(database) if name == study), "")
    return next(iter(sweep_starts(uri, study)), "")


def _print_figures(figures: WrittenFigures, console: Console) -> None:
    """Print which figures were written, and why others were not."""
    for figure in figures.figures:
        console.print(f"\nfigure {figure.key}: {figure.stem}", soft_wrap=True)
        console.print(figure.caption, style="dim")
    if figures.left_out:
        console.print("\nfigures without data:")
    for key, reason in figures.left_out.items():
        console.print(f"  {key}: {reason}", soft_wrap=True)


def _print_failures(home: Path, sweep: str) -> None:
    """Print on standard error which runs of a sweep could not be carried out, with their logs."""
    progress = read_progress(SweepArchive.of(home, sweep).folder)
    for failure in find_failures(home, progress):
        CommandConsole(stderr=True).print(
            f"run that could not be carried out: {failure.line}", soft_wrap=True
        )


def _print_other_sweeps(uri: str, table: Table) -> None:
    """Print on standard error which sweep of a study a table is of, if there are others.

    They are sweeps of another content: of an earlier version of the study, of other flags, or of
    another file of the same name.
    """
    study, digest = table.source.study, table.source.sweep
    starts = sweep_starts(uri, study)
    if len(starts) < 2:
        return
    others = [f"{other[:12]} ({start})" for other, start in starts.items() if other != digest]
    CommandConsole(stderr=True).print(
        f"This is sweep {digest[:12]}, the latest of {len(starts)} of '{study}'. The table of "
        f"another is printed by `report DIGEST`: {shortened_list(others, 10)}",
        soft_wrap=True,
    )
