"""Bookkeeping that all engines share: the runs of a work between hand-out and end."""

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

MISSING_RESULT = "its result is not under --home: every worker must see the same folder there"
"""Reason of a run that ended without an error and without a result."""


class Dispatch:
    """Hands out the runs of a work, forwards their rows and applies the answers.

    A run is *running* from its hand-out until it ends or is parked. A *parked* run is one that the
    work answered with WAIT. `next` returns runs that continue after a stop before it requests new
    ones from the work.
    """

    def __init__(self, work: Work, home: Path, listener: Listener) -> None:
        """Create the dispatch of a work.

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
        """Whether the work has no run left."""
        return self._work.done

    def next(self) -> Task | None:
        """Return the next run to carry out; None if there is none at present or the work is done.

        Raises:
            NalError: if the work is not done, no run is running and none can start.
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
        """Return the last epoch of a run whose row was reported to the work; 0 for none."""
        return self._reported_epochs.get(task.spec.digest, 0)

    def report(self, task: Task, rows: Sequence[Row]) -> Answer:
        """Report a run's new rows to the work and return the answer.

        Rows are split at the epochs of `task.stops_after`. If the answer to a group is not
        CONTINUE, the rows after it are not reported yet.

        Args:
            task: task of a running run.
            rows: rows of the run in order of epochs; rows reported before are skipped.

        Raises:
            ValueError: if the work stops the run after an epoch that is not in `stops_after`.
        """
        self._listener.on_report(task, rows[-1] if rows else {})
        last, answer = self.reported_epoch(task), Answer.CONTINUE
        for group in _split_rows((row for row in rows if row["epoch"] > last), task.stops_after):
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
        """Report to the work that a running run has ended; its result is read from its record.

        Args:
            task: task as `next` returned it.
            reason: reason why the run could not be carried out; "" if it was.
        """
        del self._running[task.spec.digest]
        self._listener.on_end(task)
        self._report_end(task, reason)
        self._recheck_parked()

    def _report_end(self, task: Task, reason: str = "") -> None:
        last = self._reported_epochs.pop(task.spec.digest, 0)
        result = Record(self._home, task.spec.digest).result()
        if result is not None and result.final:
            # Rows of a run that another process has trained; answers no longer matter.
            rows = [row for row in result.trace if row["epoch"] > last]
            if rows:
                self._work.report(task, rows)
        if result is not None and reason and not result.final:
            result = None  # written by an earlier attempt
        self._work.end(task, result, reason or ("" if result else MISSING_RESULT))

    def resume(self, task: Task) -> None:
        """Queue a stopped run for continuation, before any new run."""
        self._resumable.append(task)

    def park(self, task: Task) -> None:
        """Park a stopped run until the work gives another answer than WAIT."""
        self._parked[task.spec.digest] = self._running.pop(task.spec.digest)
        self._listener.on_end(task)

    def _recheck_parked(self) -> None:
        """Request new answers for all parked runs; again for all whenever one of them ends."""
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


def _split_rows(rows: Iterable[Row], ends: Sequence[int]) -> Iterator[list[Row]]:
    """Yield rows in groups that end after the given epochs, then the remaining rows."""
    group: list[Row] = []
    for row in rows:
        group.append(row)
        if row["epoch"] in ends:
            yield group
            group = []
    if group:
        yield group


@contextmanager
def record_interrupts(record: Callable[[KeyboardInterrupt], None]) -> Iterator[None]:
    """Pass each Ctrl-C to a callback, since a library may swallow the exception that it raises.

    Args:
        record: callback that receives the exception before it is raised.
    """

    def interrupt(_number: int, _frame: object) -> None:
        error = KeyboardInterrupt()
        record(error)
        raise error

    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
