"""Progress of a sweep in the process that carries it out: running runs, and the time left."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections import Counter, deque
from contextlib import suppress
from datetime import UTC, datetime
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, Self

from orchestrator.planning.sizes import phase_sizes
from orchestrator.watching.progress_record import (
    MAX_STARTS,
    Failure,
    PhaseProgress,
    ProgressRecord,
    RunProgress,
    Start,
    StartState,
    read_progress,
)
from reports.words import format_values
from search_spaces.schema import Phase
from trainables.errors import HomeError
from trainables.run.metrics import VAL_ACCURACY

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

    from orchestrator.planning.cost import MachineCost
    from orchestrator.sweeping.sweep import Sweep
    from orchestrator.sweeping.tasks import SeedGroup, Task
    from trainables.training.job import Row

WRITE_SECONDS = 2.0
"""Time between two writes of the progress file, in seconds."""

MIN_TIMED_RUNS = 4
"""Smallest number of runs whose times give a range of the time left."""

RECENT_RUNS = 10
"""Number of the latest runs whose times show how fast the machine is now."""

UNTIMED_FACTOR = 2.0
"""Factor between the estimated time left and the ends of its range before runs have ended."""

MAX_NOTICES = 10
"""Largest number of notices that are kept."""


class RunningRun:
    """A run that an engine has started.

    Attributes:
        task: task of the run.
        is_training: whether the run has reported, so that it no longer waits for a worker.
        row: metrics after the latest epoch; empty before the first.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.is_training = False
        self.row: Row = {}
        self._first_epoch = 0
        self._start_time = self._row_time = 0.0

    def report(self, row: Row) -> None:
        """Process a report of the run.

        Args:
            row: metrics after the latest epoch; empty before the first epoch has ended.
        """
        now = time.monotonic()
        if not self.is_training:
            self.is_training = True
            self._start_time = self._row_time = now
            self._first_epoch = int(row.get("epoch", 0))
        if row.get("epoch", 0) > self.epoch:
            self._row_time = now
        self.row = row or self.row

    @property
    def epoch(self) -> int:
        """Number of epochs that have ended."""
        return int(self.row.get("epoch", 0))

    @property
    def fraction(self) -> float:
        """Fraction of the run's epochs that have ended."""
        return self.epoch / self.task.spec.recipe.epochs

    @property
    def seconds_per_epoch(self) -> float | None:
        """Mean wall time of the epochs that were reported since the first report, in seconds."""
        epoch_count = self.epoch - self._first_epoch
        if not self.is_training or epoch_count < 1:
            return None
        return (self._row_time - self._start_time) / epoch_count

    def record(self) -> RunProgress:
        """Return the progress of the run for the progress file."""
        spec = self.task.spec
        return RunProgress(
            digest=spec.digest,
            phase=str(self.task.phase),
            method=spec.method,
            scenario=spec.scenario,
            values=format_values(self.task.values),
            seed=spec.seeds.init,
            epoch=self.epoch,
            epochs=spec.recipe.epochs,
            seconds_per_epoch=self.seconds_per_epoch,
            accuracy=self.row.get(VAL_ACCURACY),
        )


class SweepProgress:
    """Progress of a sweep since this process has started it (listener of the engine).

    Attributes:
        sweep: the sweep.
        has_report: whether a run has reported since the start.
        max_concurrent_runs: number of runs that are trained at a time.
        start_seconds: expected wall time until the engine trains the first run, in seconds.
        plan_seconds: expected wall time of the whole sweep, in seconds.
        notices: latest notices about the machine.
    """

    def __init__(self, sweep: Sweep, cost: MachineCost, *, starts_workers: bool) -> None:
        """Start to follow a sweep.

        Args:
            sweep: sweep, after `Sweep.resume` has read the runs that are recorded already.
            cost: measured cost of a run, used to estimate the time left.
            starts_workers: whether the engine trains runs in worker processes that it starts first.
        """
        self.sweep = sweep
        self.starts_workers = starts_workers
        self.has_report = False
        self.notices: deque[str] = deque(maxlen=MAX_NOTICES)
        self._runs_and_seconds = {
            size.phase: (size.max_run_count, cost.mean_run_seconds(size.groups))
            for size in phase_sizes(sweep.plan)
        }
        self.max_concurrent_runs = cost.max_concurrent_runs
        self.start_seconds = cost.start_seconds
        self.plan_seconds = min(cost.plan_seconds(sweep.plan), sweep.budget.seconds_left)
        self._runs: dict[str, RunningRun] = {}
        self._time_ratios: list[float] = []
        self._start_time = time.monotonic()
        self._recorded_seconds = self._completed_seconds()
        self._recorded_count = sum(sweep.ended_run_counts.values())

    def on_start(self, task: Task) -> None:
        """Add the run."""
        self._runs[task.spec.digest] = RunningRun(task)

    def on_report(self, task: Task, row: Row) -> None:
        """Update the run's progress."""
        if not self.has_report:
            self.has_report = True
            self._start_time = time.monotonic()  # the time left depends on the speed of training
        if (run := self._runs.get(task.spec.digest)) is not None:
            run.report(row)

    def on_end(self, task: Task) -> None:
        """Remove the run, and compare its time with the measured cost."""
        run = self._runs.pop(task.spec.digest, None)
        seconds = None if run is None else run.seconds_per_epoch
        if seconds is not None:
            expected_seconds = self._runs_and_seconds[task.phase][1] / task.spec.recipe.epochs
            self._time_ratios.append(seconds / max(expected_seconds, 1e-9))

    def on_notice(self, text: str) -> None:
        """Keep the notice."""
        self.notices.append(text)

    @property
    def seconds_since_start(self) -> float:
        """Time since the first report of a run, or since the start before it, in seconds."""
        return time.monotonic() - self._start_time

    @property
    def ended_count(self) -> int:
        """Number of runs that have ended since the start."""
        return sum(self.sweep.ended_run_counts.values()) - self._recorded_count

    def training_runs(self) -> list[RunningRun]:
        """Return the runs that are being trained, without those that wait for a worker."""
        # A copy, since the engine calls this object from another thread than those that read it.
        return [run for run in list(self._runs.values()) if run.is_training]

    def total_runs(self) -> dict[Phase, int]:
        """Return the number of runs in each phase of the sweep (search, select, confirm).

        The number is an upper bound until the runs of the phase are known.
        """
        totals = {phase: runs for phase, (runs, _) in self._runs_and_seconds.items()}
        if Phase.SEARCH in totals:
            omitted_count = sum(tuning.omitted_trial_count for tuning in self.sweep.tunings)
            totals[Phase.SEARCH] -= omitted_count * len(self.sweep.plan.study.search.seeds)
            totals[Phase.SEARCH] -= sum(tuning.left_out_count for tuning in self.sweep.tunings)
        select_batches = [
            seed_group for tuning in self.sweep.tunings for _, seed_group in tuning.candidates
        ]
        if select_batches and all(tuning.candidates for tuning in self.sweep.tunings):
            totals[Phase.SELECT] = self._count_runs(Phase.SELECT, select_batches)
        if self.sweep.cells:
            totals[Phase.CONFIRM] = self._count_runs(
                Phase.CONFIRM, [group for cell in self.sweep.cells for group in cell.groups]
            )
        return totals

    def _count_runs(self, phase: Phase, seed_groups: Iterable[SeedGroup]) -> int:
        """Return the number of runs that a phase carries out for some batches.

        Runs whose results the batches use are included, unless another phase counts them.
        """
        plan = self.sweep.plan
        specs = [spec for seed_group in seed_groups for spec in seed_group.specs]
        needed_specs = [needed for spec in specs for needed in plan.needs_of(spec)]
        digests = {spec.digest for spec in (*specs, *needed_specs)}
        return sum(self.sweep.run_phases.get(digest, phase) is phase for digest in digests)

    def _failed_counts(self) -> Counter[Phase]:
        """Return the number of runs that could not be carried out and do not count as ended."""
        failed_phases = {run.spec.digest: run.phase for run in list(self.sweep.failed_runs)}
        ended_digests = self.sweep.run_phases
        return Counter(
            phase for digest, phase in failed_phases.items() if digest not in ended_digests
        )

    def _completed_seconds(self) -> float:
        """Return the measured cost of all training so far, as the wall time of one slot."""
        ended_seconds = sum(
            self.sweep.ended_run_counts[phase] * seconds
            for phase, (_, seconds) in self._runs_and_seconds.items()
        )
        return ended_seconds + sum(
            run.fraction * self._runs_and_seconds[run.task.phase][1]
            for run in list(self._runs.values())
        )

    def seconds_left(self) -> float:
        """Return the estimated time until the sweep ends, in seconds.

        The estimate is based on the measured cost of the runs, the speed since the start, and
        whether the latest runs took longer or shorter than the earlier ones of this start. It is
        at most what the time budget has left.
        """
        totals, failed_counts = self.total_runs(), self._failed_counts()
        total_seconds = sum(
            (totals[phase] - failed_counts[phase]) * seconds
            for phase, (_, seconds) in self._runs_and_seconds.items()
        )
        completed_seconds = self._completed_seconds()
        progress_seconds = completed_seconds - self._recorded_seconds
        # During the first twentieth, the measured cost is the better estimate.
        speed = (
            progress_seconds / self.seconds_since_start / self._recent_slowdown()
            if progress_seconds > total_seconds / 20
            else self.max_concurrent_runs
        )
        seconds = max(0.0, total_seconds - completed_seconds) / max(speed, 1e-9)
        return min(seconds, self.sweep.budget.seconds_left)

    def _recent_slowdown(self) -> float:
        """Return how many times as long as all runs of this start the latest ones took.

        On a machine that is shared, the speed of hours ago says little about the next ones.
        """
        ratios = list(self._time_ratios)
        if len(ratios) < MIN_TIMED_RUNS:
            return 1.0
        return median(ratios[-RECENT_RUNS:]) / median(ratios)

    def seconds_left_range(self) -> tuple[float, float]:
        """Return a lower and an upper estimate of the time until the sweep ends, in seconds.

        The time left varies by as much as the runs of this start did: between the tenth and the
        ninth decile of their times, each divided by the measured cost, relative to the median.
        Before a few runs have ended, the measured cost is trusted within `UNTIMED_FACTOR`.
        """
        seconds = self.seconds_left()
        ratios = list(self._time_ratios)
        factors = (1 / UNTIMED_FACTOR, UNTIMED_FACTOR)
        if len(ratios) >= MIN_TIMED_RUNS:
            deciles = quantiles(ratios, n=10, method="inclusive")
            factors = (deciles[0] / deciles[4], deciles[-1] / deciles[4])
        return seconds * factors[0], min(seconds * factors[1], self.sweep.budget.seconds_left)


class ProgressFile:
    """Writer of a sweep's progress file, from a thread of its own (context manager).

    A file that cannot be written is no error: the sweep goes on without it.
    """

    def __init__(self, folder: Path, progress: SweepProgress, flags: dict[str, Any]) -> None:
        """Create the writer.

        Args:
            folder: folder of the sweep, which exists.
            progress: progress of the sweep.
            flags: flags of the command, from `recorded_flags`.
        """
        self._folder = folder
        self._progress = progress
        self._flags = flags
        self._start_time = time.monotonic()
        self._started_at = _now()
        is_new = not any(progress.sweep.ended_run_counts.values())
        self._forecast_seconds = (
            progress.plan_seconds if is_new else progress.start_seconds + progress.seconds_left()
        )
        earlier = read_progress(folder)
        kept_starts = earlier.starts[-MAX_STARTS + 1 :] if earlier else []
        self._earlier_starts = kept_starts
        self._dropped_seconds = (
            earlier.total_seconds - sum(start.elapsed_seconds for start in kept_starts)
            if earlier
            else 0.0
        )
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._write_repeatedly, daemon=True)

    def __enter__(self) -> Self:
        self._write("running")
        self._thread.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._is_closed.set()
        self._thread.join()
        if error_type is None:
            self._write("ended")
        else:
            self._write("failed" if issubclass(error_type, Exception) else "interrupted")

    def record(self, state: StartState) -> ProgressRecord:
        """Return the present progress.

        Args:
            state: state of this start.
        """
        progress = self._progress
        totals = progress.total_runs()
        ended_counts = progress.sweep.ended_run_counts
        start = Start(
            host=platform.node(),
            pid=os.getpid(),
            started_at=self._started_at,
            forecast_seconds=self._forecast_seconds,
            elapsed_seconds=time.monotonic() - self._start_time,
            ended_count=progress.ended_count,
            state=state,
        )
        return ProgressRecord(
            written_at=_now(),
            starts=[*self._earlier_starts, start],
            flags=self._flags,
            phases={
                str(phase): PhaseProgress(total, ended_counts[phase])
                for phase, total in totals.items()
            },
            running=[run.record() for run in progress.training_runs()]
            if state == "running"
            else [],
            failures=[
                Failure(
                    run.spec.digest, str(run.phase), run.spec.method, run.spec.scenario, run.reason
                )
                for run in list(progress.sweep.failed_runs)
            ],
            max_concurrent_runs=progress.max_concurrent_runs,
            seconds_left=progress.seconds_left(),
            seconds_left_range=progress.seconds_left_range(),
            notices=list(progress.notices),
            dropped_seconds=self._dropped_seconds,
        )

    def _write(self, state: StartState) -> None:
        with suppress(HomeError):
            self.record(state).write(self._folder)

    def _write_repeatedly(self) -> None:
        """Write the file at intervals, until the writer is closed."""
        while not self._is_closed.wait(WRITE_SECONDS):
            self._write("running")


def _now() -> str:
    return datetime.now(UTC).astimezone().isoformat(timespec="seconds")
