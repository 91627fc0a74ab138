"""Tasks (runs to carry out), and the interface of task sources, which hand out tasks."""

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
    """Decision of a task source on how a run proceeds after the run has reported metrics."""

    CONTINUE = auto()
    """The run continues."""
    STOP = auto()
    """The run ends now with the status *stopped*; a later sweep may continue the run."""
    WAIT = auto()
    """The run is paused, other runs may use its slot, and a new answer is requested later."""


@dataclass(frozen=True, slots=True)
class Task:
    """A run to carry out, and the callbacks that process its results.

    Attributes:
        spec: specification of the run.
        phase: phase of the sweep: search, select or confirm.
        values: values of the searched hyperparameters.
        on_end: callback that receives the result and "", or None and the reason if the run could
            not be carried out.
        is_need: whether the run is carried out only because another run uses its result.
        stops_after: epochs after which the run stops until `TaskSource.report` has answered.
        on_report: callback that receives the metrics of new epochs and returns how to proceed.
    """

    spec: RunSpec
    phase: Phase
    values: Values
    on_end: Callable[[RunResult | None, str], None]
    is_need: bool = False
    stops_after: tuple[int, ...] = ()
    on_report: Callable[[Sequence[Row]], Answer] = lambda _rows: Answer.CONTINUE


class TaskSource(Protocol):
    """Interface of a source of tasks (runs for an `Engine` to carry out), such as a sweep."""

    @property
    def done(self) -> bool:
        """Whether no run is left to carry out."""

    def next(self) -> Task | None:
        """Return the next task; None if no task can start before other runs have ended.

        A run is returned at most once before it has ended.
        """

    def report(self, task: Task, rows: Sequence[Row]) -> Answer:
        """Process the metrics of a run's new epochs, and return whether the run continues.

        A row contains the metrics of one epoch. Each row is reported once and in order of epochs,
        beginning with the rows of a checkpoint. A call reports one row or more, depending on the
        engine, but never rows on both sides of an epoch in `task.stops_after`.

        The answer may differ from CONTINUE only after an epoch in `task.stops_after`. A run that
        continues from a checkpoint after such an epoch stops at the checkpoint. After the last
        epoch a run ends regardless of the answer. Answers may depend on the rows, but not on the
        number of calls.

        For a parked run (last answer WAIT), this method is called again without rows whenever
        another run has reported or ended, and when `next` has returned None.

        Args:
            task: task as `next` returned it.
            rows: metrics after each new epoch of the run; empty for a parked run.
        """

    def end(self, task: Task, result: RunResult | None, reason: str = "") -> None:
        """Process the result of a run that has ended.

        Args:
            task: task as `next` returned it.
            result: result of the run; None if the run could not be carried out.
            reason: reason why the run could not be carried out, in one line, and after a crash the
                lines of its traceback; "" if it was carried out.
        """


@dataclass
class SeedGroup:
    """Runs that differ only in their seeds, as those of one candidate or one table entry (cell).

    Attributes:
        specs: specs of the runs in the order of their seeds.
        values: values of the searched hyperparameters.
        phase: phase of the sweep: select or confirm.
        settled_specs: specs of those runs whose recorded result need not be read.
        in_turn: whether a run starts only after the previous one has ended.
        results: results of the runs that have ended, by digest.
        failure_reasons: reason of each run that could not be carried out.
    """

    specs: list[RunSpec]
    values: Values
    phase: Phase
    settled_specs: Sequence[RunSpec] = ()
    in_turn: bool = False
    results: dict[str, RunResult] = field(default_factory=dict)
    failure_reasons: list[str] = field(default_factory=list)
    _pending: deque[int] = field(init=False)

    def __post_init__(self) -> None:
        settled_digests = {spec.digest for spec in self.settled_specs}
        self._pending = deque(
            position
            for position, spec in enumerate(self.specs)
            if spec.digest not in settled_digests
        )

    @property
    def done(self) -> bool:
        """Whether every run has ended or could not be carried out."""
        return self._ended_count == len(self.specs)

    @property
    def _ended_count(self) -> int:
        return len(self.settled_specs) + len(self.results) + len(self.failure_reasons)

    @property
    def next_position(self) -> int | None:
        """Position in `specs` of the run of `next_task`; None if no run can start."""
        is_running = self._ended_count + len(self._pending) < len(self.specs)
        return self._pending[0] if self._pending and not (self.in_turn and is_running) else None

    def next_task(self) -> Task:
        """Return the task of the next run that has not started; settled runs have no task."""
        spec = self.specs[self._pending.popleft()]
        return Task(spec, self.phase, self.values, partial(self._add_result, spec))

    def keep_first(self, count: int) -> None:
        """Leave out the runs of all seeds but the first ones; they must not have started.

        Args:
            count: number of seeds that are kept.
        """
        self.specs = self.specs[:count]
        self._pending = deque(position for position in self._pending if position < count)

    def leave_out_rest(self) -> None:
        """Leave out the runs that have not started."""
        self.keep_first(len(self.specs) - len(self._pending))

    def _add_result(self, spec: RunSpec, result: RunResult | None, reason: str) -> None:
        if result is None:
            self.failure_reasons.append(reason)
        else:
            self.results[spec.digest] = result


def tasks_by_seed(
    groups: Sequence[SeedGroup], may_start: Callable[[int], bool] = lambda _seed_count: True
) -> Iterator[Task]:
    """Yield the tasks of several groups: those of the first seed, then those of the second, etc.

    Whenever the runs end, the groups can therefore be compared on the same seeds.

    Args:
        groups: groups with the same seeds, such as the candidates of a search.
        may_start: function from the number of seeds that have started to whether the next seed may
            start; False ends the tasks.
    """
    while True:
        positions = {
            index: group.next_position
            for index, group in enumerate(groups)
            if group.next_position is not None
        }
        if not positions:
            return
        index = min(positions, key=lambda index: (positions[index], index))
        is_new_seed = all(positions.get(other) == positions[index] for other in range(len(groups)))
        if is_new_seed and not may_start(positions[index]):
            return
        yield groups[index].next_task()


class RunList:
    """Task source of the command `train`: a list of runs.

    Each run is carried out after the runs whose results it uses.
    """

    def __init__(self, specs: Sequence[RunSpec], on_result: Callable[[RunResult], None]) -> None:
        """Create the task source from a list of runs.

        Args:
            specs: specs of the runs.
            on_result: callback that receives the result of every run that has ended.
        """
        self._pending = list(specs)
        self._unfinished = {spec.digest for spec in specs}
        self._on_result = on_result

    @property
    def done(self) -> bool:
        """Whether every run has ended."""
        return not self._unfinished

    def next(self) -> Task | None:
        """Return the next task; None if every remaining run waits for the result of another run."""
        for spec in self._pending:
            if self._unfinished.isdisjoint(map(str, spec.needs.values())):
                self._pending.remove(spec)
                return Task(spec, Phase.CONFIRM, {}, lambda _result, _reason: None)
        return None

    def report(self, task: Task, rows: Sequence[Row]) -> Answer:  # noqa: ARG002 - of `TaskSource`
        """Return CONTINUE, since every run is trained to its last epoch."""
        return Answer.CONTINUE

    def end(self, task: Task, result: RunResult | None, reason: str = "") -> None:
        """Process the result of a run that has ended.

        Args:
            task: task as `next` returned it.
            result: result of the run; None if the run could not be carried out.
            reason: reason why the run could not be carried out; "" if it was carried out.

        Raises:
            NalError: if the run could not be carried out.
        """
        spec = task.spec
        if result is None:
            description = reason.partition("\n")[0]
            raise NalError(
                f"{spec.method} on {spec.scenario}, {spec.digest[:12]}, could not be carried out: "
                f"{description}"
            )
        self._unfinished.remove(spec.digest)
        self._on_result(result)
