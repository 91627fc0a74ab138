"""A sweep as a state machine: what is to be run next, and what the results so far mean.

It knows neither Ray nor MLflow nor the terminal. Runs that are recorded as ended are taken from
their records and never handed out again, so that a sweep begun anew goes on where it was.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

from orchestrator.search import Proposal, Search, search_digest
from orchestrator.selection import Candidate, candidates, choose
from search_spaces.schema import Phase
from trainables.errors import NalError
from trainables.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import optuna

    from orchestrator.plan import Plan, SearchPlan
    from orchestrator.search import Values
    from trainables.result import RunResult
    from trainables.spec import RunSpec


@dataclass(frozen=True, slots=True)
class Task:
    """A run that is wanted, and what for.

    Attributes:
        spec: what is trained.
        phase: of the sweep.
        values: of the searched hyperparameters.
        ended: takes the result; None if the run could not be carried out.
    """

    spec: RunSpec
    phase: Phase
    values: Values
    ended: Callable[[RunResult | None], None]


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
            yield Task(spec, self.phase, self.values, lambda result, s=spec: self._take(s, result))  # type: ignore[misc]

    def _take(self, spec: RunSpec, result: RunResult | None) -> None:
        if result is None:
            self._failed += 1
        else:
            self.results[spec.digest] = result


class Tuning:
    """Search and select of one method on one scenario, up to the chosen values.

    Attributes:
        plan: the search's own.
        search: Optuna's side of it.
        reference: the paper's point; None if there is none.
        digests: of the trials' runs that ended, in order.
        candidates: with their runs on fresh seeds; empty before the search is done.
        chosen: the winner; None while it is not known.
        best: highest objective of a trial so far.
    """

    def __init__(
        self, sweep_plan: Plan, plan: SearchPlan, storage: optuna.storages.BaseStorage
    ) -> None:
        """Open the search, or go on with it."""
        study = sweep_plan.study
        self._plan = sweep_plan
        self.plan = plan
        self.protocol = sweep_plan.protocol
        self.space = study.space_of(plan.method)
        self.reference = sweep_plan.reference_of(plan.method)
        self.digests: list[str] = []
        self.candidates: list[tuple[Candidate, Batch]] = []
        self.chosen: Values | None = None
        self.best: tuple[float, Values] | None = None
        middle = {name: space.low for name, space in self.space.items()}
        self.search = Search.open(
            storage,
            search_digest(self._trial_spec(middle), self.space, self.protocol.name),
            self.space,
            study.search.trials,
            study.search.seed,
            self.reference,
        )

    def resume(
        self, record_of: Callable[[RunSpec], RunResult | None]
    ) -> Iterator[tuple[Task, RunResult]]:
        """Go on with what a dead sweep left; yield the complete trials.

        A trial whose run has lost its record is not among them: what it told still counts.
        """

        def value_of(values: Values) -> float | None:
            result = record_of(self._trial_spec(values))
            return None if result is None else self.protocol.value(result)

        self.search.resume(value_of)
        for values, value in self.search.completed():
            spec = self._trial_spec(values)
            result = record_of(spec)
            if result is not None:
                self._note(values, value, result)
                yield Task(spec, Phase.SEARCH, values, lambda _result: None), result

    def _trial_spec(self, values: Values) -> RunSpec:
        return self._plan.spec(
            Phase.SEARCH,
            self.plan.method,
            self.plan.scenario,
            values,
            self._plan.study.search.seed,
        )

    def _note(self, values: Values, value: float, result: RunResult) -> None:
        self.digests.append(result.digest)
        if self.best is None or value > self.best[0]:
            self.best = (value, values)

    def tasks(self) -> Iterator[Task]:
        """Yield what can be run now."""
        while self.search.wanted:
            proposal = self.search.ask()
            spec = self._trial_spec(proposal.values)
            yield Task(spec, Phase.SEARCH, proposal.values, self._trial_end(proposal))
        if self.search.done and not self.candidates:
            self._begin_select()
        for _, batch in self.candidates:
            yield from batch.tasks()

    def _trial_end(self, proposal: Proposal) -> Callable[[RunResult | None], None]:
        def ended(result: RunResult | None) -> None:
            if result is None:
                self.search.give_up(proposal)
                return
            value = self.protocol.value(result)
            self.search.tell(proposal, value, result.digest)
            self._note(proposal.values, value, result)

        return ended

    def _begin_select(self) -> None:
        study = self._plan.study
        found = candidates(self.search.completed(), study.select.candidates, self.reference)
        if not found:
            raise NalError(f"no trial of the search for {self.plan.method} could be carried out")
        for candidate in found:
            specs = [
                self._plan.spec(
                    Phase.SELECT, self.plan.method, self.plan.scenario, candidate.values, seed
                )
                for seed in study.select.seeds
            ]
            self.candidates.append((candidate, Batch(specs, candidate.values, Phase.SELECT)))

    def settle(self) -> None:
        """Choose, once every candidate has been tried."""
        if self.chosen is not None or not self.candidates:
            return
        if all(batch.done for _, batch in self.candidates):
            scores = [
                (candidate, [self.protocol.value(result) for result in batch.results.values()])
                for candidate, batch in self.candidates
                if batch.results
            ]
            if not scores:
                raise NalError(f"no candidate for {self.plan.method} could be tried on fresh seeds")
            self.chosen = choose(scores, self.space, self.reference).values

    def score(self, batch: Batch) -> float | None:
        """Return a candidate's mean so far."""
        values = [self.protocol.value(result) for result in batch.results.values()]
        return fmean(values) if values else None


@dataclass
class Cell:
    """All seeds of one method, scenario and values.

    Attributes:
        method: what is trained.
        scenario: on which label noise.
        origin: "tuned", "reference", "tuned, equals reference" or "fixed".
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
        self.tunings = [Tuning(plan, search, storage) for search in plan.searches]

    def resume(self, listener: Callable[[Task, RunResult], None]) -> int:
        """Take up what is recorded; from now on tell `listener` of every run that has ended.

        Returns:
            How many recorded runs were taken up.
        """
        self._listener = listener
        for tuning in self.tunings:
            for task, result in tuning.resume(self._record):
                self.finished[Phase.SEARCH] += 1
                listener(task, result)
        self._waiting = self.next()
        return sum(self.finished.values())

    def _record(self, spec: RunSpec) -> RunResult | None:
        return Record(self._home, spec.digest).result()

    def next(self) -> Task | None:
        """Return a run to be carried out now; None if there is none before others have ended."""
        if (waiting := self._waiting) is not None:
            self._waiting = None
            return waiting
        while True:
            task = next(self._tasks(), None)
            if task is None:
                if self._advance():
                    continue
                return None
            result = self._record(task.spec)
            if result is None:
                return task
            self.end(task, result)

    def _tasks(self) -> Iterator[Task]:
        for tuning in self.tunings:
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
                    yield self._cell(method, scenario, "fixed", {}, None)
                    continue
                same = tuning.chosen == tuning.reference
                origin = "tuned, equals reference" if same else "tuned"
                yield self._cell(method, scenario, origin, tuning.chosen, tuning)
                if tuning.reference is not None and not same:
                    yield self._cell(method, scenario, "reference", tuning.reference, tuning)

    def _cell(
        self, method: str, scenario: str, origin: str, values: Values, tuning: Tuning | None
    ) -> Cell:
        seeds = self.plan.study.confirm.seeds
        specs = [self.plan.spec(Phase.CONFIRM, method, scenario, values, seed) for seed in seeds]
        return Cell(method, scenario, origin, tuning, Batch(specs, values, Phase.CONFIRM))

    def end(self, task: Task, result: RunResult | None, reason: str = "") -> None:
        """Note that a task's run has ended, or could not be carried out.

        Args:
            task: as `next` returned it.
            result: of the run; None if there is none.
            reason: why there is none.
        """
        task.ended(result)
        if result is None:
            spec = task.spec
            self.failed.append(f"{spec.method} on {spec.scenario}, {spec.digest[:12]}: {reason}")
            return
        self.finished[task.phase] += 1
        self._listener(task, result)

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
        found = [tuning.best for tuning in self.tunings if tuning.best is not None]
        return max(found, key=lambda best: best[0], default=None)
