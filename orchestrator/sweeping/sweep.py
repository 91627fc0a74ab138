"""A sweep as a state machine: what is to be run next, and what the results so far mean.

It knows neither Ray nor MLflow nor the terminal. Runs that are recorded as ended are taken from
their records and never handed out again, so that a sweep begun anew goes on where it was.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.sweeping.tasks import Answer, Batch, Task
from orchestrator.sweeping.tuning import Tuning
from search_spaces.resolve import points_of
from search_spaces.schema import Phase
from trainables.run.record import Record
from trainables.run.result import RunResult, Status
from trainables.run_data.labels import check_posterior

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import optuna

    from orchestrator.planning.plan import Plan, Values
    from trainables.run.spec import RunSpec
    from trainables.training.job import Row


class PendingTasks:
    """Knows which runs are being carried out, and which tasks wait for them.

    A task waits for the runs that its spec needs, and for its own run where another task has
    that one carried out already.

    Attributes:
        running: digests of the runs that are being carried out.
    """

    def __init__(self) -> None:
        self.running: set[str] = set()
        self._waiting: dict[str, list[Task]] = {}
        self._ready: deque[Task] = deque()

    def take(self) -> Task | None:
        """Return a task that is to be looked at before any new one; None if there is none."""
        return self._ready.popleft() if self._ready else None

    def wait(self, task: Task, needed: Task) -> bool:
        """Let a task wait for a run; queue that run unless it is queued or running already.

        Returns:
            Whether it was queued.
        """
        digest = needed.spec.digest
        queued = digest not in self._waiting and digest not in self.running
        if queued:
            self._ready.append(needed)
        self._waiting.setdefault(digest, []).append(task)
        return queued

    def end(self, digest: str) -> list[Task]:
        """Note that a run is over; return the tasks that waited for it."""
        self.running.discard(digest)
        return self._waiting.pop(digest, [])

    def release(self, tasks: Iterable[Task]) -> None:
        """Have tasks looked at again, before any new one."""
        self._ready.extendleft(tasks)


@dataclass
class Cell:
    """All seeds of one method, scenario and values.

    Attributes:
        method: what is trained.
        scenario: on which label noise.
        origin: "tuned", "reference", "tuned, equals reference", "fixed" or "varied".
        tuning: where its values come from, if a search has to do with them.
        batch: its runs.
    """

    method: str
    scenario: str
    origin: str
    tuning: Tuning | None
    batch: Batch


class Sweep:
    """A plan being carried out.

    Attributes:
        plan: what is to be done.
        tunings: its searches.
        cells: of the confirm phase; empty before all values are chosen.
        finished: number of runs that ended in each phase, records included.
        counted: the phase that each of these runs is counted in, by its digest.
        failed: descriptions of runs that could not be carried out.
    """

    def __init__(self, plan: Plan, home: Path, storage: optuna.storages.BaseStorage) -> None:
        """Open the sweep's searches, or go on with them.

        Args:
            plan: what is to be done.
            home: folder that holds `runs/`.
            storage: of the searches.
        """
        self.plan = plan
        self._home = home
        self._listener: Callable[[Task, RunResult], None] = lambda _task, _result: None
        self.finished = dict.fromkeys(Phase, 0)
        self.failed: list[str] = []
        self.cells: list[Cell] = []
        self._waiting: Task | None = None
        self._room = PendingTasks()
        self.counted: dict[str, Phase] = {}
        self._blocked: set[str] = set()
        self._label_sources = {spec.digest for spec in plan.posteriors}
        self.tunings = [Tuning(plan, search, storage) for search in plan.searches]

    def resume(self, listener: Callable[[Task, RunResult], None]) -> int:
        """Take up what is recorded; from now on tell `listener` of every run that has ended.

        Returns:
            How many recorded runs were taken up.
        """
        self._listener = listener
        for tuning in self.tunings:
            for task, result in tuning.resume(self._record):
                self._take_up_needs(task)
                self._count(task)
                listener(task, result)
        self._waiting = self.next()
        return sum(self.finished.values())

    def _record(self, spec: RunSpec) -> RunResult | None:
        result = Record(self._home, spec.digest).result()
        return result if result is not None and result.final else None

    def next(self) -> Task | None:
        """Return a run to be carried out now; None if there is none before others have ended."""
        if (waiting := self._waiting) is not None:
            self._waiting = None
            return waiting
        while True:
            task = self._room.take() or next(self._tasks(), None)
            if task is None:
                if self._advance():
                    continue
                return None
            result = self._record(task.spec)
            if result is None and self._has_to_wait(task):
                continue
            self._take_up_needs(task)
            if result is None:
                self._room.running.add(task.spec.digest)
                return task
            self.end(task, result)

    def _has_to_wait(self, task: Task) -> bool:
        if task.spec.digest in self._room.running:
            self._room.wait(task, task)
            return True
        for spec in self.plan.needs_of(task.spec):
            result = self._record(spec)
            if result is None:
                if not self._room.wait(task, _needed(spec, task)):
                    self._blocked.add(task.spec.digest)
                return True
            self._check_source(spec, result)
        return False

    def _check_source(self, spec: RunSpec, result: RunResult | None, reason: str = "") -> None:
        """End the sweep where a run that labels are drawn from has not ended well.

        Without labels there is nothing to compare; a run that one method needs costs that method.
        """
        if spec.digest in self._label_sources:
            check_posterior(spec.digest, result, reason)

    def _take_up_needs(self, task: Task) -> None:
        """Count the recorded runs that a recorded run needed, as if they had ended just now."""
        for spec in self.plan.needs_of(task.spec):
            if spec.digest in self.counted:
                continue
            if (result := self._record(spec)) is not None:
                need = _needed(spec, task)
                self._count(need)
                self._listener(need, result)

    def _count(self, task: Task) -> bool:
        """Count a run that has ended; one that others need is counted once, however many do."""
        new = task.spec.digest not in self.counted
        self.counted.setdefault(task.spec.digest, task.phase)
        # Two trials may propose the same values: both count, since the budget is in trials.
        if new or (task.phase is Phase.SEARCH and not task.needed):
            self.finished[task.phase] += 1
        return new

    def _tasks(self) -> Iterator[Task]:
        for tuning in self.tunings:
            # While a trial waits for a run that all of them need, more proposals would only be
            # made without knowing what the first ones gave.
            if not self._blocked & tuning.asked:
                yield from tuning.tasks()
        for cell in self.cells:
            yield from cell.batch.tasks()

    def _advance(self) -> bool:
        """Choose and plan what follows, where that has become possible; tell whether it has."""
        if self.cells:
            return False
        for tuning in self.tunings:
            tuning.settle()
        if any(tuning.chosen is None for tuning in self.tunings):
            return False
        self.cells = list(self._confirm_cells())
        return True

    def _confirm_cells(self) -> Iterator[Cell]:
        study = self.plan.study
        for scenario in study.scenarios:
            for method in study.methods:
                tuning = next(
                    (
                        t
                        for t in self.tunings
                        if t.plan.method == method and scenario in t.plan.serves
                    ),
                    None,
                )
                if tuning is None or tuning.chosen is None:
                    for values in points_of(study, method):
                        origin = "varied" if values else "fixed"
                        yield self._cell(method, scenario, origin, values, None)
                    continue
                same = tuning.chosen == tuning.reference
                origin = "tuned, equals reference" if same else "tuned"
                yield self._cell(method, scenario, origin, tuning.chosen, tuning)
                if tuning.reference is not None and not same:
                    yield self._cell(method, scenario, "reference", tuning.reference, tuning)

    def _cell(
        self, method: str, scenario: str, origin: str, values: Values, tuning: Tuning | None
    ) -> Cell:
        specs = [
            self.plan.spec(Phase.CONFIRM, method, scenario, values, seed)
            for seed in self.plan.study.confirm.seeds
        ]
        return Cell(method, scenario, origin, tuning, Batch(specs, values, Phase.CONFIRM))

    def report(self, task: Task, rows: Sequence[Row]) -> Answer:
        """Ask the task whether its run goes on; without a rule to stop runs, all do."""
        return task.reported(rows)

    def end(self, task: Task, result: RunResult | None, reason: str = "") -> None:
        """Note that a task's run has ended, or could not be carried out.

        Args:
            task: as `next` returned it.
            result: of the run; None if there is none.
            reason: why there is none.
        """
        spec = task.spec
        self._check_source(spec, result, reason)
        # Another device may have the memory: that is no value of the search, nor of a candidate.
        lacked_memory = result is not None and result.status is Status.OUT_OF_MEMORY
        task.ended(None if lacked_memory else result)
        name = f"{spec.method} on {spec.scenario}, {spec.digest[:12]}"
        waited = self._room.end(spec.digest)
        self._blocked.difference_update(other.spec.digest for other in waited)
        if result is not None:
            self._count(task)
            self._listener(task, result)
        if result is None or lacked_memory:
            reason = f"{result.status} {result.reason}" if result is not None else reason
            self.failed.append(f"{name}: {reason}")
            for other in waited:
                self.end(other, None, reason=f"it needs {name}, which could not be carried out")
        else:
            self._room.release(waited)

    @property
    def done(self) -> bool:
        """Whether nothing is left to be run."""
        return bool(self.cells) and all(cell.batch.done for cell in self.cells)

    @property
    def phase(self) -> Phase:
        """The earliest phase that is not over."""
        if self.cells:
            return Phase.CONFIRM
        searched = all(tuning.search.done for tuning in self.tunings)
        return Phase.SELECT if searched else Phase.SEARCH

    @property
    def best(self) -> tuple[float, Values] | None:
        """The highest objective of a trial so far, over all searches, and its values."""
        return max(
            (tuning.best for tuning in self.tunings if tuning.best is not None),
            key=lambda best: best[0],
            default=None,
        )


def _needed(spec: RunSpec, task: Task) -> Task:
    """Return the task of a run that another one needs."""
    return Task(spec, task.phase, task.values, lambda _result: None, needed=True)
