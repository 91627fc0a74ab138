"""Engine that carries out runs one after the other in the calling process, without Ray."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.engine.dispatch import Dispatch, record_interrupts
from orchestrator.sweeping.tasks import Answer, Task, Work
from trainables.errors import NalError
from trainables.training.job import Attempt, Job, Opener, describe_crash, gpu_environment, open_run

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.engine.base import Listener
    from orchestrator.flags import Places
    from search_spaces.schema import Resources


@dataclass(frozen=True, slots=True)
class InlineEngine:
    """Engine that trains in the calling process and reports metrics after every epoch.

    Attributes:
        opener: function that returns the training of a run; tests replace it by a fake training.
    """

    opener: Opener = open_run

    @property
    def slots(self) -> int:
        """Largest number of runs at a time, always 1."""
        return 1

    def check(self, resources: Resources) -> None:
        """Accept any resources, since too few CPUs only make a run slower."""

    def start(self, home: Path) -> AbstractContextManager[None]:  # noqa: ARG002 - of `Engine`
        """Return a context that does nothing."""
        return nullcontext()

    def carry_out(self, work: Work, job: Job, listener: Listener) -> None:
        """Carry out runs one after the other, until the work has none left.

        Args:
            work: work that provides the runs and receives their results.
            job: settings that all runs share.
            listener: callbacks on the progress of the runs.

        Raises:
            NalError: if an error would affect every run, or if no run can proceed.
        """
        os.environ.update(gpu_environment(job.gpus))
        dispatch = Dispatch(work, job.home, listener)
        interrupts: list[KeyboardInterrupt] = []
        with record_interrupts(interrupts.append):
            while (task := dispatch.next()) is not None:
                self._run(task, dispatch, job, interrupts)

    def _run(
        self, task: Task, dispatch: Dispatch, job: Job, interrupts: list[KeyboardInterrupt]
    ) -> None:
        attempt = Attempt(partial(self.opener, task.spec, job))
        try:
            answer = dispatch.report(task, attempt.rows_since(dispatch.reported_epoch(task)))
            while attempt.can_advance and answer is Answer.CONTINUE:
                attempt.advance()
                if interrupts:
                    raise interrupts[0]
                answer = dispatch.report(task, attempt.rows_since(dispatch.reported_epoch(task)))
            if attempt.can_advance:
                attempt.stop()
        finally:
            attempt.close()
        if isinstance(attempt.fault, NalError):
            raise attempt.fault
        if attempt.stopped and attempt.fault is None and answer is Answer.WAIT:
            dispatch.park(task)
        else:
            dispatch.end(task, describe_crash(attempt.fault))


def from_places(places: Places) -> InlineEngine:  # noqa: ARG001 - it uses no place
    """Return the engine of the calling process."""
    return InlineEngine()
