"""The `sync` command, which rebuilds MLflow's records from the runs in the home folder."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from orchestrator.commands.report import build_report
from orchestrator.output import CommandConsole
from orchestrator.tracking.archive import iter_archives
from orchestrator.tracking.tracker import Tracker
from search_spaces.schema import Phase
from trainables.errors import HomeError, RecordError
from trainables.run.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.flags import Locations
    from reports.plan_record import CellRecord, PlanRecord
    from trainables.run.result import RunResult


def run(locations: Locations) -> int:
    """Write the sweeps and runs of the home folder to MLflow, except those that MLflow has already.

    Args:
        locations: locations of the home folder and the MLflow store.

    Returns:
        The exit code, 0.

    Raises:
        NalError: if the home folder contains no runs, or the MLflow store cannot be written.
    """
    home, uri = locations.home, locations.store_uri
    if not (home.path / "runs").is_dir():
        raise HomeError(f"no runs are recorded in {home.path}: choose another folder with --home")
    artifact_dir = home.artifact_dir_for(uri)
    written_digests: set[str] = set()
    for archive in iter_archives(home.path):
        plan, study_yaml = archive.read_plan_and_study()
        with home.study_lock(plan.study):
            tracker = Tracker(uri, artifact_dir, plan.study)
            tracker.start_sweep(plan, study_yaml, archive.read_code_files())
            for result, phase, cell in _results_of_sweep(plan, home.path):
                tracker.record(result, phase, cell)
                written_digests.add(result.digest)
            if plan.state == "finished":
                tracker.finish_sweep(plan, build_report(uri, plan.sweep).file_contents)
            else:
                tracker.mark_interrupted()
    standalone_count = 0
    for result in _results_outside_sweeps(home.path, written_digests):
        Tracker(uri, artifact_dir, result.provenance["study"]).record(result, "train")
        standalone_count += 1
    CommandConsole().print(
        f"{uri} contains {len(written_digests)} runs of sweeps and {standalone_count} other runs."
    )
    return 0


def _results_of_sweep(
    plan: PlanRecord, home: Path
) -> Iterator[tuple[RunResult, Phase, CellRecord | None]]:
    """Yield the result, phase and cell of each recorded run of a sweep.

    A cell is all seeds of one method, scenario and values; runs outside the confirm phase have
    none. A run that the plan does not list, but whose result a listed run uses, is yielded before
    the listed run.
    """
    listed_runs: list[tuple[str, Phase, CellRecord | None]] = []
    for search in plan.searches:
        listed_runs += [(digest, Phase.SEARCH, None) for digest in search.digests]
        for candidate in search.candidates:
            listed_runs += [(digest, Phase.SELECT, None) for digest in candidate.digests]
    for cell_record in plan.cells:
        listed_runs += [(digest, Phase.CONFIRM, cell_record) for digest in cell_record.digests]
    listed_digests = plan.digests
    for digest, phase, cell in listed_runs:
        result = _read_result(digest, home)
        if result is None:
            continue
        for needed_result in _needed_results(result, home):
            if needed_result.digest not in listed_digests:
                listed_digests.add(needed_result.digest)
                yield needed_result, phase, None
        yield result, phase, cell


def _needed_results(result: RunResult, home: Path) -> Iterator[RunResult]:
    """Yield the results of the recorded runs that a run depends on, directly or indirectly.

    A run is yielded after the runs that it depends on.
    """
    for digest in result.spec.needs.values():
        needed_result = _read_result(str(digest), home)
        if needed_result is not None:
            yield from _needed_results(needed_result, home)
            yield needed_result


def _results_outside_sweeps(home: Path, written_digests: set[str]) -> Iterator[RunResult]:
    """Yield the results of the recorded runs whose digests are not in `written_digests`."""
    for folder in sorted((home / "runs").glob("*/")):
        result = None if folder.name in written_digests else _read_result(folder.name, home)
        if result is not None:
            yield result


def _read_result(digest: str, home: Path) -> RunResult | None:
    """Return the recorded result of a run; None if it is missing or damaged."""
    try:
        return Record(home, digest).read_result()
    except RecordError as error:
        _print_skipped(str(error))
        return None


@cache
def _print_skipped(error_message: str) -> None:
    """Print that a damaged record is skipped; the same message is printed only once."""
    CommandConsole(stderr=True).print(f"skipped a damaged record: {error_message}", soft_wrap=True)
