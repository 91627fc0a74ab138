"""Choice of hyperparameter values for one method, in the phases search and select."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING

from orchestrator.sweeping.budget import NO_BUDGET
from orchestrator.sweeping.early_stopping import find_stop, stopping_rule
from orchestrator.sweeping.samplers import sampler_of
from orchestrator.sweeping.search import Search, SearchRules, search_digest
from orchestrator.sweeping.selection import Candidate, choose_candidate, select_candidates
from orchestrator.sweeping.tasks import Answer, SeedGroup, Task, tasks_by_seed
from orchestrator.sweeping.trials import Trial, TrialState
from search_spaces.rungs import stopping_identity
from search_spaces.schema import Phase
from trainables.errors import NalError
from trainables.run.result import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import optuna

    from orchestrator.planning.plan import Plan, TuningPlan, Values
    from orchestrator.sweeping.budget import Budget
    from orchestrator.sweeping.search_storage import Patience
    from trainables.run.recipe import Recipe
    from trainables.run.result import RunResult
    from trainables.run.spec import RunSpec
    from trainables.training.job import Row


@dataclass(frozen=True, slots=True, eq=False)
class OpenTrial:
    """A trial whose runs are to be carried out.

    Attributes:
        trial: the trial. It is COMPLETE or STOPPED if only records of its runs are missing.
        runs: its runs, one for each seed of the search.
        earlier: earlier trials by whose results the trial may be stopped.
        rows: metrics after each epoch so far of its only run, if the rule compares epochs.
    """

    trial: Trial
    runs: SeedGroup
    earlier: Sequence[Trial]
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TrialRuns:
    """Recorded runs of a trial that has ended.

    Attributes:
        digests: digests of the runs, in the order of the search's seeds.
        epoch: epoch after which its only run was stopped; None if no run was.
        is_stopped: whether the trial was stopped early.
    """

    digests: list[str]
    epoch: int | None
    is_stopped: bool


class Tuning:
    """Choice of hyperparameter values for one method, in the phases search and select.

    Attributes:
        plan: plan of the search.
        objective: rule that computes the objective, which is maximised, from the result of a run.
        space: search space by name of hyperparameter.
        search: state of the search phase.
        reference: hyperparameter values of the method's paper; None if they are unknown.
        trial_runs: runs of the trials that have ended, by the number of the trial.
        left_out_count: number of runs that are not carried out, since their trial was stopped on an
            earlier seed.
        candidates: each candidate with its runs on fresh seeds; empty until the search is done.
        chosen_values: values of the best candidate; None until the select phase is done.
        failure_reasons: reason of each run of a trial that could not be carried out.
        best_trial: highest objective of a trial so far and the values of this trial; None before
            the first trial has ended.
        budget_trials: number of trials with which the time budget has ended the search; None if it
            has not.
        budget_seeds: number of seeds with which the time budget has ended select; None if it has
            not.
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
        self._sweep_plan = sweep_plan
        self._budget = budget
        self._position = sweep_plan.searches.index(plan)
        self._recorded_result: Callable[[RunSpec], RunResult | None] = lambda _spec: None
        self._on_budget_end: Callable[[], None] = lambda: None
        phase_ends = budget.phase_ends((plan.method, plan.scenario))
        self.budget_trials, self.budget_seeds = phase_ends.trials, phase_ends.seeds
        self.plan = plan
        self.objective = sweep_plan.objective(plan.scenario)
        rules = search_rules(sweep_plan, plan)
        self.space = rules.spaces
        self.reference = rules.reference
        self._stopping = stopping_rule(sweep_plan.study, plan.method, plan.scenario)
        self._open_trials: list[OpenTrial] = []
        self.trial_runs: dict[int, TrialRuns] = {}
        self.left_out_count = 0
        self.candidates: list[tuple[Candidate, SeedGroup]] = []
        self.chosen_values: Values | None = None
        self.failure_reasons: list[str] = []
        self.best_trial: tuple[float, Values] | None = None
        self.search = Search.open(
            storage,
            _digest_of_search(sweep_plan, plan),
            rules,
            sweep_plan.study.search.trials - self.omitted_trial_count,
            patience,
        )

    def resume(
        self,
        recorded_result: Callable[[RunSpec], RunResult | None],
        on_budget_end: Callable[[], None],
    ) -> Iterator[tuple[Task, RunResult]]:
        """Continue the search of an interrupted sweep, and yield the runs of its ended trials.

        If a run of an ended trial has no record, since it was removed, the trial is not yielded.
        Its objective stays in the search, and `tasks` yields its runs again.

        Args:
            recorded_result: function from the spec of a run to the recorded result, or to None if
                the run has none.
            on_budget_end: callback that is called when the budget has ended the search or select.

        Yields:
            Task and result of each run.
        """
        self._recorded_result = recorded_result
        self._on_budget_end = on_budget_end
        for trial in self.search.measured_trials:
            opened = self._open(trial)
            results = [recorded_result(spec) for spec in opened.runs.specs]
            recorded = [
                result
                for result in results
                if result is not None and self._is_whole(opened, result)
            ]
            if len(recorded) < len(results):
                self._open_trials.append(opened)
                continue
            for task, result in zip(self._tasks_of(opened), recorded, strict=True):
                self._check_labels(result)
                yield replace(task, on_end=lambda _result, _reason: None), result
            self._add_trial(opened, trial)

    def _open(self, trial: Trial) -> OpenTrial:
        """Return a trial with its runs, none of which has ended."""
        specs = _trial_specs(self._sweep_plan, self.plan, trial.values)
        compares_seeds = self._stopping.compares_seeds
        in_turn = compares_seeds and trial.state is TrialState.RUNNING
        if compares_seeds and trial.state is TrialState.STOPPED:
            specs = specs[: len(trial.steps)]
        runs = SeedGroup(specs, trial.values, Phase.SEARCH, in_turn=in_turn)
        self._count_left_out(runs)
        return OpenTrial(trial, runs, self.search.trials_before(trial.number))

    def _count_left_out(self, runs: SeedGroup) -> None:
        """Count the seeds on which a trial is not trained."""
        self.left_out_count += len(self._sweep_plan.study.search.seeds) - len(runs.specs)

    def _tasks_of(self, opened: OpenTrial) -> Iterator[Task]:
        """Yield the tasks of a trial that were not yielded by an earlier call."""
        for task in tasks_by_seed([opened.runs]):
            yield replace(
                task,
                on_end=partial(self._end_run, opened, task.on_end),
                stops_after=self._rungs_of(opened.trial),
                on_report=partial(self._answer, opened, task.spec.recipe),
            )

    def _rungs_of(self, trial: Trial) -> tuple[int, ...]:
        """Return the epochs after which the run of a trial may be stopped."""
        if self._stopping.compares_seeds or trial.state is TrialState.COMPLETE:
            return ()
        return self._stopping.steps_of(trial.number)

    def _answer(self, opened: OpenTrial, recipe: Recipe, rows: Sequence[Row]) -> Answer:
        """Return whether the run of a trial goes on after the epochs of some new rows."""
        rungs = self._rungs_of(opened.trial)
        if not rungs:
            return Answer.CONTINUE
        opened.rows.extend(rows)
        steps = self.objective.steps(opened.rows, recipe, rungs)
        return Answer.CONTINUE if self._find_stop(opened, steps) is None else Answer.STOP

    def _find_stop(self, opened: OpenTrial, steps: Mapping[int, float]) -> int | None:
        """Return the step after which a trial is stopped; None if it is not stopped so far.

        Args:
            opened: the trial.
            steps: objective after each step so far.
        """
        trial = opened.trial
        if trial.state is TrialState.RUNNING:
            return find_stop(self._stopping, trial.number, steps, opened.earlier)
        last_step = max(trial.steps, default=None)
        is_reached = trial.state is TrialState.STOPPED and last_step in steps
        return last_step if is_reached else None

    def _is_whole(self, opened: OpenTrial, result: RunResult) -> bool:
        """Return whether the run of a trial has ended, or goes as far as the trial does."""
        if result.is_final:
            return True
        steps = self.objective.steps_of(result, self._rungs_of(opened.trial))
        return self._find_stop(opened, steps) is not None

    def _check_labels(self, result: RunResult) -> None:
        """Check that a run of the search was trained on the noisy labels of its seed."""
        seed = result.spec.seeds.base_seed(self._sweep_plan.study.fixed_seeds)
        self.search.check_labels(seed, result.labels.sha256)

    def _add_trial(self, opened: OpenTrial, trial: Trial) -> None:
        """Count a trial that has ended, and whose runs are recorded."""
        is_stopped = trial.state is TrialState.STOPPED
        self.trial_runs[trial.number] = TrialRuns(
            [spec.digest for spec in opened.runs.specs],
            max(trial.steps) if is_stopped and not self._stopping.compares_seeds else None,
            is_stopped=is_stopped,
        )
        objective = None if is_stopped else trial.objective
        if objective is not None and (self.best_trial is None or objective > self.best_trial[0]):
            self.best_trial = (objective, trial.values)

    @property
    def trial_digests(self) -> list[str]:
        """Digests of the runs of trials that have ended, in the order of the trials."""
        return [digest for _, runs in sorted(self.trial_runs.items()) for digest in runs.digests]

    def tasks(self) -> Iterator[Task]:
        """Yield the tasks of trials and candidates that need not wait for other runs."""
        while True:
            for opened in list(self._open_trials):
                yield from self._tasks_of(opened)
            trial = self.search.next_trial(self._has_time_for_trial)
            if trial is None:
                break
            self._open_trials.append(self._open(trial))
        if self.is_search_done and not self.candidates:
            self._start_select_phase()
        yield from tasks_by_seed(
            [seed_group for _, seed_group in self.candidates], self._has_time_for_seed
        )

    def _has_time_for_trial(self, number: int) -> bool:
        """Return whether the budget has time for a new trial; if not, the search ends before it."""
        if self._budget.allows_trial(self._position, number):
            return True
        self.budget_trials = number
        self._on_budget_end()
        return False

    def _has_time_for_seed(self, seed_count: int) -> bool:
        """Return whether the budget has time for one more seed of select; if not, end select.

        A seed on which an earlier start has ended runs is not left out.

        Args:
            seed_count: number of seeds on which candidates have started.
        """
        next_specs = [seed_group.specs[seed_count] for _, seed_group in self.candidates]
        results = map(self._recorded_result, next_specs)
        if any(result is not None and result.is_final for result in results):
            return True
        if self._budget.allows_seed(self._position, seed_count):
            return True
        self.budget_seeds = seed_count
        for _, seed_group in self.candidates:
            seed_group.keep_first(seed_count)
        self._on_budget_end()
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
            Phase.SEARCH: len(self.search.trials) / self.search.trial_count,
            Phase.SELECT: ended_count / max(1, run_count),
        }

    @property
    def is_search_done(self) -> bool:
        """Whether every trial has ended, and none is to be trained again."""
        return self.search.done and not self._open_trials

    def _end_run(
        self,
        opened: OpenTrial,
        add_result: Callable[[RunResult | None, str], None],
        result: RunResult | None,
        reason: str,
    ) -> None:
        """Process the end of a run of a trial, and of the trial with its last run."""
        if result is not None and not self._is_whole(opened, result):
            reason, result = f"the run was stopped {result.reason}", None
        if result is not None:
            self._check_labels(result)
        add_result(result, reason)
        runs = opened.runs
        steps = self._steps_of(opened)
        stop = self._find_stop(opened, steps)
        if runs.in_turn and (stop is not None or runs.failure_reasons):
            runs.leave_out_rest()
            self._count_left_out(runs)
        if not runs.done:
            return
        self._open_trials.remove(opened)
        self.failure_reasons += runs.failure_reasons
        trial = opened.trial
        if trial.state is TrialState.RUNNING:
            trial = self._ended(opened, steps, stop)
            self.search.end(trial, [spec.digest for spec in runs.specs])
        if not runs.failure_reasons:
            self._add_trial(opened, trial)

    def _steps_of(self, opened: OpenTrial) -> dict[int, float]:
        """Return the objective of a trial after each step, from the results of its runs so far."""
        runs = opened.runs
        results = {
            position: runs.results[spec.digest]
            for position, spec in enumerate(runs.specs)
            if spec.digest in runs.results
        }
        if self._stopping.compares_seeds:
            return {
                position: self.objective.compute(result) for position, result in results.items()
            }
        rungs = self._rungs_of(opened.trial)
        return self.objective.steps_of(results[0], rungs) if rungs and results else {}

    def _ended(self, opened: OpenTrial, steps: Mapping[int, float], stop: int | None) -> Trial:
        """Return a trial, all of whose runs have ended, with its final state.

        Args:
            opened: the trial.
            steps: objective after each step.
            stop: step after which the trial is stopped; None if it is not.
        """
        trial, runs = opened.trial, opened.runs
        if runs.failure_reasons:
            return replace(trial, state=TrialState.FAILED)
        if stop is not None and not self._diverged_before(stop, runs):
            return replace(
                trial,
                state=TrialState.STOPPED,
                objective=steps[stop],
                steps={step: value for step, value in steps.items() if step <= stop},
            )
        objective = fmean(map(self.objective.compute, runs.results.values()))
        return replace(trial, state=TrialState.COMPLETE, objective=objective, steps=steps)

    def _diverged_before(self, step: int, runs: SeedGroup) -> bool:
        """Return whether the only run of a trial has diverged before an epoch.

        Such a trial is complete: its values are bad whatever other trials reach.
        """
        if self._stopping.compares_seeds:
            return False
        (result,) = runs.results.values()
        is_reached = step in self.objective.steps(result.trace, result.spec.recipe, [step])
        return result.status is Status.DIVERGED and not is_reached

    def _start_select_phase(self) -> None:
        study = self._sweep_plan.study
        completed_trials = [
            (trial.values, trial.objective)
            for trial in self.search.completed_trials
            if trial.objective is not None
        ]
        candidates = select_candidates(completed_trials, study.select.candidates, self.reference)
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
    def chosen_trial_digests(self) -> list[str]:
        """Digests of the search's runs with the chosen values; [] without values or such runs."""
        if self.chosen_values is None:
            return []
        specs = _trial_specs(self._sweep_plan, self.plan, self.chosen_values)
        ended_digests = set(self.trial_digests)
        return [spec.digest for spec in specs if spec.digest in ended_digests]

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


def _trial_specs(sweep_plan: Plan, plan: TuningPlan, values: Values) -> list[RunSpec]:
    """Return the specs of a trial's runs, in the order of the search's seeds."""
    return [
        sweep_plan.spec(Phase.SEARCH, plan.method, plan.scenario, values, seed)
        for seed in sweep_plan.study.search.seeds
    ]


def search_rules(sweep_plan: Plan, plan: TuningPlan) -> SearchRules:
    """Return the rules of the search of one method.

    Args:
        sweep_plan: plan of the whole sweep.
        plan: plan of the search of one method.
    """
    study, history = sweep_plan.study, sweep_plan.history
    earlier_trials = history.trials_for(plan.method, plan.scenario) if history else []
    return SearchRules(
        spaces=study.space_of(plan.method),
        sampler=sampler_of(study, plan.method),
        seeds=study.search.seeds,
        lag=study.search.lag,
        reference=sweep_plan.reference_of(plan.method),
        history=[
            Trial(number, trial.values, TrialState.COMPLETE, trial.objective)
            for number, trial in enumerate(earlier_trials)
        ],
        stopping=stopping_identity(study, plan.method, plan.scenario),
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
    rules = search_rules(sweep_plan, plan)
    # The digest does not cover the values that all trials search, but every spec contains such
    # values. It covers the other values of parameters that are searched under conditions.
    values = {name: space.ends[0] for name, space in rules.spaces.items() if space.when is None}
    spec = _trial_specs(sweep_plan, plan, values)[0]
    return search_digest(spec, rules, sweep_plan.objective(plan.scenario).protocol.identity)


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
