"""State machine of a sweep, which chooses the next run from the results so far.

It is independent of Ray, MLflow and the terminal. Runs whose final result is recorded are not
carried out again, so that a restarted sweep continues where it was interrupted.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.sweeping.tasks import Answer, Batch, Task
from orchestrator.sweeping.tuning import Tuning
from search_spaces.resolve import confirm_cell_values
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
    """Runs that are being carried out, and the tasks that wait for them.

    A task waits for the runs whose results its own run uses. It also waits if another task has
    already started the same run.

    Attributes:
        running: digests of the runs that are being carried out.
    """

    def __init__(self) -> None:
        self.running: set[str] = set()
        self._waiting: dict[str, list[Task]] = {}
        self._ready: deque[Task] = deque()

    def pop(self) -> Task | None:
        """Remove and return the first queued task; None if no task is queued."""
        return self._ready.popleft() if self._ready else None

    def wait(self, task: Task, needed_task: Task) -> bool:
        """Let a task wait for a run, and queue that run unless it is already queued or running.

        Args:
            task: task that waits.
            needed_task: task of the run that it waits for.

        Returns:
            Whether the run was queued by this call.
        """
        digest = needed_task.spec.digest
        is_queued_now = digest not in self._waiting and digest not in self.running
        if is_queued_now:
            self._ready.append(needed_task)
        self._waiting.setdefault(digest, []).append(task)
        return is_queued_now

    def end(self, digest: str) -> list[Task]:
        """Mark a run as ended, and return the tasks that waited for it.

        Args:
            digest: digest of the ended run.
        """
        self.running.discard(digest)
        return self._waiting.pop(digest, [])

    def release(self, tasks: Iterable[Task]) -> None:
        """Queue tasks that have waited, before all tasks that are queued already."""
        self._ready.extendleft(tasks)


@dataclass
class Cell:
    """All runs of one method, scenario and hyperparameter values, one run for each seed.

    Attributes:
        method: name of the method.
        scenario: name of the scenario.
        origin: origin of the values: "tuned", "reference", "tuned, equals reference", "fixed" or
            "varied".
        tuning: tuning of the method on the scenario; None if the method is not tuned.
        batch: runs of the cell.
    """

    method: str
    scenario: str
    origin: str
    tuning: Tuning | None
    batch: Batch


class Sweep:
    """A sweep in progress: it hands out runs and processes their results.

    Attributes:
        plan: plan of the sweep.
        tunings: search and select phases of each tuned method.
        cells: cells of the confirm phase; empty until all values are chosen.
        ended_runs: number of runs that have ended in each phase, including recorded runs.
        run_phases: phase in which each ended run is counted, by digest of the run.
        failures: descriptions of the runs that could not be carried out.
    """

    def __init__(self, plan: Plan, home: Path, storage: optuna.storages.BaseStorage) -> None:
        """Create the sweep, and open its searches or create them.

        Args:
            plan: plan of the sweep.
            home: home folder, which contains `runs/`.
            storage: Optuna's storage of the searches.
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
        """Process the recorded runs, and set the callback for all runs that end.

        Args:
            on_result: callback that receives the task and the result of every run that has ended,
                recorded ones included.

        Returns:
            The number of recorded runs.
        """
        self._on_result = on_result
        for tuning in self.tunings:
            for task, result in tuning.resume(self._final_result):
                self._count_needed_runs(task)
                self._count_run(task)
                on_result(task, result)
        self._next_task = self.next()
        return sum(self.ended_runs.values())

    def _final_result(self, spec: RunSpec) -> RunResult | None:
        """Return the recorded result of a run; None if there is none or it is not final."""
        result = Record(self._home, spec.digest).result()
        return result if result is not None and result.final else None

    def next(self) -> Task | None:
        """Return the next task; None if no task can start before other runs have ended."""
        if (task := self._next_task) is not None:
            self._next_task = None
            return task
        while True:
            task = self._pending.pop() or next(self._new_tasks(), None)
            if task is None:
                if self._plan_confirm_phase():
                    continue
                return None
            result = self._final_result(task.spec)
            if result is None and self._must_wait(task):
                continue
            self._count_needed_runs(task)
            if result is None:
                self._pending.running.add(task.spec.digest)
                return task
            self.end(task, result)

    def _must_wait(self, task: Task) -> bool:
        """Return whether a task must wait for another run; if so, it is queued behind that run."""
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
        """Raise an error if a run that noisy labels are drawn from (a posterior) has not finished.

        Without these labels no other run can be trained. In contrast, if a stage of a method has
        failed, only that method is left out.

        Raises:
            NalError: if noisy labels are drawn from the run and it has not finished.
        """
        if spec.digest in self._posterior_digests:
            check_posterior(spec.digest, result, reason)

    def _count_needed_runs(self, task: Task) -> None:
        """Count the recorded runs that a task's run depends on, as if they had just ended."""
        for spec in self.plan.needs_of(task.spec):
            if spec.digest in self.run_phases:
                continue
            if (result := self._final_result(spec)) is not None:
                need = _need_task(spec, task)
                self._count_run(need)
                self._on_result(need, result)

    def _count_run(self, task: Task) -> None:
        """Count a run that has ended.

        A run that several other runs depend on is counted only once.
        """
        is_new = task.spec.digest not in self.run_phases
        self.run_phases.setdefault(task.spec.digest, task.phase)
        # Two trials may have the same values; both count, since the budget is a number of trials.
        if is_new or (task.phase is Phase.SEARCH and not task.is_need):
            self.ended_runs[task.phase] += 1

    def _new_tasks(self) -> Iterator[Task]:
        for tuning in self.tunings:
            # While a trial waits for a run that all trials need, further proposals would be made
            # without the results of the first ones.
            if not self._blocked_digests & tuning.pending_digests:
                yield from tuning.tasks()
        for cell in self.cells:
            yield from cell.batch.tasks()

    def _plan_confirm_phase(self) -> bool:
        """Plan the confirm phase if all values are chosen, and return whether it was planned."""
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
                        other_tuning
                        for other_tuning in self.tunings
                        if other_tuning.plan.method == method
                        and scenario in other_tuning.plan.serves
                    ),
                    None,
                )
                if tuning is None or tuning.chosen is None:
                    for values in confirm_cell_values(study, method):
                        origin = "varied" if values else "fixed"
                        yield self._make_cell(method, scenario, origin, values, None)
                    continue
                equals_reference = tuning.chosen == tuning.reference
                origin = "tuned, equals reference" if equals_reference else "tuned"
                yield self._make_cell(method, scenario, origin, tuning.chosen, tuning)
                if tuning.reference is not None and not equals_reference:
                    yield self._make_cell(method, scenario, "reference", tuning.reference, tuning)

    def _make_cell(
        self, method: str, scenario: str, origin: str, values: Values, tuning: Tuning | None
    ) -> Cell:
        specs = [
            self.plan.spec(Phase.CONFIRM, method, scenario, values, seed)
            for seed in self.plan.study.confirm.seeds
        ]
        return Cell(method, scenario, origin, tuning, Batch(specs, values, Phase.CONFIRM))

    def report(self, task: Task, rows: Sequence[Row]) -> Answer:
        """Return the answer to the metrics of new epochs, as the task's own callback gives it.

        Args:
            task: task as `next` returned it.
            rows: metrics after each new epoch of the run.
        """
        return task.on_report(rows)

    def end(self, task: Task, result: RunResult | None, reason: str = "") -> None:
        """Process the result of a task's run that has ended.

        Args:
            task: task as `next` returned it.
            result: result of the run; None if it could not be carried out.
            reason: reason why there is no result.

        Raises:
            NalError: if noisy labels are drawn from the run and it has not finished.
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
            self._count_run(task)
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
        """Earliest phase that is not complete; `Phase.CONFIRM` if all phases are."""
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
    """Return the task of a run whose result another task's run uses."""
    return Task(spec, task.phase, task.values, lambda _result: None, is_need=True)
