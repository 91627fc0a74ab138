"""Engine that carries out runs one after the other in the calling process, without Ray."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.engine.dispatch import Dispatcher, forward_interrupts
from orchestrator.sweeping.tasks import Answer, Task, TaskSource
from trainables.errors import NalError
from trainables.training.job import Attempt, Job, Opener, describe_crash, gpu_environment, open_run

if TYPE_CHECKING:
    from orchestrator.engine.base import Listener
    from orchestrator.flags import Locations
    from search_spaces.schema import Resources


@dataclass(frozen=True, slots=True)
class InlineEngine:
    """Engine that trains in the calling process and reports metrics after every epoch.

    Attributes:
        opener: function that opens a run for training; tests pass one that opens fake runs.
    """

    opener: Opener = open_run

    @property
    def max_concurrent_runs(self) -> int:
        """Largest number of runs at a time, always 1."""
        return 1

    @property
    def starts_workers(self) -> bool:
        """False, since runs are trained in the calling process."""
        return False

    def check(self, resources: Resources) -> None:
        """Accept any resources, since too few CPUs only make a run slower."""

    def start(
        self,
        listener: Listener,  # noqa: ARG002 - of `Engine`
    ) -> AbstractContextManager[None]:
        """Return a context that does nothing."""
        return nullcontext()

    def carry_out(self, task_source: TaskSource, job: Job, listener: Listener) -> None:
        """Carry out all runs of a task source, one after the other.

        Args:
            task_source: sweep or list that provides the runs and receives their results.
            job: settings that all runs share.
            listener: callbacks on the progress of the runs.

        Raises:
            NalError: if an error occurs that would affect every run, or no run can proceed.
        """
        os.environ.update(gpu_environment(job.gpus))
        dispatcher = Dispatcher(task_source, job.home, listener)
        interrupts: list[KeyboardInterrupt] = []
        with forward_interrupts(interrupts.append):
            while (task := dispatcher.next()) is not None:
                self._run(task, dispatcher, job, interrupts)

    def _run(
        self, task: Task, dispatcher: Dispatcher, job: Job, interrupts: list[KeyboardInterrupt]
    ) -> None:
        attempt = Attempt(partial(self.opener, task.spec, job))
        try:
            answer = dispatcher.report(task, attempt.rows_since(dispatcher.reported_epoch(task)))
            while attempt.can_advance and answer is Answer.CONTINUE:
                attempt.advance()
                if interrupts:
                    raise interrupts[0]
                answer = dispatcher.report(
                    task, attempt.rows_since(dispatcher.reported_epoch(task))
                )
            if attempt.can_advance:
                attempt.stop()
        finally:
            attempt.close()
        if isinstance(attempt.exception, NalError):
            raise attempt.exception
        if attempt.stopped and attempt.exception is None and answer is Answer.WAIT:
            dispatcher.park(task)
        else:
            dispatcher.end(task, describe_crash(attempt.exception))


def create_engine(locations: Locations) -> InlineEngine:  # noqa: ARG001 - no flag is used
    """Return the engine of the calling process."""
    return InlineEngine()
