"""The `report` command, which prints the table of a sweep from the records in MLflow."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from orchestrator.output import CommandConsole, print_json
from orchestrator.tracking.home_store import open_home_store
from reports.comparison import comparison_table
from reports.formats import find_format, table_values
from reports.pairs import PAIRS_NOTE, compare_rows
from reports.read import sweep_starts
from reports.render import render_pairs, render_replications
from reports.replication import find_replications
from reports.report import print_table, read_confirmed_sweep
from reports.verdict import VERDICTS_NOTE
from search_spaces.files import is_study_path, read_study_file
from trainables.run.record import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from orchestrator.flags import Locations
    from reports.figures.report import FigureRequest, WrittenFigures
    from reports.pairs import RowPair
    from reports.replication import Replication


def run(
    sweep: str | None,
    locations: Locations,
    out_files: Sequence[Path] = (),
    *,
    as_json: bool,
    shows_verdicts: bool = False,
    shows_pairs: bool = False,
    figure_request: FigureRequest | None = None,
) -> int:
    """Print the table of a sweep, and write it and figures of it to files.

    Args:
        sweep: name of a study, path of a study file, or the beginning of a sweep's digest; None for
            the latest sweep.
        locations: locations of the home folder and the MLflow store.
        out_files: files to write, whose suffixes choose the formats.
        as_json: whether to print JSON on standard output.
        shows_verdicts: whether to print verdicts on the published accuracies as well.
        shows_pairs: whether to print the differences of all pairs of rows as well.
        figure_request: figures to write; None for none.

    Returns:
        The exit code, 0.

    Raises:
        NalError: if the study file or the sweep cannot be read, the sweep has no runs to put into
            a table yet, or a file has an unknown suffix or cannot be written, or a figure lacks its
            data.
    """
    formats = {path: find_format(path) for path in out_files}
    if sweep is not None and is_study_path(sweep):
        sweep = read_study_file(sweep).name
    uri = open_home_store(locations.home) if locations.uses_home_store else locations.store_uri
    plan, runs = read_confirmed_sweep(uri, sweep)
    table = comparison_table(plan, runs)
    for path, format_table in formats.items():
        write_atomically(path, format_table(table))
    figures = (
        None
        if figure_request is None
        else figure_request.fulfil(uri, locations.home_dir, plan, runs)
    )
    replications = find_replications(plan, runs) if shows_verdicts else None
    pairs = compare_rows(table) if shows_pairs else None
    if as_json:
        sheets = {"verdicts": replications, "pairs": pairs}
        figure_values = {} if figures is None else {"figures": figures.values()}
        print_json(table_values(table) | _sheet_values(sheets) | figure_values)
    else:
        console = CommandConsole()
        print_table(table, console)
        _print_pairs(pairs, console)
        _print_verdicts(replications, console)
        _print_figures(figures, console)
    if sweep == table.source.study:
        _print_other_sweeps(uri, table.source.study, table.source.sweep)
    return 0


def _sheet_values(
    sheets: Mapping[str, Sequence[RowPair] | Sequence[Replication] | None],
) -> dict[str, Any]:
    """Return the requested sheets as values that can be written as JSON, by name."""
    return {
        name: [asdict(line) for line in sheet]
        for name, sheet in sheets.items()
        if sheet is not None
    }


def _print_pairs(pairs: Sequence[RowPair] | None, console: Console) -> None:
    """Print the differences of all pairs of rows; None if they are not requested."""
    if pairs:
        console.print(render_pairs(pairs), PAIRS_NOTE)
    elif pairs is not None:
        console.print("No two rows have two finished seeds in common.")


def _print_verdicts(replications: Sequence[Replication] | None, console: Console) -> None:
    """Print the verdicts on published accuracies; None if they are not requested."""
    if replications:
        console.print(render_replications(replications), VERDICTS_NOTE)
    elif replications is not None:
        console.print("Nothing is published for these methods, label noise and network.")


def _print_figures(figures: WrittenFigures | None, console: Console) -> None:
    """Print where figures were written, and why others were not; None if none are requested."""
    if figures is None:
        return
    for figure, stem in zip(figures.figures, figures.stems, strict=True):
        console.print(f"\nfigure {figure.key}: {stem}.{{svg,pdf,png,csv}}", soft_wrap=True)
        console.print(figure.caption, style="dim")
    if figures.left_out:
        console.print("\nfigures without data:")
    for key, reason in figures.left_out.items():
        console.print(f"  {key}: {reason}", soft_wrap=True)


def _print_other_sweeps(uri: str, study: str, digest: str) -> None:
    """Print on standard error which sweep of a study the table is of, if there are others.

    They are sweeps of another content: of an earlier version of the study, of other flags, or of
    another file of the same name.
    """
    starts = sweep_starts(uri, study)
    if len(starts) < 2:
        return
    others = [f"{other[:12]} ({start})" for other, start in starts.items() if other != digest]
    CommandConsole(stderr=True).print(
        f"This is sweep {digest[:12]}, the latest of {len(starts)} of '{study}'. The table of "
        f"another is printed by `report DIGEST`: {', '.join(others[:10])}",
        soft_wrap=True,
    )
