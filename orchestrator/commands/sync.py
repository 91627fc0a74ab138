"""The `sync` command: rebuild MLflow's records from the runs in the home folder."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.commands.report import build_report
from orchestrator.tracking.archive import iter_archives
from orchestrator.tracking.tracker import Tracker
from search_spaces.schema import Phase
from trainables.errors import HomeError, RecordError
from trainables.run.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.flags import Places
    from reports.plan_record import CellRecord, PlanRecord
    from trainables.run.result import RunResult


def run(places: Places) -> int:
    """Write every sweep and run of the home folder that MLflow lacks.

    Entries that MLflow has already are left unchanged.

    Args:
        places: locations of the home folder and the MLflow store.

    Returns:
        The exit code, 0.

    Raises:
        NalError: if the home folder contains no runs, or the MLflow store cannot be written.
    """
    home, uri = places.home, places.store
    if not (home.path / "runs").is_dir():
        raise HomeError(f"there are no runs under {home.path}: choose another folder with --home")
    artifacts = home.artifacts_for(uri)
    written_digests: set[str] = set()
    for archive in iter_archives(home.path):
        plan, study_yaml = archive.read()
        with home.claimed(plan.study):
            tracker = Tracker(uri, artifacts, plan.study)
            tracker.start_sweep(plan, study_yaml, archive.code())
            for result, phase, cell in _runs_of_sweep(plan, home.path):
                tracker.record(result, phase, cell)
                written_digests.add(result.digest)
            if plan.state == "finished":
                tracker.finish_sweep(plan, build_report(uri, plan.sweep).files)
            else:
                tracker.mark_interrupted()
    standalone_count = 0
    for result in _other_runs(home.path, written_digests):
        Tracker(uri, artifacts, result.provenance["study"]).record(result, "train")
        standalone_count += 1
    Console(highlight=False).print(
        f"{len(written_digests)} runs of sweeps and {standalone_count} other runs are in {uri}."
    )
    return 0


def _runs_of_sweep(
    plan: PlanRecord, home: Path
) -> Iterator[tuple[RunResult, Phase, CellRecord | None]]:
    """Yield the result of each recorded run of a sweep, with its phase and its cell.

    Runs that are not listed in the plan, but whose results a listed run uses, are yielded before
    the listed run.
    """
    planned_runs: list[tuple[str, Phase, CellRecord | None]] = []
    for search in plan.searches:
        planned_runs += [(digest, Phase.SEARCH, None) for digest in search.digests]
        for candidate in search.candidates:
            planned_runs += [(digest, Phase.SELECT, None) for digest in candidate.digests]
    for cell_record in plan.cells:
        planned_runs += [(digest, Phase.CONFIRM, cell_record) for digest in cell_record.digests]
    listed_digests = plan.digests
    for digest, phase, cell in planned_runs:
        result = _read_result(digest, home)
        if result is None:
            continue
        for need in _needs_of(result, home):
            if need.digest not in listed_digests:
                listed_digests.add(need.digest)
                yield need, phase, None
        yield result, phase, cell


def _needs_of(result: RunResult, home: Path) -> Iterator[RunResult]:
    """Yield the results of the recorded runs that a run depends on, directly or indirectly.

    Each comes after the runs that it depends on itself.
    """
    for digest in result.spec.needs.values():
        need = _read_result(str(digest), home)
        if need is not None:
            yield from _needs_of(need, home)
            yield need


def _other_runs(home: Path, written_digests: set[str]) -> Iterator[RunResult]:
    """Yield the results of the recorded runs whose digests are not in `written`."""
    for folder in sorted((home / "runs").glob("*/")):
        result = None if folder.name in written_digests else _read_result(folder.name, home)
        if result is not None:
            yield result


def _read_result(digest: str, home: Path) -> RunResult | None:
    """Return the recorded result of a run; None if it is missing or damaged."""
    try:
        return Record(home, digest).result()
    except RecordError as error:
        _print_skipped(str(error))
        return None


@cache
def _print_skipped(error_message: str) -> None:
    """Print that a damaged record is left out; the same message is printed only once."""
    Console(stderr=True, highlight=False).print(f"left out: {error_message}", soft_wrap=True)
