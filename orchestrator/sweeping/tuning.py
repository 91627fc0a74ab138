"""Search and select of one method on one scenario, up to the chosen values."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from orchestrator.sweeping.search import Proposal, Search, search_digest
from orchestrator.sweeping.selection import Candidate, candidates, choose
from orchestrator.sweeping.tasks import Batch, Task
from search_spaces.schema import Phase
from trainables.errors import NalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import optuna

    from orchestrator.planning.plan import Plan, TuningPlan, Values
    from trainables.run.result import RunResult
    from trainables.run.spec import RunSpec


class Tuning:
    """Search and select of one method on one scenario, up to the chosen values.

    Attributes:
        plan: the search's own.
        search: Optuna's side of it.
        reference: the paper's point; None if there is none.
        asked: digests of the trials' runs that have not ended.
        digests: of the trials' runs that ended, in order.
        candidates: with their runs on fresh seeds; empty before the search is done.
        chosen: the winner; None while it is not known.
        best: highest objective of a trial so far.
    """

    def __init__(
        self, sweep_plan: Plan, plan: TuningPlan, storage: optuna.storages.BaseStorage
    ) -> None:
        """Open the search, or go on with it."""
        study = sweep_plan.study
        self._plan = sweep_plan
        self.plan = plan
        self.protocol = sweep_plan.protocol
        self.space = study.space_of(plan.method)
        self.reference = sweep_plan.reference_of(plan.method)
        self.asked: set[str] = set()
        self.digests: list[str] = []
        self.candidates: list[tuple[Candidate, Batch]] = []
        self.chosen: Values | None = None
        self.best: tuple[float, Values] | None = None
        middle = {name: space.low for name, space in self.space.items()}
        self.search = Search.open(
            storage,
            search_digest(self._trial_spec(middle), self.space, self.protocol.identity),
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
            return None if result is None else self._value(result)

        self.search.resume(value_of)
        for values, value in self.search.completed():
            spec = self._trial_spec(values)
            result = record_of(spec)
            if result is not None:
                self.search.require_labels(result.labels.sha256)
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

    def _value(self, result: RunResult) -> float:
        """Return a trial's objective."""
        self.search.require_labels(result.labels.sha256)
        return self.protocol.value(result)

    def _note(self, values: Values, value: float, result: RunResult) -> None:
        self.digests.append(result.digest)
        if self.best is None or value > self.best[0]:
            self.best = (value, values)

    def tasks(self) -> Iterator[Task]:
        """Yield what can be run now."""
        while self.search.wanted:
            proposal = self.search.ask()
            spec = self._trial_spec(proposal.values)
            self.asked.add(spec.digest)
            yield Task(
                spec, Phase.SEARCH, proposal.values, partial(self._trial_ended, proposal, spec)
            )
        if self.search.done and not self.candidates:
            self._begin_select()
        for _, batch in self.candidates:
            yield from batch.tasks()

    def _trial_ended(self, proposal: Proposal, spec: RunSpec, result: RunResult | None) -> None:
        self.asked.discard(spec.digest)
        if result is None:
            self.search.give_up(proposal)
        else:
            value = self._value(result)
            self.search.tell(proposal, value, result.digest)
            self._note(proposal.values, value, result)

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
        tried = bool(self.candidates) and all(batch.done for _, batch in self.candidates)
        if tried and self.chosen is None:
            scores = [
                (candidate, [self.protocol.value(result) for result in batch.results.values()])
                for candidate, batch in self.candidates
                if batch.results
            ]
            if not scores:
                raise NalError(f"no candidate for {self.plan.method} could be tried on fresh seeds")
            self.chosen = choose(
                scores, self.space, self.reference, self.protocol.standard_error
            ).values
