"""The `report` command, which prints the table of a sweep from the records in MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.output import CommandConsole, print_json
from orchestrator.tracking.home_store import open_home_store
from reports.read import sweep_starts
from reports.report import build_report
from search_spaces.files import is_study_path, read_study_file
from trainables.run.record import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.flags import Locations


def run(
    sweep: str | None, locations: Locations, markdown_file: Path | None, *, as_json: bool
) -> int:
    """Print the table of a sweep, and optionally write it as Markdown.

    Args:
        sweep: name of a study, path of a study file, or the beginning of a sweep's digest; None for
            the latest sweep.
        locations: locations of the home folder and the MLflow store.
        markdown_file: path of the Markdown file; None to write none.
        as_json: whether to print JSON on standard output.

    Returns:
        The exit code, 0.

    Raises:
        NalError: if the study file or the sweep cannot be read, or the sweep has no runs to put
            into a table yet.
    """
    if sweep is not None and is_study_path(sweep):
        sweep = read_study_file(sweep).name
    uri = open_home_store(locations.home) if locations.uses_home_store else locations.store_uri
    report = build_report(uri, sweep)
    if markdown_file is not None:
        write_atomically(markdown_file, report.file_contents["table.md"])
    if as_json:
        print_json(report.json_values)
    else:
        report.print_table(CommandConsole())
    study = report.json_values["study"]
    if sweep == study:
        _print_other_sweeps(uri, study, report.json_values["sweep"])
    return 0


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
