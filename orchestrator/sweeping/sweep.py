"""State machine of a sweep, which chooses the next run from the results so far.

The module is independent of Ray, MLflow and the terminal. Runs whose final result is recorded are
not carried out again, so that a restarted sweep continues after the recorded runs.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.sweeping.budget import NO_BUDGET
from orchestrator.sweeping.crashes import CrashDetector
from orchestrator.sweeping.search_storage import NO_PATIENCE
from orchestrator.sweeping.tasks import Answer, SeedGroup, Task, tasks_by_seed
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
    from orchestrator.sweeping.budget import Budget
    from orchestrator.sweeping.search_storage import Patience
    from trainables.run.seeds import Seeds
    from trainables.run.spec import RunSpec
    from trainables.training.job import Row


class TaskQueue:
    """Queue of tasks, including tasks that must wait until another run has ended.

    A task waits for the runs whose results its own run uses, and for an earlier start of the same
    run by another task.

    Attributes:
        running: tasks whose runs are being carried out, by the digest of the run.
    """

    def __init__(self) -> None:
        self.running: dict[str, Task] = {}
        self._waiting: dict[str, list[Task]] = {}
        self._ready: deque[Task] = deque()

    def pop(self) -> Task | None:
        """Remove and return the first queued task; None if no task is queued."""
        return self._ready.popleft() if self._ready else None

    def add_waiting(self, task: Task, needed_task: Task) -> None:
        """Let a task wait for a needed run, and queue this run unless it is queued or running.

        Args:
            task: task that waits.
            needed_task: task of the needed run.
        """
        digest = needed_task.spec.digest
        if digest not in self._waiting and digest not in self.running:
            self._ready.append(needed_task)
        self._waiting.setdefault(digest, []).append(task)

    def mark_ended(self, digest: str) -> list[Task]:
        """Mark a run as ended, and return the tasks that waited for this run.

        Args:
            digest: digest of the ended run.
        """
        self.running.pop(digest, None)
        return self._waiting.pop(digest, [])

    def queue_first(self, tasks: Iterable[Task]) -> None:
        """Queue tasks before all tasks that are queued already."""
        self._ready.extendleft(tasks)


@dataclass
class Cell:
    """One entry of a table: all seeds of one method, scenario and choice of hyperparameter values.

    Attributes:
        method: name of the method.
        scenario: name of the label-noise scenario, such as "symmetric-0.4".
        origin: origin of the values: "tuned", "reference" (from the paper), "tuned, equals
            reference", "fixed" or "varied".
        tuning: choice of the values in the phases search and select; None if the method is not
            tuned.
        seed_group: runs of the cell, one for each seed.
        crossed_group: runs with all combinations of the seeds of some random axes, which show
            where the variation between seeds comes from; empty unless the study asks for them.
    """

    method: str
    scenario: str
    origin: str
    tuning: Tuning | None
    seed_group: SeedGroup
    crossed_group: SeedGroup

    @property
    def groups(self) -> tuple[SeedGroup, SeedGroup]:
        """All runs of the confirm phase that belong to the cell."""
        return self.seed_group, self.crossed_group


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A run that could not be carried out.

    Attributes:
        spec: specification of the run.
        phase: phase of the sweep that the run belongs to.
        reason: why it could not be carried out.
        log_path: path of the run's log file; None if it has none.
    """

    spec: RunSpec
    phase: Phase
    reason: str
    log_path: Path | None

    @property
    def description(self) -> str:
        """The run, the reason, and the path of its log file, in one line."""
        log_text = f"; log: {self.log_path}" if self.log_path else ""
        return f"{_describe(self.spec)}: {self.reason}{log_text}"


class Sweep:
    """A sweep in progress: it hands out runs and processes their results.

    Attributes:
        plan: plan of the sweep.
        budget: time budget of the sweep.
        tunings: search and select phases of each tuned method.
        cells: table entries, whose runs are those of the confirm phase; empty until all
            hyperparameter values are chosen.
        ended_run_counts: number of runs that have ended in each phase, including recorded runs.
        run_phases: phase in which each ended run is counted, by digest of the run.
        failed_runs: runs that could not be carried out.
        stopped_digests: digests of the runs whose records end before their last epoch, since their
            trials were stopped early.
    """

    def __init__(
        self,
        plan: Plan,
        home: Path,
        storage: optuna.storages.BaseStorage,
        settled_digests: frozenset[str] = frozenset(),
        patience: Patience = NO_PATIENCE,
        budget: Budget = NO_BUDGET,
    ) -> None:
        """Create the sweep, and open or create its searches.

        Args:
            plan: plan of the sweep.
            home: home folder, which contains `runs/`.
            storage: Optuna's storage of the searches.
            settled_digests: digests of runs that are known to have a final result, which is
                recorded in the home folder and in MLflow. Those of the confirm phase are counted
                without reading their results, on which no later run depends.
            patience: repetition of operations while the storage is locked or away.
            budget: time budget of the sweep.
        """
        self.plan = plan
        self.budget = budget
        self._settled_digests = settled_digests
        self._home = home
        self._on_result: Callable[[Task, RunResult], None] = lambda _task, _result: None
        self.ended_run_counts = dict.fromkeys(Phase, 0)
        self.failed_runs: list[FailedRun] = []
        self.stopped_digests: set[str] = set()
        self.cells: list[Cell] = []
        self._next_task: Task | None = None
        self._queue = TaskQueue()
        self._crash_detector = CrashDetector()
        self.run_phases: dict[str, Phase] = {}
        self._posterior_digests = {spec.digest for spec in plan.posterior_specs}
        self.tunings = [
            Tuning(plan, tuning_plan, storage, patience, budget) for tuning_plan in plan.searches
        ]
        budget.follow(lambda: [tuning.ended_fractions() for tuning in self.tunings])

    def resume(
        self,
        on_result: Callable[[Task, RunResult], None],
        on_budget_end: Callable[[], None] = lambda: None,
    ) -> int:
        """Process the runs that earlier sweeps have recorded, and set callbacks.

        Args:
            on_result: callback that receives the task and the result of every run that has ended,
                including recorded runs.
            on_budget_end: callback that is called when the time budget has ended a search or a
                select phase, before a later run is handed out.

        Returns:
            Number of recorded runs.
        """
        self._on_result = on_result
        for tuning in self.tunings:
            for task, result in tuning.resume(self._recorded_result, on_budget_end):
                self._count_needed_runs(task)
                self._count_task(task, result)
                on_result(task, result)
        self._next_task = self.next()
        return sum(self.ended_run_counts.values())

    def _recorded_result(self, spec: RunSpec) -> RunResult | None:
        """Return the recorded result of a run, which it may have left before its last epoch."""
        return Record(self._home, spec.digest).read_result()

    def _final_result(self, spec: RunSpec) -> RunResult | None:
        """Return the recorded result of a run; None if no final result is recorded."""
        result = self._recorded_result(spec)
        return result if result is not None and result.is_final else None

    def next(self) -> Task | None:
        """Return the next task; None if no task can start before other runs have ended."""
        if (task := self._next_task) is not None:
            self._next_task = None
            return task
        while True:
            task = self._queue.pop() or next(self._new_tasks(), None)
            if task is None:
                if self._plan_confirm_phase():
                    continue
                return None
            result = self._final_result(task.spec)
            if result is None and self._must_wait(task):
                continue
            self._count_needed_runs(task)
            if result is None:
                self._queue.running[task.spec.digest] = task
                return task
            self._end(task, result)

    def _must_wait(self, task: Task) -> bool:
        """Return whether a task must wait for another run; if so, the task is queued to wait."""
        if task.spec.digest in self._queue.running:
            self._queue.add_waiting(task, task)
            return True
        for spec in self.plan.needs_of(task.spec):
            Record(self._home, spec.digest).discard_if_cleaned()
            result = self._final_result(spec)
            if result is None:
                self._queue.add_waiting(task, _need_task(spec, task))
                return True
            self._check_posterior(spec, result)
        return False

    def _check_posterior(self, spec: RunSpec, result: RunResult | None, reason: str = "") -> None:
        """Check that a run has finished if noisy labels are drawn from its class probabilities.

        Without these labels no other run can be trained. In contrast, if an earlier stage of a
        method has failed, only this method is left out.

        Args:
            spec: specification of the run.
            result: result of the run; None if the run could not be carried out.
            reason: reason why the run could not be carried out.

        Raises:
            NalError: if noisy labels are drawn from the run, but the run has not finished.
        """
        if spec.digest in self._posterior_digests:
            check_posterior(spec.digest, result, reason)

    def _count_needed_runs(self, task: Task) -> None:
        """Add the recorded runs that a task's run depends on to the counts of ended runs."""
        for spec in self.plan.needs_of(task.spec):
            if spec.digest in self.run_phases:
                continue
            if (result := self._final_result(spec)) is not None:
                need_task = _need_task(spec, task)
                self._count_task(need_task, result)
                self._on_result(need_task, result)

    def _count_task(self, task: Task, result: RunResult) -> None:
        """Count the ended run of a task in the phase of the task."""
        if result.status is Status.STOPPED:
            self.stopped_digests.add(result.digest)
        else:
            self.stopped_digests.discard(result.digest)
        is_trial = task.phase is Phase.SEARCH and not task.is_need
        # Two trials may have the same values; both count towards the target number of trials.
        if is_trial and task.spec.digest in self.run_phases:
            self.ended_run_counts[task.phase] += 1
        else:
            self._count_run(task.spec.digest, task.phase)

    def _count_run(self, digest: str, phase: Phase) -> None:
        """Add an ended run to the count of a phase, unless it is counted already.

        Several other runs may depend on it.
        """
        if digest not in self.run_phases:
            self.run_phases[digest] = phase
            self.ended_run_counts[phase] += 1

    def _new_tasks(self) -> Iterator[Task]:
        """Yield the tasks of new runs, in the order of their phases."""
        for tuning in self.tunings:
            yield from tuning.tasks()
        yield from tasks_by_seed([cell.seed_group for cell in self.cells])
        yield from tasks_by_seed([cell.crossed_group for cell in self.cells])

    def _plan_confirm_phase(self) -> bool:
        """Create the cells of the confirm phase, if all hyperparameter values are chosen.

        Returns:
            Whether this call has created the cells.
        """
        if self.cells:
            return False
        for tuning in self.tunings:
            tuning.choose_values()
        if any(tuning.chosen_values is None for tuning in self.tunings):
            return False
        self.cells = list(self._confirm_cells())
        for cell in self.cells:
            for group in cell.groups:
                for spec in group.settled_specs:
                    for settled_spec in (*self.plan.needs_of(spec), spec):
                        self._count_run(settled_spec.digest, Phase.CONFIRM)
        return True

    def _confirm_cells(self) -> Iterator[Cell]:
        """Yield the cells (table entries) of the confirm phase."""
        study = self.plan.study
        for scenario in study.scenarios:
            for method in study.methods:
                tuning = next(
                    (
                        other_tuning
                        for other_tuning in self.tunings
                        if other_tuning.plan.method == method
                        and scenario in other_tuning.plan.served_scenarios
                    ),
                    None,
                )
                if tuning is None or tuning.chosen_values is None:
                    for values in confirm_cell_values(study, method):
                        origin = "varied" if values else "fixed"
                        yield self._make_cell(method, scenario, origin, values, None)
                    continue
                equals_reference = tuning.chosen_values == tuning.reference
                origin = "tuned, equals reference" if equals_reference else "tuned"
                yield self._make_cell(method, scenario, origin, tuning.chosen_values, tuning)
                if tuning.reference is not None and not equals_reference:
                    yield self._make_cell(method, scenario, "reference", tuning.reference, tuning)

    def _make_cell(
        self, method: str, scenario: str, origin: str, values: Values, tuning: Tuning | None
    ) -> Cell:
        def group_of(seeds: Iterable[int | Seeds]) -> SeedGroup:
            specs = [
                self.plan.spec(Phase.CONFIRM, method, scenario, values, seed) for seed in seeds
            ]
            settled_specs = [spec for spec in specs if spec.digest in self._settled_digests]
            return SeedGroup(specs, values, Phase.CONFIRM, settled_specs)

        study = self.plan.study
        groups = group_of(study.confirm.seeds), group_of(study.crossed_seeds)
        return Cell(method, scenario, origin, tuning, *groups)

    def report(self, task: Task, rows: Sequence[Row]) -> Answer:
        """Pass the metrics of new epochs to `task.on_report`, and return the callback's answer.

        Args:
            task: task as `next` returned it.
            rows: metrics after each new epoch of the run.
        """
        return task.on_report(rows)

    def end(self, task: Task, result: RunResult | None, reason: str = "") -> None:
        """Process the result of a task's run that has ended.

        Args:
            task: task as `next` returned it.
            result: result of the run; None if the run could not be carried out.
            reason: reason why the run could not be carried out, in one line, and after a crash the
                lines of its traceback; "" if it was carried out.

        Raises:
            NalError: if noisy labels are drawn from the run, but the run has not finished; or if
                this run and the two that ended first have crashed in the same way.
        """
        self._crash_detector.add(reason, Record(self._home, task.spec.digest).log_path)
        if result is not None and not task.is_need:
            trained_fraction = len(result.trace) / task.spec.recipe.epochs
            self.budget.add_run(task.phase, sum(result.seconds), trained_fraction)
        self._end(task, result, reason.partition("\n")[0])

    def end_recorded(self) -> None:
        """Process the results of runs that have ended while their engine was interrupted.

        Raises:
            NalError: as `end`.
        """
        for task in list(self._queue.running.values()):
            if (result := self._final_result(task.spec)) is not None:
                self.end(task, result)

    def _end(self, task: Task, result: RunResult | None, reason: str = "") -> None:
        """Process the result of a task, and those of the tasks that cannot start without it."""
        spec = task.spec
        self._check_posterior(spec, result, reason)
        # Another device may have enough memory, so a lack of memory gives no objective.
        is_out_of_memory = result is not None and result.status is Status.OUT_OF_MEMORY
        if result is not None and is_out_of_memory:
            reason = f"{result.status} {result.reason}"
        task.on_end(None if is_out_of_memory else result, reason)
        dependents = self._queue.mark_ended(spec.digest)
        if result is not None:
            self._count_task(task, result)
            self._on_result(task, result)
        if result is None or is_out_of_memory:
            log_path = Record(self._home, spec.digest).log_path
            self.failed_runs.append(
                FailedRun(spec, task.phase, reason, log_path if log_path.exists() else None)
            )
            for other in dependents:
                self._end(
                    other,
                    None,
                    reason=f"the run needs {_describe(spec)}, which could not be carried out: "
                    f"{reason}",
                )
        else:
            self._queue.queue_first(dependents)

    @property
    def failures(self) -> list[str]:
        """Descriptions of the runs that could not be carried out."""
        return [run.description for run in self.failed_runs]

    @property
    def done(self) -> bool:
        """Whether no run is left to carry out."""
        return bool(self.cells) and all(group.done for cell in self.cells for group in cell.groups)

    @property
    def phase(self) -> Phase:
        """Earliest phase that is not complete; `Phase.CONFIRM` if all phases are complete."""
        if self.cells:
            return Phase.CONFIRM
        are_searches_done = all(tuning.is_search_done for tuning in self.tunings)
        return Phase.SELECT if are_searches_done else Phase.SEARCH

    @property
    def best_trial(self) -> tuple[float, Values] | None:
        """Objective and hyperparameter values of the best trial of all searches.

        The property is None before the first trial has ended.
        """
        return max(
            (tuning.best_trial for tuning in self.tunings if tuning.best_trial is not None),
            key=lambda trial: trial[0],
            default=None,
        )


def _describe(spec: RunSpec) -> str:
    """Return method, scenario and digest of a run, such as "nal on clean, 0123456789ab"."""
    return f"{spec.method} on {spec.scenario}, {spec.digest[:12]}"


def _need_task(spec: RunSpec, task: Task) -> Task:
    """Return the task of a needed run, that is, a run whose result another task's run uses.

    Args:
        spec: specification of the needed run.
        task: task of the run that uses the result.
    """
    return Task(spec, task.phase, task.values, lambda _result, _reason: None, is_need=True)
