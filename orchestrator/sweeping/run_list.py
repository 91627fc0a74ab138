"""Runs that are known beforehand, as an engine takes work: what `train` carries out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.sweeping.tasks import Answer, Task
from search_spaces.phases import Phase
from trainables.errors import NalError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trainables.job import Row
    from trainables.result import RunResult
    from trainables.spec import RunSpec


class RunList:
    """Runs in an order in which each comes after those of them that it needs."""

    def __init__(self, specs: Sequence[RunSpec], listener: Callable[[RunResult], None]) -> None:
        """List the runs.

        Args:
            specs: of the runs.
            listener: is told of every run that has ended.
        """
        self._open = list(specs)
        self._unfinished = {spec.digest for spec in specs}
        self._listener = listener

    @property
    def done(self) -> bool:
        """Whether every run has ended."""
        return not self._unfinished

    def next(self) -> Task | None:
        """Return the first run that waits for no other; None if there is none now."""
        for spec in self._open:
            if self._unfinished.isdisjoint(map(str, spec.needs.values())):
                self._open.remove(spec)
                return Task(spec, Phase.CONFIRM, {}, lambda _result: None)
        return None

    def report(self, task: Task, rows: Sequence[Row]) -> Answer:  # noqa: ARG002 - of `Work`
        """Let every run go on to its end."""
        return Answer.CONTINUE

    def end(self, task: Task, result: RunResult | None, reason: str = "") -> None:
        """Note that a run has ended.

        Raises:
            NalError: it could not be carried out; says why.
        """
        spec = task.spec
        if result is None:
            raise NalError(
                f"{spec.method} on {spec.scenario}, {spec.digest[:12]}, could not be carried out: "
                f"{reason}"
            )
        self._unfinished.remove(spec.digest)
        self._listener(result)
