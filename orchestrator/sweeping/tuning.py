"""Choice of hyperparameter values for one method, in the phases search and select."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from orchestrator.sweeping.search import Proposal, Search, search_digest
from orchestrator.sweeping.selection import Candidate, choose, select_candidates
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
    """Choice of hyperparameter values for one method, in the phases search and select.

    Attributes:
        plan: plan of the search.
        objective: function from the result of a run to the number that is maximised.
        space: search space by name of hyperparameter.
        search: state of the search phase.
        reference: hyperparameter values of the paper; None if there are none.
        pending_digests: digests of the trials' runs that have not ended.
        digests: digests of the trials' runs that have ended, in the order of their ends.
        candidates: each candidate with its runs on fresh seeds; empty until the search is done.
        chosen: values of the best candidate; None until the select phase is done.
        best: highest objective of a trial so far, with its values; None before the first trial.
    """

    def __init__(
        self, sweep_plan: Plan, plan: TuningPlan, storage: optuna.storages.BaseStorage
    ) -> None:
        """Open the search of one method, or create it.

        Args:
            sweep_plan: plan of the whole sweep.
            plan: plan of the search.
            storage: Optuna's storage of the searches.
        """
        study = sweep_plan.study
        self._sweep_plan = sweep_plan
        self.plan = plan
        self.objective = sweep_plan.objective(plan.scenario)
        self.space = study.space_of(plan.method)
        self.reference = sweep_plan.reference_of(plan.method)
        self.pending_digests: set[str] = set()
        self.digests: list[str] = []
        self.candidates: list[tuple[Candidate, Batch]] = []
        self.chosen: Values | None = None
        self.best: tuple[float, Values] | None = None
        # The digest leaves out the searched values, but a spec needs some.
        lowest = {name: space.low for name, space in self.space.items()}
        self.search = Search.open(
            storage,
            search_digest(self._trial_spec(lowest), self.space, self.objective.protocol.identity),
            self.space,
            study.search.trials,
            study.search.seed,
            self.reference,
        )

    def resume(
        self, record_of: Callable[[RunSpec], RunResult | None]
    ) -> Iterator[tuple[Task, RunResult]]:
        """Continue the search of an interrupted sweep, and yield its complete trials.

        A complete trial whose run record was deleted is not yielded, but its objective still
        counts in the search.

        Args:
            record_of: function that returns the recorded result of a run; None if it has not ended.
        """

        def value_of(values: Values) -> float | None:
            result = record_of(self._trial_spec(values))
            return None if result is None else self._objective_of(result)

        self.search.resume(value_of)
        for values, value in self.search.completed_trials():
            spec = self._trial_spec(values)
            result = record_of(spec)
            if result is not None:
                self.search.require_labels(result.labels.sha256)
                self._add_trial(values, value, result)
                yield Task(spec, Phase.SEARCH, values, lambda _result: None), result

    def _trial_spec(self, values: Values) -> RunSpec:
        return self._sweep_plan.spec(
            Phase.SEARCH,
            self.plan.method,
            self.plan.scenario,
            values,
            self._sweep_plan.study.search.seed,
        )

    def _objective_of(self, result: RunResult) -> float:
        """Return the objective of a trial, and check that its labels are those of the search."""
        self.search.require_labels(result.labels.sha256)
        return self.objective.value(result)

    def _add_trial(self, values: Values, value: float, result: RunResult) -> None:
        self.digests.append(result.digest)
        if self.best is None or value > self.best[0]:
            self.best = (value, values)

    def tasks(self) -> Iterator[Task]:
        """Yield the tasks that can be carried out now."""
        while self.search.remaining:
            proposal = self.search.ask()
            spec = self._trial_spec(proposal.values)
            self.pending_digests.add(spec.digest)
            yield Task(
                spec, Phase.SEARCH, proposal.values, partial(self._end_trial, proposal, spec)
            )
        if self.search.done and not self.candidates:
            self._start_select()
        for _, batch in self.candidates:
            yield from batch.tasks()

    def _end_trial(self, proposal: Proposal, spec: RunSpec, result: RunResult | None) -> None:
        self.pending_digests.discard(spec.digest)
        if result is None:
            self.search.fail(proposal)
        else:
            value = self._objective_of(result)
            self.search.tell(proposal, value, result.digest)
            self._add_trial(proposal.values, value, result)

    def _start_select(self) -> None:
        study = self._sweep_plan.study
        candidates = select_candidates(
            self.search.completed_trials(), study.select.candidates, self.reference
        )
        if not candidates:
            raise NalError(f"no trial of the search for {self.plan.method} could be carried out")
        for candidate in candidates:
            specs = [
                self._sweep_plan.spec(
                    Phase.SELECT, self.plan.method, self.plan.scenario, candidate.values, seed
                )
                for seed in study.select.seeds
            ]
            self.candidates.append((candidate, Batch(specs, candidate.values, Phase.SELECT)))

    def choose_values(self) -> None:
        """Set `chosen` to the values of the best candidate, if the runs of all have ended.

        Raises:
            NalError: if no run of any candidate could be carried out.
        """
        all_done = bool(self.candidates) and all(batch.done for _, batch in self.candidates)
        if all_done and self.chosen is None:
            scores = [
                (candidate, [self.objective.value(result) for result in batch.results.values()])
                for candidate, batch in self.candidates
                if batch.results
            ]
            if not scores:
                raise NalError(f"no candidate for {self.plan.method} could be tried on fresh seeds")
            self.chosen = choose(
                scores, self.space, self.reference, self.objective.standard_error
            ).values
