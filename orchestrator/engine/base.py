"""What a sweep asks of whatever carries out its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from orchestrator.sweeping.tasks import Task, Work
    from search_spaces.schema import Resources
    from trainables.job import Job, Row


class Listener(Protocol):
    """Is told what goes on."""

    def started(self, task: Task) -> None:
        """A run has been handed out."""

    def reported(self, task: Task, row: Row) -> None:
        """A run is being carried out; the row of its latest epoch, empty where there is none."""

    def ended(self, task: Task) -> None:
        """A run has ended, was given up, or has been set aside."""


class Engine(Protocol):
    """Carries out runs, wherever that is; what they give is in their records.

    The order of runs, how many go at once, and interruptions change no bit of them.
    """

    @property
    def slots(self) -> int | None:
        """Most runs at once; None where the machine alone decides."""

    def check(self, resources: Resources) -> None:
        """See that runs can be carried out at all, before anything takes time.

        Raises:
            NalError: says why not.
            FieldError: they ask for more than there is.
        """

    def opened(self, home: Path) -> AbstractContextManager[None]:
        """Start what carries out runs, for as long as the context lasts."""

    def carry_out(self, work: Work, job: Job, listener: Listener) -> None:
        """Carry out runs until the work is done; the engine must be opened.

        Raises:
            NalError: a fault that would meet every run, or nothing can go on.
        """
