"""Status of a sweep, from its plan, the records of its runs and its progress file.

Everything is read, and nothing is written: a sweep that runs meanwhile does not notice.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from orchestrator.recorded_names import nothing_recorded
from orchestrator.tracking.archive import iter_archives
from orchestrator.watching.progress_record import (
    PhaseProgress,
    ProgressRecord,
    continuing_command,
    read_progress,
)
from orchestrator.watching.recorded_budget import NEXT_BUDGET_FACTOR
from reports.plan_record import PLAN_FILE
from reports.store import no_such_sweep
from reports.words import printable
from search_spaces.files import is_study_path, read_study_file
from trainables.errors import HomeError, RecordError
from trainables.run.metrics import VAL_ACCURACY
from trainables.run.parameters import active_spaces
from trainables.run.protocols import HeldOutMean, protocol_from_identity
from trainables.run.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from orchestrator.home import Home
    from orchestrator.tracking.archive import SweepArchive
    from orchestrator.watching.progress_record import Failure, RunProgress, Start
    from reports.plan_record import HyperparameterValues, PlanRecord
    from trainables.run.protocols import Protocol
    from trainables.run.result import RunResult
    from trainables.run.spec import RunSpec

RUNNING, WAITING, FAILED, DAMAGED = "running", "waiting", "failed", "damaged"
"""States of runs without a result that can be read; those with one have the names of `Status`."""

SILENCE_SECONDS = 60.0
"""Age of the progress file, in seconds, from which a running process counts as silent."""


@dataclass(frozen=True, slots=True)
class PhaseStatus:
    """Numbers of runs of one phase.

    Attributes:
        phase: name of the phase: search, select or confirm.
        total: largest number of runs of the phase; None if it is not known yet.
        counts: number of runs in each state that occurs: "finished", "diverged", "stopped", "out of
            memory", "running", "waiting", "failed" (could not be carried out), or "damaged" (the
            record cannot be read).
    """

    phase: str
    total: int | None
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class BestTrial:
    """The best trial of a sweep's searches so far.

    Attributes:
        digest: digest of the run.
        method: name of the method.
        scenario: name of the scenario.
        accuracy: accuracy on held-out noisy labels by which trials are chosen, a fraction.
        values: values of the searched hyperparameters.
    """

    digest: str
    method: str
    scenario: str
    accuracy: float
    values: HyperparameterValues


@dataclass(frozen=True, slots=True)
class FailedRunStatus:
    """A run that could not be carried out.

    Attributes:
        failure: the run and the reason.
        log: path of the log file of the run; None if it has none.
    """

    failure: Failure
    log: str | None

    @property
    def line(self) -> str:
        """The run, the reason, and the path of its log file, in one line."""
        run = self.failure
        text = f"{run.phase}: {run.method} on {run.scenario}, {run.digest[:12]}: {run.reason}"
        return printable(f"{text}; log: {self.log}" if self.log else text)


@dataclass(frozen=True, slots=True)
class SweepStatus:
    """Status of a sweep.

    Attributes:
        study: name of the study.
        title: title of the study.
        sweep: digest of the sweep.
        state: "finished"; "running" if a process carries it out; "interrupted" if none does.
        changed_at: date and time of the last change of its plan, in ISO format.
        phases: numbers of runs by phase.
        best: best trial so far; None if none has ended.
        running: runs that are being trained.
        failures: runs that could not be carried out since the last start.
        devices: number of ended runs by device.
        hosts: number of ended runs by machine.
        max_concurrent_runs: number of runs at a time; None if it is not known, as are the times.
        seconds_left: estimated time until the sweep ends, in seconds; None if it has ended.
        seconds_left_range: lower and upper estimate of it.
        silent_seconds: time since the last sign of the process that carries the sweep out, in
            seconds; None if it is fresh, or there is no process.
        starts: starts of the sweep, each with its forecast and the time that it took.
        notices: notices about the machine since the last start.
        command: command that continues the sweep.
        has_exact_command: whether `command` has the flags of the last start, which sweeps of older
            versions did not record.
        is_budget_spent: whether the last start has ended since the time budget was spent; `command`
            then has a larger one.
    """

    study: str
    title: str
    sweep: str
    state: Literal["finished", "running", "interrupted"]
    changed_at: str
    phases: list[PhaseStatus]
    best: BestTrial | None
    running: list[RunProgress]
    failures: list[FailedRunStatus]
    devices: dict[str, int]
    hosts: dict[str, int]
    max_concurrent_runs: int | None
    seconds_left: float | None
    seconds_left_range: tuple[float, float] | None
    silent_seconds: float | None
    starts: list[Start]
    notices: list[str]
    command: str
    has_exact_command: bool
    is_budget_spent: bool = False

    @property
    def total(self) -> int:
        """Largest number of runs of the phases whose number is known."""
        return sum(phase.total or 0 for phase in self.phases)

    @property
    def ended(self) -> int:
        """Number of runs that have finished or diverged, or whose trial was stopped early."""
        return sum(
            count
            for phase in self.phases
            for state, count in phase.counts.items()
            if state in ("finished", "diverged") or (phase.phase, state) == ("search", "stopped")
        )


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a status needs of the result of a run.

    Attributes:
        status: how the run ended.
        spec: specification of the run.
        device: name of the device.
        host: name of the machine.
        accuracy: accuracy by which trials are chosen; None if it was not measured.
    """

    status: str
    spec: RunSpec
    device: str
    host: str
    accuracy: float | None


class StatusReader:
    """Reader of the status of sweeps, which reads the result of a run once as long as it stays."""

    def __init__(self, home: Home) -> None:
        """Create the reader.

        Args:
            home: home folder, which is not changed.
        """
        self._home = home
        self._summaries: dict[tuple[str, int], RunSummary] = {}
        self._plans: dict[tuple[Path, int], PlanRecord] = {}

    def archives(self, name: str | None = None) -> list[SweepArchive]:
        """Return the archives of sweeps, least recently changed first.

        Args:
            name: name of a study, whose latest sweep is returned; path of a study file; or the
                beginning of the digest of a sweep. None for all sweeps.

        Raises:
            HomeError: if no sweep is recorded.
            UserError: if no sweep has the name.
            StudyError: if the study file cannot be read.
        """
        archives = list(iter_archives(self._home.path))
        if not archives:
            raise nothing_recorded(self._home)
        if name is None:
            return archives
        by_digest = [archive for archive in archives if archive.folder.name.startswith(name)]
        if len(by_digest) == 1:
            return by_digest
        study = read_study_file(name).name if is_study_path(name) else name
        plans = [(archive, self._plan_or_none(archive)) for archive in archives]
        of_study = [archive for archive, plan in plans if plan and plan.study == study]
        if not of_study:
            labels = [f"{plan.study} {plan.sweep[:12]}" for _, plan in reversed(plans) if plan]
            raise no_such_sweep(name, str(self._home.path), labels)
        return of_study[-1:]

    def read(self, archive: SweepArchive) -> SweepStatus:
        """Return the status of a sweep.

        Args:
            archive: folder of the sweep.

        Raises:
            RecordError: if the plan of the sweep cannot be read.
            HomeError: if the home folder cannot be read.
        """
        # In this order, since a sweep writes its last progress and plan before it ends.
        plan = self._plan(archive)
        is_carried_out = self._is_carried_out(archive, plan.study)
        progress, plan = read_progress(archive.folder), self._plan(archive)
        is_training = (
            is_carried_out and progress is not None and progress.last_start.state == "running"
        )
        state: Literal["finished", "running", "interrupted"] = (
            "running"
            if is_carried_out
            else "finished"
            if plan.state == "finished"
            else "interrupted"
        )
        running = progress.running if progress and is_training else []
        failures = find_failures(self._home.path, progress)
        digests_by_phase = self._digests_by_phase(plan, running, failures)
        summaries = {
            digest: self._summary(digest, plan)
            for digests in digests_by_phase.values()
            for digest in digests
        }
        ended = [summary for summary in summaries.values() if isinstance(summary, RunSummary)]
        is_budget_spent = plan.is_budget_spent and state == "interrupted"
        has_time = progress is not None and state != "finished" and not is_budget_spent
        flags = progress.flags if progress else {"study": plan.study}
        if is_budget_spent and plan.budget_hours is not None:
            flags = flags | {"budget_hours": NEXT_BUDGET_FACTOR * plan.budget_hours}
        return SweepStatus(
            study=plan.study,
            title=plan.title,
            sweep=plan.sweep,
            state=state,
            changed_at=_iso_time((archive.folder / PLAN_FILE).stat().st_mtime),
            phases=[
                _phase_status(
                    phase,
                    _phase_size(phase, plan, progress, is_finished=state == "finished"),
                    {digest: summaries[digest] for digest in digests},
                    running,
                    failures,
                )
                for phase, digests in digests_by_phase.items()
            ],
            best=_best_trial(plan, summaries),
            running=running,
            failures=failures,
            devices=dict(Counter(summary.device for summary in ended).most_common()),
            hosts=dict(Counter(summary.host for summary in ended).most_common()),
            max_concurrent_runs=progress.max_concurrent_runs if progress else None,
            seconds_left=progress.seconds_left if progress and has_time else None,
            seconds_left_range=progress.seconds_left_range if progress and has_time else None,
            silent_seconds=_silent_seconds(progress) if progress and is_training else None,
            starts=progress.starts if progress else [],
            notices=progress.notices if progress else [],
            command=continuing_command(flags, self._home.path),
            has_exact_command=progress is not None,
            is_budget_spent=is_budget_spent,
        )

    def _plan(self, archive: SweepArchive) -> PlanRecord:
        """Return the plan of a sweep, which is read again only if it has changed.

        Raises:
            RecordError: if the plan is missing or damaged.
        """
        try:
            key = (archive.folder, (archive.folder / PLAN_FILE).stat().st_mtime_ns)
        except OSError as error:
            raise RecordError(f"cannot read {archive.folder}: {error.strerror}") from error
        if key not in self._plans:
            self._plans[key] = archive.read_plan_and_study()[0]
        return self._plans[key]

    def _plan_or_none(self, archive: SweepArchive) -> PlanRecord | None:
        try:
            return self._plan(archive)
        except RecordError:
            return None

    def _is_carried_out(self, archive: SweepArchive, study: str) -> bool:
        """Return whether a process carries out a sweep: of one study, the one changed last."""
        plans = [(each, self._plan_or_none(each)) for each in iter_archives(self._home.path)]
        latest = [each for each, plan in plans if plan and plan.study == study][-1:]
        return latest == [archive] and self._home.is_carried_out(study)

    def _digests_by_phase(
        self,
        plan: PlanRecord,
        running: Iterable[RunProgress],
        failures: Iterable[FailedRunStatus],
    ) -> dict[str, list[str]]:
        """Return the digests of the known runs of each phase, with those that they need.

        Each run is in one phase, the first that has it.
        """
        phases = {
            phase: dict.fromkeys(sorted(each)) for phase, each in plan.digests_by_phase.items()
        }
        for phase, digest in (
            *((run.phase, run.digest) for run in running),
            *((each.failure.phase, each.failure.digest) for each in failures),
        ):
            phases.setdefault(phase, {})[digest] = None
        seen: set[str] = set()
        all_digests = set().union(*phases.values())
        by_phase: dict[str, list[str]] = {}
        for phase, digests in phases.items():
            by_phase[phase] = []
            open_digests = list(digests)
            while open_digests:
                digest = open_digests.pop()
                if digest in seen:
                    continue
                seen.add(digest)
                by_phase[phase].append(digest)
                summary = self._summary(digest, plan)
                if isinstance(summary, RunSummary):
                    needed = map(str, summary.spec.needs.values())
                    open_digests += [each for each in needed if each not in all_digests]
        return by_phase

    def _summary(self, digest: str, plan: PlanRecord) -> RunSummary | str | None:
        """Return what is recorded of a run; None without a result, a text if it is damaged."""
        record = Record(self._home.path, digest)
        try:
            changed = record.result_time_ns()
            if changed is None:
                return None
            key = (digest, changed)
            if key not in self._summaries:
                result = record.read_result()
                if result is None:
                    return None
                self._summaries[key] = _summary_of(result, plan)
            return self._summaries[key]
        except (RecordError, HomeError) as error:
            return str(error)


def find_failures(home_dir: Path, progress: ProgressRecord | None) -> list[FailedRunStatus]:
    """Return the runs that failed since the last start and have no final result by now.

    Args:
        home_dir: home folder.
        progress: progress of the sweep; None if it has none.
    """
    failures = []
    for failure in {each.digest: each for each in (progress.failures if progress else ())}.values():
        record = Record(home_dir, failure.digest)
        with suppress(RecordError, HomeError):
            result = record.read_result()
            if result is not None and result.is_final:
                continue
        log = str(record.log_path) if record.log_path.exists() else None
        failures.append(FailedRunStatus(failure, log))
    return failures


def _summary_of(result: RunResult, plan: PlanRecord) -> RunSummary:
    identity = plan.protocols.get(result.spec.scenario)
    protocol: Protocol = protocol_from_identity(identity) if identity else HeldOutMean(plan.window)
    return RunSummary(
        status=str(result.status),
        spec=result.spec,
        device=result.provenance.get("device", "unknown"),
        host=result.provenance.get("host", "unknown"),
        accuracy=result.mean_value(VAL_ACCURACY, protocol),
    )


def _phase_size(
    phase: str, plan: PlanRecord, progress: ProgressRecord | None, *, is_finished: bool
) -> PhaseProgress | None:
    """Return the numbers of runs of a phase, as the last process counted them; None if unknown."""
    if progress is not None and phase in progress.phases:
        return progress.phases[phase]
    digests = plan.digests_by_phase[phase]
    if is_finished or (phase == "confirm" and digests):
        return PhaseProgress(len(digests), 0)
    if phase == "search" and plan.searches:
        return PhaseProgress(sum(search.trials * search.seeds for search in plan.searches), 0)
    return None


def _phase_status(
    phase: str,
    size: PhaseProgress | None,
    summaries: dict[str, RunSummary | str | None],
    running: Sequence[RunProgress],
    failures: Sequence[FailedRunStatus],
) -> PhaseStatus:
    """Count the runs of a phase by their states."""
    running_digests = {run.digest for run in running}
    failed_digests = {each.failure.digest for each in failures}
    counts: Counter[str] = Counter()
    waiting = 0
    for digest, summary in summaries.items():
        if digest in running_digests:
            counts[RUNNING] += 1
        elif isinstance(summary, RunSummary):
            counts[summary.status] += 1
        elif summary is not None:
            counts[DAMAGED] += 1
        elif digest in failed_digests:
            counts[FAILED] += 1
        else:
            waiting += 1
    if size is not None:
        # The process counts two trials with the same values twice, although their run is one.
        known = max(counts.total(), size.ended + counts[RUNNING] + counts[FAILED])
        waiting = max(waiting if size.ended < size.total else 0, size.total - known)
    if waiting:
        counts[WAITING] = waiting
    return PhaseStatus(
        phase,
        max(size.total, counts.total()) if size else None,
        {state: count for state, count in counts.most_common() if count},
    )


def _best_trial(
    plan: PlanRecord, summaries: dict[str, RunSummary | str | None]
) -> BestTrial | None:
    """Return the trial with the highest accuracy on held-out noisy labels, of all searches."""
    best: BestTrial | None = None
    for search in plan.searches:
        for digests in search.runs_by_whole_trial:
            runs = [run for run in map(summaries.get, digests) if isinstance(run, RunSummary)]
            accuracies = [run.accuracy for run in runs if run.accuracy is not None]
            if len(accuracies) < len(digests):
                continue
            if best is None or fmean(accuracies) > best.accuracy:
                spec = runs[0].spec
                values = {name: _value(spec, name) for name in search.space}
                active = active_spaces(search.space, values)
                values = {name: values[name] for name in active}
                best = BestTrial(
                    digests[0], search.method, search.scenario, fmean(accuracies), values
                )
    return best


def _value(spec: RunSpec, name: str) -> bool | int | float | str:
    """Return the value of a searched parameter, which is one of the method or of the recipe."""
    value = (
        spec.hyperparameters[name] if name in spec.hyperparameters else getattr(spec.recipe, name)
    )
    return value if isinstance(value, bool | int | float) else str(value)


def _silent_seconds(progress: ProgressRecord) -> float | None:
    """Return the age of the progress file in seconds, if it is old."""
    age = time.time() - datetime.fromisoformat(progress.written_at).timestamp()
    return age if age > SILENCE_SECONDS else None


def _iso_time(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).astimezone().isoformat(timespec="seconds")
