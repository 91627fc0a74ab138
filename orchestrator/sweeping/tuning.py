"""Choice of hyperparameter values for one method, in the phases search and select."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.sweeping.budget import NO_BUDGET
from orchestrator.sweeping.search import Proposal, Search, search_digest
from orchestrator.sweeping.selection import Candidate, choose_candidate, select_candidates
from orchestrator.sweeping.tasks import SeedGroup, Task, tasks_by_seed
from search_spaces.schema import Phase
from trainables.errors import NalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import optuna

    from orchestrator.planning.plan import Plan, TuningPlan, Values
    from orchestrator.sweeping.budget import Budget
    from orchestrator.sweeping.search_storage import Patience
    from trainables.run.result import RunResult
    from trainables.run.spec import RunSpec


class Tuning:
    """Choice of hyperparameter values for one method, in the phases search and select.

    Attributes:
        plan: plan of the search.
        objective: rule that computes the objective, which is maximised, from the result of a run.
        space: search space by name of hyperparameter.
        search: state of the search phase.
        reference: hyperparameter values of the method's paper; None if they are unknown.
        open_trial_digests: digests of the trials' runs that have not ended.
        trial_digests: digests of the trials' runs that have ended, in the order of their ends.
        candidates: each candidate with its runs on fresh seeds; empty until the search is done.
        chosen_values: values of the best candidate; None until the select phase is done.
        budget_trials: number of trials with which the time budget has ended the search; None if it
            has not.
        budget_seeds: number of seeds with which the time budget has ended select; None if it has
            not.
        failure_reasons: reason of each trial whose run could not be carried out.
        best_trial: highest objective of a trial so far and the values of this trial; None before
            the first trial has ended.
    """

    def __init__(
        self,
        sweep_plan: Plan,
        plan: TuningPlan,
        storage: optuna.storages.BaseStorage,
        patience: Patience,
        budget: Budget = NO_BUDGET,
    ) -> None:
        """Open or create the search of one method.

        Args:
            sweep_plan: plan of the whole sweep.
            plan: plan of the search of one method.
            storage: Optuna's storage of all searches.
            patience: repetition of operations while the storage is locked or away.
            budget: time budget of the sweep.
        """
        study = sweep_plan.study
        self._sweep_plan = sweep_plan
        self._budget = budget
        self._recorded_result: Callable[[RunSpec], RunResult | None] = lambda _spec: None
        self._position = sweep_plan.searches.index(plan)
        phase_ends = budget.phase_ends((plan.method, plan.scenario))
        self.budget_trials, self.budget_seeds = phase_ends.trials, phase_ends.seeds
        self.plan = plan
        self.objective = sweep_plan.objective(plan.scenario)
        self.space = study.space_of(plan.method)
        self.reference = sweep_plan.reference_of(plan.method)
        self.open_trial_digests: set[str] = set()
        self.trial_digests: list[str] = []
        self._unrecorded_trials: list[Values] = []
        self.candidates: list[tuple[Candidate, SeedGroup]] = []
        self.chosen_values: Values | None = None
        self.failure_reasons: list[str] = []
        self.best_trial: tuple[float, Values] | None = None
        self.search = Search.open(
            storage,
            _digest_of_search(sweep_plan, plan),
            self.space,
            study.search.trials
            if self.budget_trials is None
            else min(self.budget_trials, study.search.trials),
            study.search.seed,
            self.reference,
            patience,
        )

    def resume(
        self, recorded_result: Callable[[RunSpec], RunResult | None]
    ) -> Iterator[tuple[Task, RunResult]]:
        """Continue the search of an interrupted sweep, and yield its complete trials.

        A complete trial whose run has no record, since it was removed, is not yielded. Its
        objective stays in the search, and `tasks` yields its run again.

        Args:
            recorded_result: function from the spec of a run to the recorded result, or to None if
                the run has not ended.

        Yields:
            Task and result of each complete trial's run.
        """
        self._recorded_result = recorded_result

        def objective_of(values: Values) -> float | None:
            result = recorded_result(self._trial_spec(values))
            return None if result is None else self._compute_objective(result)

        self.search.resume(objective_of)
        for values, objective in self.search.completed_trials():
            spec = self._trial_spec(values)
            result = recorded_result(spec)
            if result is None:
                self._unrecorded_trials.append(values)
            else:
                self.search.check_labels(result.labels.sha256)
                self._add_trial(values, objective, result)
                yield Task(spec, Phase.SEARCH, values, lambda _result, _reason: None), result

    def _trial_spec(self, values: Values) -> RunSpec:
        return _trial_spec(self._sweep_plan, self.plan, values)

    def _compute_objective(self, result: RunResult) -> float:
        """Check that a trial was trained on the search's noisy labels, and return the objective."""
        self.search.check_labels(result.labels.sha256)
        return self.objective.compute(result)

    def _add_trial(self, values: Values, objective: float, result: RunResult) -> None:
        self.trial_digests.append(result.digest)
        if self.best_trial is None or objective > self.best_trial[0]:
            self.best_trial = (objective, values)

    def tasks(self) -> Iterator[Task]:
        """Yield the tasks of trials and candidates that need not wait for other runs."""
        while self._unrecorded_trials:
            values = self._unrecorded_trials.pop(0)
            spec = self._trial_spec(values)
            self.open_trial_digests.add(spec.digest)
            yield Task(spec, Phase.SEARCH, values, partial(self._end_repeated_trial, values, spec))
        while self.search.remaining_trial_count and self._has_time_for_trial():
            proposal = self.search.ask()
            spec = self._trial_spec(proposal.values)
            self.open_trial_digests.add(spec.digest)
            yield Task(
                spec, Phase.SEARCH, proposal.values, partial(self._end_trial, proposal, spec)
            )
        if self.is_search_done and not self.candidates:
            self._start_select_phase()
        yield from tasks_by_seed(
            [seed_group for _, seed_group in self.candidates], self._has_time_for_seed
        )

    def _has_time_for_trial(self) -> bool:
        """Return whether the budget has time for one more trial; if not, end the search."""
        if self._budget.allows_trial(self._position, self.search.trial_count):
            return True
        self.search.n_trials = self.budget_trials = self.search.trial_count
        return False

    def _has_time_for_seed(self, seed_count: int) -> bool:
        """Return whether the budget has time for one more seed of select; if not, end select.

        A seed on which an earlier start has ended runs is not left out.

        Args:
            seed_count: number of seeds on which candidates have started.
        """
        next_specs = [seed_group.specs[seed_count] for _, seed_group in self.candidates]
        if any(self._recorded_result(spec) is not None for spec in next_specs):
            return True
        if self._budget.allows_seed(self._position, seed_count):
            return True
        self.budget_seeds = seed_count
        for _, seed_group in self.candidates:
            seed_group.keep_first(seed_count)
        return False

    @property
    def omitted_trial_count(self) -> int:
        """Number of trials that the study requests but the time budget has left out."""
        trial_count = self._sweep_plan.study.search.trials
        return 0 if self.budget_trials is None else max(0, trial_count - self.budget_trials)

    def ended_fractions(self) -> dict[Phase, float]:
        """Return the fraction of the search and of the select phase that has ended."""
        groups = [seed_group for _, seed_group in self.candidates]
        ended_count = sum(len(group.results) for group in groups)
        run_count = sum(len(group.specs) for group in groups)
        return {
            Phase.SEARCH: self.search.trial_count / max(1, self.search.n_trials),
            Phase.SELECT: ended_count / max(1, run_count),
        }

    @property
    def is_search_done(self) -> bool:
        """Whether the target number of trials is complete, and no trial is to be trained again."""
        return self.search.done and not self._unrecorded_trials and not self.open_trial_digests

    def _end_repeated_trial(
        self, values: Values, spec: RunSpec, result: RunResult | None, reason: str
    ) -> None:
        self.open_trial_digests.discard(spec.digest)
        if result is None:
            self.failure_reasons.append(reason)
        else:
            self._add_trial(values, self._compute_objective(result), result)

    def _end_trial(
        self, proposal: Proposal, spec: RunSpec, result: RunResult | None, reason: str
    ) -> None:
        self.open_trial_digests.discard(spec.digest)
        if result is None:
            self.failure_reasons.append(reason)
            self.search.fail(proposal)
        else:
            objective = self._compute_objective(result)
            self.search.tell(proposal, objective, result.digest)
            self._add_trial(proposal.values, objective, result)

    def _start_select_phase(self) -> None:
        study = self._sweep_plan.study
        candidates = select_candidates(
            self.search.completed_trials(), study.select.candidates, self.reference
        )
        if not candidates:
            raise NalError(
                f"no trial of the search for {self.plan.method} could be carried out; "
                + _describe_failures(self.failure_reasons)
            )
        for candidate in candidates:
            specs = [
                self._sweep_plan.spec(
                    Phase.SELECT, self.plan.method, self.plan.scenario, candidate.values, seed
                )
                for seed in study.select.seeds[: self.budget_seeds]
            ]
            self.candidates.append((candidate, SeedGroup(specs, candidate.values, Phase.SELECT)))

    @property
    def chosen_trial_digest(self) -> str:
        """Digest of the search's run with the chosen values; "" without values or such a run."""
        if self.chosen_values is None:
            return ""
        digest = self._trial_spec(self.chosen_values).digest
        return digest if digest in self.trial_digests else ""

    def choose_values(self) -> None:
        """Set `chosen_values` to the values of the best candidate, if all runs have ended.

        Raises:
            NalError: if no run of any candidate could be carried out.
        """
        all_done = bool(self.candidates) and all(
            seed_group.done for _, seed_group in self.candidates
        )
        if all_done and self.chosen_values is None:
            fixed_axes = self._sweep_plan.study.fixed_seeds
            scores = [
                (
                    candidate,
                    {
                        result.spec.seeds.base_seed(fixed_axes): self.objective.compute(result)
                        for result in seed_group.results.values()
                    },
                )
                for candidate, seed_group in self.candidates
                if seed_group.results
            ]
            if not scores:
                raise NalError(
                    f"no candidate for {self.plan.method} could be tried on fresh seeds; "
                    + _describe_failures(
                        [
                            reason
                            for _, seed_group in self.candidates
                            for reason in seed_group.failure_reasons
                        ]
                    )
                )
            self.chosen_values = choose_candidate(
                scores, self.space, self.reference, self.objective.standard_error
            ).values


def _trial_spec(sweep_plan: Plan, plan: TuningPlan, values: Values) -> RunSpec:
    return sweep_plan.spec(
        Phase.SEARCH, plan.method, plan.scenario, values, sweep_plan.study.search.seed
    )


def search_digests(plan: Plan) -> list[str]:
    """Return the digests of all searches of a plan."""
    return [_digest_of_search(plan, tuning_plan) for tuning_plan in plan.searches]


def _digest_of_search(sweep_plan: Plan, plan: TuningPlan) -> str:
    """Return the digest that names the search of one method.

    Args:
        sweep_plan: plan of the whole sweep.
        plan: plan of the search of one method.
    """
    space = sweep_plan.study.space_of(plan.method)
    # The digest does not cover the searched values, but every spec contains such values.
    lowest_values = {name: interval.low for name, interval in space.items()}
    protocol = sweep_plan.objective(plan.scenario).protocol
    return search_digest(_trial_spec(sweep_plan, plan, lowest_values), space, protocol.identity)


def _describe_failures(reasons: Sequence[str]) -> str:
    """Return the end of an error message that names the most frequent reason of failed runs.

    Args:
        reasons: reason of each failed run; at least one.
    """
    counts = Counter(next(iter(reason.splitlines()), "no message") for reason in reasons)
    ((most_frequent_reason, count),) = counts.most_common(1)
    return (
        f"the cause of {count} of {len(reasons)} failures: {most_frequent_reason}: remove the "
        "cause and type the same command again"
    )
