"""Dispatcher between a task source and an engine: the runs that have started but not ended."""

from __future__ import annotations

import signal
import sys
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchestrator.sweeping.tasks import Answer, Task, TaskSource
from trainables.errors import NalError
from trainables.run.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from orchestrator.engine.base import Listener
    from trainables.training.job import Row

MISSING_RESULT_REASON = (
    "the run left no result in the home folder (--home), which every worker must be able to access"
)
"""Message about a run that ended without an error and without a result."""


class Dispatcher:
    """Mediator between an engine and a task source, in which all engines keep track of runs.

    The dispatcher hands out runs to the engine, reports the metrics of the runs to the task source,
    and applies the answers of the task source. A run is *running* from its hand-out until it ends
    or is parked, and *parked* while the answer of the task source is WAIT. Runs that continue after
    a stop are handed out before new runs.
    """

    def __init__(self, task_source: TaskSource, home: Path, listener: Listener) -> None:
        """Create the dispatcher of a task source.

        Args:
            task_source: sweep or list that provides the runs and receives their results.
            home: home folder, which contains `runs/`.
            listener: callbacks on the progress of the runs.
        """
        self._task_source = task_source
        self._home = home
        self._listener = listener
        self._running: dict[str, Task] = {}
        self._parked: dict[str, Task] = {}
        self._resumable: deque[Task] = deque()
        self._reported_epochs: dict[str, int] = {}

    @property
    def done(self) -> bool:
        """Whether the task source has no run left to carry out."""
        return self._task_source.done

    def next(self) -> Task | None:
        """Return the next run to carry out; None if none can start now or no run is left.

        Raises:
            NalError: if runs are left, but none is running and none can start.
        """
        task = self._next_task()
        if task is None and self._parked:
            self._recheck_parked()
            task = self._next_task()
        if task is None and not self._running and not self._task_source.done:
            raise NalError(
                "no run can proceed: no run is running, none can start before another run has "
                f"ended, and {len(self._parked)} wait for other runs"
            )
        return task

    def _next_task(self) -> Task | None:
        if self._resumable:
            return self._resumable.popleft()
        task = self._task_source.next()
        if task is not None:
            self._start(task)
        return task

    def _start(self, task: Task) -> None:
        self._running[task.spec.digest] = task
        self._listener.on_start(task)

    def reported_epoch(self, task: Task) -> int:
        """Return the last epoch of a run whose metrics were reported to the task source, or 0."""
        return self._reported_epochs.get(task.spec.digest, 0)

    def report(self, task: Task, rows: Sequence[Row]) -> Answer:
        """Report the metrics of a run's new epochs to the task source, and return its answer.

        The task source may stop a run only after an epoch in `task.stops_after`. The rows are
        therefore reported in groups, each of which ends at such an epoch. If the answer to a group
        is not CONTINUE, later rows are not reported yet.

        Args:
            task: task of a run that is being carried out.
            rows: metrics after each epoch of the run, in order; rows reported before are skipped.

        Raises:
            ValueError: if the task source stops the run after an epoch not in `task.stops_after`.
        """
        self._listener.on_report(task, rows[-1] if rows else {})
        last_epoch, answer = self.reported_epoch(task), Answer.CONTINUE
        for group in _split_rows(
            (row for row in rows if row["epoch"] > last_epoch), task.stops_after
        ):
            answer = self._task_source.report(task, group)
            epoch = self._reported_epochs[task.spec.digest] = int(group[-1]["epoch"])
            if answer is not Answer.CONTINUE:
                if epoch not in task.stops_after and epoch < task.spec.recipe.epochs:
                    raise ValueError(
                        f"{answer} after epoch {epoch}, but a run may stop only after the epochs "
                        f"{task.stops_after} of `stops_after`"
                    )
                break
        self._recheck_parked()
        return answer

    def end(self, task: Task, reason: str = "") -> None:
        """Report the end of a run to the task source, with the result in the record of the run.

        Args:
            task: task as `next` returned it.
            reason: reason why the run could not be carried out; "" if it was carried out.
        """
        del self._running[task.spec.digest]
        self._listener.on_end(task)
        self._report_end(task, reason)
        self._recheck_parked()

    def _report_end(self, task: Task, reason: str = "") -> None:
        last_epoch = self._reported_epochs.pop(task.spec.digest, 0)
        result = Record(self._home, task.spec.digest).read_result()
        if result is not None and result.is_final:
            # Another process may have trained the run; its rows are reported for completeness.
            rows = [row for row in result.trace if row["epoch"] > last_epoch]
            if rows:
                self._task_source.report(task, rows)
        if result is not None and reason and not result.is_final:
            result = None  # an earlier attempt has written the result
        self._task_source.end(task, result, reason or ("" if result else MISSING_RESULT_REASON))

    def resume(self, task: Task) -> None:
        """Queue a stopped run to continue before any new run starts."""
        self._resumable.append(task)

    def resume_all(self) -> None:
        """Queue all runs that are being carried out to continue, after their workers were lost."""
        self._resumable = deque(self._running.values())
        for task in self._resumable:
            self._listener.on_start(task)

    def park(self, task: Task) -> None:
        """Set a stopped run aside until the task source gives another answer than WAIT."""
        self._parked[task.spec.digest] = self._running.pop(task.spec.digest)
        self._listener.on_end(task)

    def _recheck_parked(self) -> None:
        """Ask the task source again about each parked run: go on, stop, or keep waiting.

        A parked run was paused by the answer WAIT. If one of them is stopped, the task source is
        asked about the others once more.
        """
        pending = deque(self._parked.values())
        while pending:
            task = pending.popleft()
            answer = self._task_source.report(task, ())
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
    """Yield rows in groups that end with the row of an epoch in `end_epochs`, then the rest."""
    group: list[Row] = []
    for row in rows:
        group.append(row)
        if row["epoch"] in end_epochs:
            yield group
            group = []
    if group:
        yield group


@contextmanager
def forward_interrupts(callback: Callable[[KeyboardInterrupt], None]) -> Iterator[None]:
    """Pass each `KeyboardInterrupt` to a callback before it is raised, within the context.

    SIGTERM, which job schedulers send, is treated like SIGINT (Ctrl-C).

    A library may swallow the exception, and Python does so in a destructor; the callback then is
    the only way to notice the interrupt. What Python would print about it is left out.

    Args:
        callback: function that receives the exception.
    """

    def handle_signal(_number: int, _frame: object) -> None:
        error = KeyboardInterrupt()
        callback(error)
        raise error

    def print_lost_error(lost: sys.UnraisableHookArgs) -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            previous_hook(lost)

    previous_hook = sys.unraisablehook
    sys.unraisablehook = print_lost_error
    previous_handlers = {
        number: signal.signal(number, handle_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        sys.unraisablehook = previous_hook
        for number, previous_handler in previous_handlers.items():
            signal.signal(number, previous_handler)
