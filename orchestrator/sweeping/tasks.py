"""Runs that are wanted, one by one, in batches or in a list."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Protocol

from search_spaces.schema import Phase
from trainables.errors import NalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from orchestrator.planning.plan import Values
    from trainables.run.result import RunResult
    from trainables.run.spec import RunSpec
    from trainables.training.job import Row


class Answer(Enum):
    """What becomes of a run that has reported."""

    CONTINUE = auto()
    """The run goes on."""
    STOP = auto()
    """The run ends where it stands, recorded as stopped; a later sweep may continue it."""
    WAIT = auto()
    """The run stands still and its slot goes to another; the work is asked about it again."""


@dataclass(frozen=True, slots=True)
class Task:
    """A run that is wanted, and what for.

    Attributes:
        spec: what is trained.
        phase: of the sweep.
        values: of the searched hyperparameters.
        ended: takes the result; None if the run could not be carried out.
        needed: whether it is wanted only because another run needs it.
        stops_after: epochs after which the run stands still until `Work.report` has answered.
        reported: takes the rows that `Work.report` is given, and answers.
    """

    spec: RunSpec
    phase: Phase
    values: Values
    ended: Callable[[RunResult | None], None]
    needed: bool = False
    stops_after: tuple[int, ...] = ()
    reported: Callable[[Sequence[Row]], Answer] = lambda _rows: Answer.CONTINUE


class Work(Protocol):
    """Says what is to be run, one run known after the other; an `Engine` carries it out."""

    @property
    def done(self) -> bool:
        """Whether nothing is left to be run."""

    def next(self) -> Task | None:
        """Return a run to be carried out now; None if there is none before others have ended.

        No run is handed out a second time before it has ended.
        """

    def report(self, task: Task, rows: Sequence[Row]) -> Answer:
        """Take the rows of a run's latest epochs; say whether the run goes on.

        Every row comes once and in order, those from before an interruption first. Rows come in
        groups of one epoch or more, as the engine has them; a group ends at each epoch of
        `task.stops_after`, and there alone may the answer be other than CONTINUE. A run that was
        handed out beyond such an epoch is stopped where it stands. At its last epoch a run ends,
        whatever the answer. Answers may depend on rows, not on how often they are asked for.

        A run that waits is asked for again, without rows, when another one has reported or ended,
        and when `next` has nothing.
        """

    def end(self, task: Task, result: RunResult | None, reason: str = "") -> None:
        """Note that a run has ended or was stopped, or why it could not be carried out."""


@dataclass
class Batch:
    """Runs that are known beforehand: those of one candidate or one cell.

    Attributes:
        specs: in the order of their seeds.
        values: of the searched hyperparameters.
        phase: of the sweep.
        results: of the runs that have ended.
    """

    specs: list[RunSpec]
    values: Values
    phase: Phase
    results: dict[str, RunResult] = field(default_factory=dict)
    _open: deque[RunSpec] = field(init=False)
    _failed: int = 0

    def __post_init__(self) -> None:
        self._open = deque(self.specs)

    @property
    def done(self) -> bool:
        """Whether every run has ended or was given up."""
        return len(self.results) + self._failed == len(self.specs)

    def tasks(self) -> Iterator[Task]:
        """Yield the runs that were not handed out yet."""
        while self._open:
            spec = self._open.popleft()
            yield Task(spec, self.phase, self.values, partial(self._take, spec))

    def _take(self, spec: RunSpec, result: RunResult | None) -> None:
        if result is None:
            self._failed += 1
        else:
            self.results[spec.digest] = result


class RunList:
    """The work of `train`: runs in an order in which each comes after those that it needs."""

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
