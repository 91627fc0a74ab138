"""Restoring of an MLflow store from the sweeps and runs that are recorded in a home folder."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from orchestrator.home import StudyLockedError
from orchestrator.output import CommandConsole
from orchestrator.tracking.archive import iter_archives
from orchestrator.tracking.persistence import PersistentTracker
from orchestrator.tracking.tracker import Tracker
from reports.comparison import comparison_table
from reports.plan_record import PLAN_FILE, PlanRecord
from reports.read import read_sweep
from reports.report import SweepReport, build_page, read_confirmed_sweep
from reports.store import StoreUnavailableError, local_artifact_folder, mask_password
from reports.stored_runs import ENDED_STATUSES, RESUMABLE_STATUSES
from search_spaces.schema import Phase
from trainables.errors import RecordError, UserError
from trainables.run.record import Record
from trainables.run.result import Status

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from orchestrator.home import Home
    from orchestrator.tracking.archive import SweepArchive
    from reports.plan_record import CellRecord
    from trainables.run.result import RunResult

PATIENCE_SECONDS = 60.0
"""Longest time for which an operation on a store that does not answer is repeated, in seconds."""


@dataclass(frozen=True, slots=True)
class WrittenSweep:
    """A sweep as it was written to an MLflow store.

    Attributes:
        is_finished: whether the sweep was written completely, with its tables.
        artifact_folder: folder of its plan and tables; None if they are not on this machine.
    """

    is_finished: bool
    artifact_folder: Path | None

    def has_plan(self, plan: PlanRecord) -> bool:
        """Return whether the sweep was written with this plan."""
        if self.artifact_folder is None:
            return False
        try:
            stored_plan = PlanRecord.from_json((self.artifact_folder / PLAN_FILE).read_text())
        except (OSError, ValueError, RecordError):
            return False
        return stored_plan == plan and (self.is_finished or plan.state == "running")


@dataclass(frozen=True, slots=True)
class StoredRecords:
    """The sweeps and runs in an MLflow store on this machine; none by default.

    Attributes:
        sweeps: sweeps by their digests.
        statuses: `Status` of each training run that was written completely, by the digests of its
            sweep ("" for a run without a sweep) and of the run.
    """

    sweeps: Mapping[str, WrittenSweep] = field(default_factory=dict)
    statuses: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def read(cls, database: sqlite3.Connection) -> StoredRecords:
        """Read the sweeps and runs from MLflow's database, without importing MLflow.

        They include those that the user has deleted in MLflow, which are not restored.
        """
        runs: dict[str, dict[str, Any]] = defaultdict(dict)
        rows = database.execute(
            "SELECT run_uuid, status, artifact_uri, key, value FROM runs JOIN tags USING (run_uuid)"
            " WHERE key IN ('nal.kind', 'nal.digest', 'nal.sweep', 'nal.status')"
            " ORDER BY lifecycle_stage = 'active'"
        )
        for run_id, mlflow_status, artifact_uri, tag, value in rows:
            runs[run_id] |= {tag: value, "status": mlflow_status, "artifact_uri": artifact_uri}
        sweeps, statuses = {}, {}
        for run in runs.values():  # deleted ones first, so that their replacements count
            if run.get("nal.kind") == "sweep":
                folder = local_artifact_folder(run["artifact_uri"])
                sweeps[run["nal.sweep"]] = WrittenSweep(run["status"] == "FINISHED", folder)
            elif run.get("nal.kind") == "run" and run["status"] in ENDED_STATUSES:
                statuses[run.get("nal.sweep", ""), run["nal.digest"]] = run["nal.status"]
        return cls(sweeps, statuses)

    def has_run(
        self, sweep_digest: str, digest: str, home_dir: Path, stopped_digests: Collection[str] = ()
    ) -> bool:
        """Return whether the store has the recorded result of a run of a sweep.

        Args:
            sweep_digest: digest of the sweep; "" for a run without a sweep.
            digest: digest of the run.
            home_dir: home folder with the record of the run.
            stopped_digests: digests of the runs that the sweep has stopped early. Another sweep may
                have continued them since.
        """
        status = self.statuses.get((sweep_digest, digest))
        if status not in RESUMABLE_STATUSES:
            return status is not None
        if status == Status.STOPPED and digest in stopped_digests:
            return True
        result = _read_result(digest, home_dir)
        return result is None or not result.is_final

    def has_sweep(self, plan: PlanRecord, recorded_digests: set[str], home_dir: Path) -> bool:
        """Return whether the store has a sweep with its current plan and all recorded runs.

        Args:
            plan: plan of the sweep.
            recorded_digests: digests of all runs that are recorded in the home folder.
            home_dir: home folder with the records of the runs.
        """
        sweep = self.sweeps.get(plan.sweep)
        return (
            sweep is not None
            and sweep.has_plan(plan)
            and all(
                self.has_run(plan.sweep, digest, home_dir, plan.stopped_digests)
                for digest in plan.digests & recorded_digests
            )
        )


@dataclass(slots=True)
class RestoredRecords:
    """What was written to an MLflow store.

    Attributes:
        sweep_count: number of sweeps.
        run_digests: digests of the runs of these sweeps.
        standalone_count: number of runs outside sweeps.
        locked_studies: names of the studies that were left to the process that carries them out.
    """

    sweep_count: int = 0
    run_digests: set[str] = field(default_factory=set)
    standalone_count: int = 0
    locked_studies: set[str] = field(default_factory=set)

    @property
    def has_written(self) -> bool:
        """Whether anything was written."""
        return self.sweep_count + self.standalone_count > 0


def restore_store(
    home: Home, uri: str, stored_records: StoredRecords | None = None
) -> RestoredRecords:
    """Write the sweeps and runs of a home folder to an MLflow store, except those that it has.

    A study that another process is carrying out is left to that process. Runs outside sweeps are
    not written while their study has an unfinished sweep, to which they may belong.

    Args:
        home: home folder with the records.
        uri: URI of the MLflow store.
        stored_records: sweeps and runs that the store is known to have; None to compare every
            recorded run with the store.

    Raises:
        NalError: if the MLflow store cannot be written.
    """
    stored = stored_records or StoredRecords()
    restored = RestoredRecords()
    recorded_digests = {path.parent.name for path in (home.path / "runs").glob("*/result.json")}
    other_digests = set(recorded_digests)
    unfinished_studies, has_unreadable_plans = set(), False
    for archive in iter_archives(home.path):
        try:
            plan, study_yaml = archive.read_plan_and_study()
        except RecordError as error:
            _print_skipped(str(error))
            has_unreadable_plans = True
            continue
        other_digests -= plan.digests
        if plan.state == "running":
            unfinished_studies.add(plan.study)
        if stored.has_sweep(plan, recorded_digests, home.path):
            continue
        try:
            with home.study_lock(plan.study):
                restored.run_digests |= _restore_sweep(archive, plan, study_yaml, home, uri)
                restored.sweep_count += 1
        except StudyLockedError:
            restored.locked_studies.add(plan.study)
    if has_unreadable_plans:
        return restored  # any other run may belong to the sweep of such a plan
    trackers: dict[str, PersistentTracker] = {}
    stored_digests = {
        digest for sweep, digest in stored.statuses if stored.has_run(sweep, digest, home.path)
    }
    for digest in sorted(other_digests - stored_digests - restored.run_digests):
        result = _read_result(digest, home.path)
        if result is None or (study := result.provenance["study"]) in unfinished_studies:
            continue
        if study not in trackers:
            trackers[study] = _open_tracker(home, uri, study)
        trackers[study].execute(partial(Tracker.record, result=result, phase="train"))
        restored.standalone_count += 1
    return restored


def _restore_sweep(
    archive: SweepArchive, plan: PlanRecord, study_yaml: str, home: Home, uri: str
) -> set[str]:
    """Write a sweep and its recorded runs to an MLflow store.

    Of a sweep that another home has finished in the store, only runs that lack there are written.

    Returns:
        The digests of the runs.
    """
    tracker = _open_tracker(home, uri, plan.study)
    finished_plan = None
    if plan.state == "running":
        finished_plan = tracker.execute(lambda _: _finished_plan(plan, uri))
    if finished_plan is None:
        changed_at = datetime.fromtimestamp((archive.folder / PLAN_FILE).stat().st_mtime, UTC)
        code_files = archive.read_code_files()
        tracker.execute(
            lambda tracker: tracker.start_sweep(plan, study_yaml, code_files, changed_at)
        )
    else:
        tracker.execute(partial(Tracker.join_sweep, plan=finished_plan))
    digests = set()
    for result, phase, cell in _results_of_sweep(finished_plan or plan, home.path):
        tracker.execute(partial(Tracker.record, result=result, phase=phase, cell=cell))
        digests.add(result.digest)
    if plan.state == "finished":
        tracker.execute(
            lambda tracker: tracker.finish_sweep(plan, _tables_of(archive, plan, home, uri))
        )
    elif finished_plan is None:
        tracker.execute(Tracker.mark_interrupted)
    archive.mark_written(uri)
    return digests


def _finished_plan(plan: PlanRecord, uri: str) -> PlanRecord | None:
    """Return the plan of a sweep that a store has as finished, with all runs of an unfinished one.

    Args:
        plan: plan of the unfinished sweep in the home folder.
        uri: URI of the MLflow store.

    Returns:
        The plan; None if the store does not have the sweep, or has another state of it.
    """
    try:
        stored_plan, _ = read_sweep(uri, plan.sweep)
    except (UserError, RecordError):
        return None
    has_all_runs = stored_plan.state == "finished" and plan.digests <= stored_plan.digests
    return stored_plan if has_all_runs else None


def _open_tracker(home: Home, uri: str, study: str) -> PersistentTracker:
    """Open the experiment of a study in an MLflow store that may fail now and then."""

    def print_failure(error: StoreUnavailableError) -> None:
        _print_note(
            f"MLflow at {mask_password(uri)} cannot be written ({error.reason}): trying again for "
            f"up to {PATIENCE_SECONDS:g} s"
        )

    artifact_dir = home.artifact_dir_for(uri)
    return PersistentTracker(uri, artifact_dir, study, print_failure, PATIENCE_SECONDS)


def _tables_of(archive: SweepArchive, plan: PlanRecord, home: Home, uri: str) -> Mapping[str, str]:
    """Return the tables of a sweep by file name; none if its records contradict each other.

    The page is taken from the archive if it is current, since its figures take long to draw.
    """
    paths = (Record(home.path, digest).folder / "result.json" for digest in plan.digests)
    try:
        stored_plan, runs = read_confirmed_sweep(uri, plan.sweep)
        table = comparison_table(stored_plan, runs)
        page = archive.read_current_page(paths) or build_page(
            uri, home.path, stored_plan, runs, table
        )
        return SweepReport(table, page).files
    except RecordError as error:
        _print_skipped(str(error))
        return {}


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
    cell_digests = {digest for digest, *_ in listed_runs}
    for cell_record in plan.cells:
        crossed_digests = cell_record.crossed.digests if cell_record.crossed else ()
        listed_runs += [
            (digest, Phase.CONFIRM, None)
            for digest in crossed_digests
            if digest not in cell_digests
        ]
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


def _read_result(digest: str, home: Path) -> RunResult | None:
    """Return the recorded result of a run; None if it is missing or damaged."""
    try:
        return Record(home, digest).read_result()
    except RecordError as error:
        _print_skipped(str(error))
        return None


def _print_skipped(error_message: str) -> None:
    """Print that a damaged record is skipped."""
    _print_note(f"skipped a damaged record: {error_message}")


@cache
def _print_note(text: str) -> None:
    """Print a line on standard error; the same line is printed only once."""
    CommandConsole(stderr=True).print(text, soft_wrap=True)
