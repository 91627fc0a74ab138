"""Bookkeeping that all engines share: the runs that have started and not yet ended."""

from __future__ import annotations

import signal
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchestrator.sweeping.tasks import Answer, Task, Work
from trainables.errors import NalError
from trainables.run.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from orchestrator.engine.base import Listener
    from trainables.training.job import Row

MISSING_RESULT = "it left no result in the folder --home, which every worker must be able to access"
"""Reason given for the failure of a run that ended without an error and without a result."""


class Dispatch:
    """Mediator between an engine and a work, the source of the runs.

    It hands out the runs of the work, reports their metrics to the work, and applies the answers of
    the work. A run is *running* from its hand-out until it ends or is parked. It is *parked* if the
    work answers WAIT. Runs that continue after a stop are handed out before new ones.
    """

    def __init__(self, work: Work, home: Path, listener: Listener) -> None:
        """Create the mediator of a work.

        Args:
            work: work that provides the runs and receives their results.
            home: home folder, which contains `runs/`.
            listener: callbacks on the progress of the runs.
        """
        self._work = work
        self._home = home
        self._listener = listener
        self._running: dict[str, Task] = {}
        self._parked: dict[str, Task] = {}
        self._resumable: deque[Task] = deque()
        self._reported_epochs: dict[str, int] = {}

    @property
    def done(self) -> bool:
        """Whether the work has no run left to carry out."""
        return self._work.done

    def next(self) -> Task | None:
        """Return the next run to carry out; None if none can start now or no run is left.

        Raises:
            NalError: if runs are left, but no run is running and none can start.
        """
        task = self._next_task()
        if task is None and self._parked:
            self._recheck_parked()
            task = self._next_task()
        if task is None and not self._running and not self._work.done:
            raise NalError(
                "no run can proceed: no run is running, none can start before another one has "
                f"ended, and {len(self._parked)} wait for others"
            )
        return task

    def _next_task(self) -> Task | None:
        if self._resumable:
            return self._resumable.popleft()
        task = self._work.next()
        if task is not None:
            self._start(task)
        return task

    def _start(self, task: Task) -> None:
        self._running[task.spec.digest] = task
        self._listener.on_start(task)

    def reported_epoch(self, task: Task) -> int:
        """Return the last epoch whose metrics a run has reported to the work; 0 for none."""
        return self._reported_epochs.get(task.spec.digest, 0)

    def report(self, task: Task, rows: Sequence[Row]) -> Answer:
        """Report the metrics of a run's new epochs to the work, and return the answer of the work.

        The work may stop a run only after the epochs of `task.stops_after`, so the rows are
        reported in groups that end there. If the answer to a group is not CONTINUE, later rows are
        not reported yet.

        Args:
            task: task of a running run.
            rows: metrics after each epoch of the run, in order; rows reported before are skipped.

        Raises:
            ValueError: if the work stops the run after an epoch that is not in `stops_after`.
        """
        self._listener.on_report(task, rows[-1] if rows else {})
        last_epoch, answer = self.reported_epoch(task), Answer.CONTINUE
        for group in _split_rows(
            (row for row in rows if row["epoch"] > last_epoch), task.stops_after
        ):
            answer = self._work.report(task, group)
            epoch = self._reported_epochs[task.spec.digest] = int(group[-1]["epoch"])
            if answer is not Answer.CONTINUE:
                if epoch not in task.stops_after and epoch < task.spec.recipe.epochs:
                    raise ValueError(
                        f"{answer} after epoch {epoch}, which is none of {task.stops_after}"
                    )
                break
        self._recheck_parked()
        return answer

    def end(self, task: Task, reason: str = "") -> None:
        """Report to the work that a run has ended; its result is read from its record.

        Args:
            task: task as `next` returned it.
            reason: reason why the run could not be carried out; "" if it was.
        """
        del self._running[task.spec.digest]
        self._listener.on_end(task)
        self._report_end(task, reason)
        self._recheck_parked()

    def _report_end(self, task: Task, reason: str = "") -> None:
        last_epoch = self._reported_epochs.pop(task.spec.digest, 0)
        result = Record(self._home, task.spec.digest).result()
        if result is not None and result.final:
            # Rows of a run that another process has trained; answers no longer matter.
            rows = [row for row in result.trace if row["epoch"] > last_epoch]
            if rows:
                self._work.report(task, rows)
        if result is not None and reason and not result.final:
            result = None  # written by an earlier attempt
        self._work.end(task, result, reason or ("" if result else MISSING_RESULT))

    def resume(self, task: Task) -> None:
        """Queue a stopped run, so that it continues before any new run starts."""
        self._resumable.append(task)

    def park(self, task: Task) -> None:
        """Set a stopped run aside until the work gives another answer than WAIT."""
        self._parked[task.spec.digest] = self._running.pop(task.spec.digest)
        self._listener.on_end(task)

    def _recheck_parked(self) -> None:
        """Request new answers from the work for all parked runs.

        Whenever one of them ends, the answers for all others are requested again.
        """
        pending = deque(self._parked.values())
        while pending:
            task = pending.popleft()
            answer = self._work.report(task, ())
            if answer is Answer.WAIT:
                continue
            del self._parked[task.spec.digest]
            if answer is Answer.CONTINUE:
                self._start(task)
                self._resumable.append(task)
            else:
                self._report_end(task)
                pending = deque(self._parked.values())


def _split_rows(rows: Iterable[Row], end_epochs: Sequence[int]) -> Iterator[list[Row]]:
    """Yield the rows of epochs in groups that end after the epochs `ends`, then the rest."""
    group: list[Row] = []
    for row in rows:
        group.append(row)
        if row["epoch"] in end_epochs:
            yield group
            group = []
    if group:
        yield group


@contextmanager
def record_interrupts(callback: Callable[[KeyboardInterrupt], None]) -> Iterator[None]:
    """Pass each `KeyboardInterrupt` to a callback, for the duration of the context.

    A library may swallow the exception, so that it would not reach the caller otherwise.

    Args:
        callback: function that receives the exception before it is raised.
    """

    def handle_signal(_number: int, _frame: object) -> None:
        error = KeyboardInterrupt()
        callback(error)
        raise error

    previous_handler = signal.signal(signal.SIGINT, handle_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous_handler)
