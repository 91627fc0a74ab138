"""State machine of a sweep, which decides on the next run from the results so far.

It is independent of Ray, MLflow and the terminal. Runs with a final record are not handed out
again, so that a restarted sweep continues where it was.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.sweeping.tasks import Answer, Batch, Task
from orchestrator.sweeping.tuning import Tuning
from search_spaces.resolve import confirm_points
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
    """Running runs, and the tasks that wait for them.

    A task waits for the runs that its spec needs, or for its own run if another task has started
    the same one.

    Attributes:
        running: digests of the runs that are being carried out.
    """

    def __init__(self) -> None:
        self.running: set[str] = set()
        self._waiting: dict[str, list[Task]] = {}
        self._ready: deque[Task] = deque()

    def pop(self) -> Task | None:
        """Remove and return a task that precedes any new one; None if there is none."""
        return self._ready.popleft() if self._ready else None

    def wait(self, task: Task, needed: Task) -> bool:
        """Let a task wait for a run, and queue that run unless it is queued or running.

        Args:
            task: task that waits.
            needed: task of the run that it waits for.

        Returns:
            Whether the run was queued by this call.
        """
        digest = needed.spec.digest
        queued = digest not in self._waiting and digest not in self.running
        if queued:
            self._ready.append(needed)
        self._waiting.setdefault(digest, []).append(task)
        return queued

    def end(self, digest: str) -> list[Task]:
        """Mark a run as ended and return the tasks that waited for it.

        Args:
            digest: digest of the run.
        """
        self.running.discard(digest)
        return self._waiting.pop(digest, [])

    def release(self, tasks: Iterable[Task]) -> None:
        """Queue tasks again, before any new one."""
        self._ready.extendleft(tasks)


@dataclass
class Cell:
    """All seeds of one method, scenario and values.

    Attributes:
        method: name of the method.
        scenario: name of the scenario.
        origin: "tuned", "reference", "tuned, equals reference", "fixed" or "varied".
        tuning: tuning of the method on the scenario; None if the method is not tuned.
        batch: runs of the cell.
    """

    method: str
    scenario: str
    origin: str
    tuning: Tuning | None
    batch: Batch


class Sweep:
    """A plan being carried out; the work of the command `sweep`.

    Attributes:
        plan: plan of the sweep.
        tunings: tunings of the sweep.
        cells: cells of the confirm phase; empty until all values are chosen.
        ended_runs: number of runs that have ended in each phase, including recorded ones.
        run_phases: phase in which each of these runs is counted, by digest.
        failures: descriptions of the runs that could not be carried out.
    """

    def __init__(self, plan: Plan, home: Path, storage: optuna.storages.BaseStorage) -> None:
        """Open the sweep's searches, or create them.

        Args:
            plan: plan of the sweep.
            home: home folder, which contains `runs/`.
            storage: storage of the searches.
        """
        self.plan = plan
        self._home = home
        self._on_result: Callable[[Task, RunResult], None] = lambda _task, _result: None
        self.ended_runs = dict.fromkeys(Phase, 0)
        self.failures: list[str] = []
        self.cells: list[Cell] = []
        self._next_task: Task | None = None
        self._pending = PendingTasks()
        self.run_phases: dict[str, Phase] = {}
        self._blocked_digests: set[str] = set()
        self._posterior_digests = {spec.digest for spec in plan.posteriors}
        self.tunings = [Tuning(plan, search, storage) for search in plan.searches]

    def resume(self, on_result: Callable[[Task, RunResult], None]) -> int:
        """Process the recorded runs and set the callback for runs that end.

        Args:
            on_result: callback that receives the task and the result of every run that has ended,
                recorded ones included.

        Returns:
            Number of recorded runs.
        """
        self._on_result = on_result
        for tuning in self.tunings:
            for task, result in tuning.resume(self._final_result):
                self._count_needs(task)
                self._count(task)
                on_result(task, result)
        self._next_task = self.next()
        return sum(self.ended_runs.values())

    def _final_result(self, spec: RunSpec) -> RunResult | None:
        """Return the recorded result of a run; None if there is none or it is not final."""
        result = Record(self._home, spec.digest).result()
        return result if result is not None and result.final else None

    def next(self) -> Task | None:
        """Return the next task; None if there is none before other runs have ended."""
        if (task := self._next_task) is not None:
            self._next_task = None
            return task
        while True:
            task = self._pending.pop() or next(self._tasks(), None)
            if task is None:
                if self._advance():
                    continue
                return None
            result = self._final_result(task.spec)
            if result is None and self._must_wait(task):
                continue
            self._count_needs(task)
            if result is None:
                self._pending.running.add(task.spec.digest)
                return task
            self.end(task, result)

    def _must_wait(self, task: Task) -> bool:
        """Return whether a task must wait for a run; if so, queue it behind that run."""
        if task.spec.digest in self._pending.running:
            self._pending.wait(task, task)
            return True
        for spec in self.plan.needs_of(task.spec):
            result = self._final_result(spec)
            if result is None:
                if not self._pending.wait(task, _need_task(spec, task)):
                    self._blocked_digests.add(task.spec.digest)
                return True
            self._check_posterior(spec, result)
        return False

    def _check_posterior(self, spec: RunSpec, result: RunResult | None, reason: str = "") -> None:
        """Raise an error if a run is a posterior and has not finished.

        Without the labels drawn from it, there is nothing to compare. A failed stage of a method,
        in contrast, only excludes that method.

        Raises:
            NalError: if the run is a posterior and has not finished.
        """
        if spec.digest in self._posterior_digests:
            check_posterior(spec.digest, result, reason)

    def _count_needs(self, task: Task) -> None:
        """Count the recorded needs of a recorded run, as if they had ended just now."""
        for spec in self.plan.needs_of(task.spec):
            if spec.digest in self.run_phases:
                continue
            if (result := self._final_result(spec)) is not None:
                need = _need_task(spec, task)
                self._count(need)
                self._on_result(need, result)

    def _count(self, task: Task) -> None:
        """Count a run that has ended; a need is counted once, whatever the number of dependents."""
        is_new = task.spec.digest not in self.run_phases
        self.run_phases.setdefault(task.spec.digest, task.phase)
        # Two trials may have the same values; both count, since the budget is a number of trials.
        if is_new or (task.phase is Phase.SEARCH and not task.is_need):
            self.ended_runs[task.phase] += 1

    def _tasks(self) -> Iterator[Task]:
        for tuning in self.tunings:
            # While a trial waits for a run that all trials need, further proposals would be made
            # without the results of the first ones.
            if not self._blocked_digests & tuning.pending_digests:
                yield from tuning.tasks()
        for cell in self.cells:
            yield from cell.batch.tasks()

    def _advance(self) -> bool:
        """Plan the confirm phase if all values are chosen; return whether it was planned."""
        if self.cells:
            return False
        for tuning in self.tunings:
            tuning.choose_values()
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
                        each
                        for each in self.tunings
                        if each.plan.method == method and scenario in each.plan.serves
                    ),
                    None,
                )
                if tuning is None or tuning.chosen is None:
                    for values in confirm_points(study, method):
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
        """Return the answer of the task's own callback.

        Args:
            task: task as `next` returned it.
            rows: new rows of the run.
        """
        return task.on_report(rows)

    def end(self, task: Task, result: RunResult | None, reason: str = "") -> None:
        """Process the end of a task's run.

        Args:
            task: task as `next` returned it.
            result: result of the run; None if it could not be carried out.
            reason: reason why there is no result.

        Raises:
            NalError: if the run is a posterior and has not finished.
        """
        spec = task.spec
        self._check_posterior(spec, result, reason)
        # Another device may have enough memory, so this is no objective of a trial or candidate.
        out_of_memory = result is not None and result.status is Status.OUT_OF_MEMORY
        task.on_end(None if out_of_memory else result)
        name = f"{spec.method} on {spec.scenario}, {spec.digest[:12]}"
        dependents = self._pending.end(spec.digest)
        self._blocked_digests.difference_update(other.spec.digest for other in dependents)
        if result is not None:
            self._count(task)
            self._on_result(task, result)
        if result is None or out_of_memory:
            reason = f"{result.status} {result.reason}" if result is not None else reason
            self.failures.append(f"{name}: {reason}")
            for other in dependents:
                self.end(other, None, reason=f"it needs {name}, which could not be carried out")
        else:
            self._pending.release(dependents)

    @property
    def done(self) -> bool:
        """Whether no run is left to carry out."""
        return bool(self.cells) and all(cell.batch.done for cell in self.cells)

    @property
    def phase(self) -> Phase:
        """Earliest phase that is not complete; confirm if all are."""
        if self.cells:
            return Phase.CONFIRM
        search_done = all(tuning.search.done for tuning in self.tunings)
        return Phase.SELECT if search_done else Phase.SEARCH

    @property
    def best(self) -> tuple[float, Values] | None:
        """Highest objective of a trial over all searches, with its values; None without trials."""
        return max(
            (tuning.best for tuning in self.tunings if tuning.best is not None),
            key=lambda best: best[0],
            default=None,
        )


def _need_task(spec: RunSpec, task: Task) -> Task:
    """Return the task of a run that another task's run needs."""
    return Task(spec, task.phase, task.values, lambda _result: None, is_need=True)
