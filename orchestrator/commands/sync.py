"""`sync`: write MLflow again from what lies under the home."""

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
    """Write every sweep and every run that MLflow lacks; what is there stays as it is.

    Raises:
        NalError: one line for the user.
    """
    home, uri = places.home, places.store
    if not (home.path / "runs").is_dir():
        raise HomeError(f"no runs lie under --home {home.path}: name another folder with --home")
    artifacts = home.artifacts_for(uri)
    written: set[str] = set()
    for archive in iter_archives(home.path):
        plan, study_yaml = archive.read()
        with home.claimed(plan.study):
            tracker = Tracker(uri, artifacts, plan.study)
            tracker.start_sweep(plan, study_yaml, archive.code())
            for result, phase, cell in _runs_of(plan, home.path):
                tracker.record(result, phase, cell)
                written.add(result.digest)
            if plan.state == "finished":
                tracker.finish_sweep(plan, build_report(uri, plan.sweep).files)
            else:
                tracker.mark_interrupted()
    alone = 0
    for result in _others(home.path, written):
        Tracker(uri, artifacts, result.provenance["study"]).record(result, "train")
        alone += 1
    Console(highlight=False).print(
        f"{len(written)} runs of sweeps and {alone} other runs are in {uri}."
    )
    return 0


def _runs_of(plan: PlanRecord, home: Path) -> Iterator[tuple[RunResult, Phase, CellRecord | None]]:
    wanted: list[tuple[str, Phase, CellRecord | None]] = []
    for search in plan.searches:
        wanted += [(digest, Phase.SEARCH, None) for digest in search.digests]
        for candidate in search.candidates:
            wanted += [(digest, Phase.SELECT, None) for digest in candidate.digests]
    for confirmed in plan.cells:
        wanted += [(digest, Phase.CONFIRM, confirmed) for digest in confirmed.digests]
    named = plan.digests
    for digest, phase, cell in wanted:
        result = _readable(digest, home)
        if result is None:
            continue
        for need in _needs_of(result, home):
            if need.digest not in named:
                named.add(need.digest)
                yield need, phase, None
        yield result, phase, cell


def _needs_of(result: RunResult, home: Path) -> Iterator[RunResult]:
    """Yield the runs that a run needed, each after those that it needed itself."""
    for digest in result.spec.needs.values():
        need = _readable(str(digest), home)
        if need is not None:
            yield from _needs_of(need, home)
            yield need


def _others(home: Path, written: set[str]) -> Iterator[RunResult]:
    for folder in sorted((home / "runs").glob("*/")):
        result = None if folder.name in written else _readable(folder.name, home)
        if result is not None:
            yield result


def _readable(digest: str, home: Path) -> RunResult | None:
    """Return the result of a run; None where there is none, or one that is damaged."""
    try:
        return Record(home, digest).result()
    except RecordError as error:
        _leave_out(str(error))
        return None


@cache
def _leave_out(fault: str) -> None:
    """Say once that a damaged record is left out."""
    Console(stderr=True, highlight=False).print(f"left out: {fault}", soft_wrap=True)
