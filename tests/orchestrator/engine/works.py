"""Works and listeners that note what an engine tells them."""

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


class Script:
    """A work over given specs.

    Attributes:
        rows: epochs that were reported of each run, in groups; by base seed.
        asked: the runs that were asked for again while they waited, by base seed.
        ends: base seed, status and reason of each run that was over, in order.
    """

    def __init__(
        self,
        specs: Sequence[RunSpec] = SPECS,
        stops_after: tuple[int, ...] = (),
        answer: Callable[[Script, int, int], Answer] = lambda *_: Answer.CONTINUE,
    ) -> None:
        """Describe the work.

        Args:
            specs: of its runs.
            stops_after: of each task.
            answer: given the work, a base seed and the last epoch it has heard of.
        """
        self._open = list(specs)
        self._left = len(specs)
        self._stops_after = stops_after
        self._answer = answer
        self.rows: dict[int, list[list[int]]] = {}
        self.asked: list[int] = []
        self.ends: list[tuple[int, str, str]] = []
        self.results: dict[int, RunResult] = {}

    @property
    def done(self) -> bool:
        return self._left == 0

    def next(self) -> Task | None:
        if not self._open:
            return None
        spec = self._open.pop(0)
        return Task(spec, Phase.CONFIRM, {}, lambda _: None, stops_after=self._stops_after)

    def epochs(self, seed: int) -> list[int]:
        """The epochs that were reported of a run."""
        return [epoch for group in self.rows.get(seed, []) for epoch in group]

    def report(self, task: Task, rows: Sequence[Row]) -> Answer:
        seed = task.spec.seeds.init
        if rows:
            self.rows.setdefault(seed, []).append([int(row["epoch"]) for row in rows])
        else:
            self.asked.append(seed)
        return self._answer(self, seed, self.epochs(seed)[-1])

    def end(self, task: Task, result: RunResult | None, reason: str = "") -> None:
        self._left -= 1
        seed = task.spec.seeds.init
        if result is not None:
            self.results[seed] = result
        self.ends.append((seed, "" if result is None else str(result.status), reason))


def at(epoch: int, answer: Answer) -> Callable[[Script, int, int], Answer]:
    """Answer so after an epoch, and let runs go on otherwise."""
    return lambda _work, _seed, last: answer if last == epoch else Answer.CONTINUE


class Ears:
    """A listener that notes what it hears."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.over: list[str] = []

    def started(self, task: Task) -> None:
        self.begun.append(task.spec.digest)

    def reported(self, task: Task, row: Row) -> None:
        assert task.spec.digest in self.begun
        assert 0 <= row.get("epoch", 0) <= task.spec.recipe.epochs

    def ended(self, task: Task) -> None:
        self.over.append(task.spec.digest)
