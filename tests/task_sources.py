"""A scripted task source and a listener that record the calls of an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factories import make_spec

from orchestrator.sweeping.tasks import Answer, Task
from search_spaces.schema import Phase
from trainables.run.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trainables.run.result import RunResult
    from trainables.run.spec import RunSpec
    from trainables.training.job import Row

EPOCHS = 6
SPECS = [
    make_spec(seed=seed, method="ce", recipe=Recipe(EPOCHS, 64, 0.1, window=2)) for seed in range(3)
]


class ScriptedTaskSource:
    """Task source over given specs, with scripted answers.

    Attributes:
        rows: epochs reported of each run in groups, by base seed.
        rechecks: base seeds of the parked runs for which an answer was requested again, in order.
        ends: base seed, status and reason of each ended run, in order.
        results: results of the ended runs, by base seed.
    """

    def __init__(
        self,
        specs: Sequence[RunSpec] = SPECS,
        stops_after: tuple[int, ...] = (),
        answer: Callable[[ScriptedTaskSource, int, int], Answer] = lambda *_: Answer.CONTINUE,
    ) -> None:
        """Create the task source.

        Args:
            specs: specs of its runs.
            stops_after: value of `Task.stops_after` of every task.
            answer: function of the task source, a run's base seed and its last reported epoch that
                returns the answer.
        """
        self._pending = list(specs)
        self.open_runs = len(specs)
        self._stops_after = stops_after
        self._answer = answer
        self.rows: dict[int, list[list[int]]] = {}
        self.rechecks: list[int] = []
        self.ends: list[tuple[int, str, str]] = []
        self.results: dict[int, RunResult] = {}

    @property
    def done(self) -> bool:
        return self.open_runs == 0

    def next(self) -> Task | None:
        if not self._pending:
            return None
        spec = self._pending.pop(0)
        return Task(
            spec, Phase.CONFIRM, {}, lambda _result, _reason: None, stops_after=self._stops_after
        )

    def epochs(self, seed: int) -> list[int]:
        """Return the epochs that were reported of a run."""
        return [epoch for group in self.rows.get(seed, []) for epoch in group]

    def report(self, task: Task, rows: Sequence[Row]) -> Answer:
        seed = task.spec.seeds.init
        if rows:
            self.rows.setdefault(seed, []).append([int(row["epoch"]) for row in rows])
        else:
            self.rechecks.append(seed)
        return self._answer(self, seed, self.epochs(seed)[-1])

    def end(self, task: Task, result: RunResult | None, reason: str = "") -> None:
        self.open_runs -= 1
        seed = task.spec.seeds.init
        if result is not None:
            self.results[seed] = result
        self.ends.append((seed, "" if result is None else str(result.status), reason))


def answer_at(epoch: int, answer: Answer) -> Callable[[ScriptedTaskSource, int, int], Answer]:
    """Return a function that gives an answer after one epoch, and CONTINUE otherwise."""
    return lambda _task_source, _seed, last: answer if last == epoch else Answer.CONTINUE


class RecordingListener:
    """A listener that stores the digests of the runs that start and end, and the notices."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.starts: list[str] = []
        self.ends: list[str] = []

    def on_start(self, task: Task) -> None:
        self.starts.append(task.spec.digest)

    def on_report(self, task: Task, row: Row) -> None:
        assert task.spec.digest in self.starts
        assert 0 <= row.get("epoch", 0) <= task.spec.recipe.epochs

    def on_notice(self, text: str) -> None:
        self.notices.append(text)

    def on_end(self, task: Task) -> None:
        self.ends.append(task.spec.digest)
