"""Runs in this process, one after the other: for a debugger, and for a machine without Ray."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.engine.dispatch import Dispatch, noting_interrupts
from orchestrator.sweeping.tasks import Answer, Task, Work
from trainables.errors import NalError
from trainables.training.job import Attempt, Job, Opener, crash_text, environment_of, open_run

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.engine.base import Listener
    from orchestrator.flags import Places
    from search_spaces.schema import Resources


@dataclass(frozen=True, slots=True)
class InlineEngine:
    """Carries out runs in this process, and reports to their work after every epoch.

    Attributes:
        opener: opens a run; tests stand in for the training here.
    """

    opener: Opener = open_run

    @property
    def slots(self) -> int:
        """One run at a time."""
        return 1

    def check(self, resources: Resources) -> None:
        """Let any resources pass: on fewer CPUs than a run has threads it is only slower."""

    def opened(self, home: Path) -> AbstractContextManager[None]:  # noqa: ARG002 - of `Engine`
        """Return a context that does nothing: this process is there already."""
        return nullcontext()

    def carry_out(self, work: Work, job: Job, listener: Listener) -> None:
        """Carry out runs until the work is done.

        Raises:
            NalError: a fault that would meet every run, or nothing can go on.
        """
        os.environ.update(environment_of(job.gpus))
        dispatch = Dispatch(work, job.home, listener)
        interrupts: list[KeyboardInterrupt] = []
        with noting_interrupts(interrupts.append):
            while (task := dispatch.next()) is not None:
                self._run(task, dispatch, job, interrupts)

    def _run(
        self, task: Task, dispatch: Dispatch, job: Job, interrupts: list[KeyboardInterrupt]
    ) -> None:
        attempt = Attempt(partial(self.opener, task.spec, job))
        try:
            answer = dispatch.report(task, attempt.rows_since(dispatch.heard(task)))
            while attempt.goes_on and answer is Answer.CONTINUE:
                attempt.advance()
                if interrupts:
                    raise interrupts[0]
                answer = dispatch.report(task, attempt.rows_since(dispatch.heard(task)))
            if attempt.goes_on:
                attempt.stop()
        finally:
            attempt.close()
        if isinstance(attempt.fault, NalError):
            raise attempt.fault
        if attempt.stopped and attempt.fault is None and answer is Answer.WAIT:
            dispatch.set_aside(task)
        else:
            dispatch.end(task, crash_text(attempt.fault))


def from_places(places: Places) -> InlineEngine:  # noqa: ARG001 - it is where the command is typed
    """Return the engine of this process."""
    return InlineEngine()
