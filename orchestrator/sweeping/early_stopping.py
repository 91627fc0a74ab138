"""Early stopping: rules that end trials of a search before all of their training is done.

A rule compares what trial n has reached with the trials up to n - lag, all of which have ended when
trial n starts. Whether and where a trial is stopped therefore depends neither on the order in which
runs end nor on interruptions, and follows from the record of its run as from the live run.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Protocol

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial

from orchestrator.sweeping.trials import Trial, TrialState
from search_spaces.rungs import rungs_on
from search_spaces.schedulers import FACTOR, THRESHOLD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from search_spaces.schema import Study


class StoppingRule(Protocol):
    """Rule that ends trials of a search early.

    A step of a trial is an epoch of its run, or the position of a seed if the rule compares seeds.
    """

    @property
    def compares_seeds(self) -> bool:
        """Whether steps are seeds of the search, on which a trial is trained one after another."""

    def steps_of(self, number: int) -> tuple[int, ...]:
        """Return the steps after which a trial may be stopped, ascending.

        Args:
            number: number of the trial.
        """

    def stops(self, number: int, steps: Mapping[int, float], earlier: Sequence[Trial]) -> bool:
        """Return whether a trial ends after its last step so far.

        Args:
            number: number of the trial.
            steps: objective of the trial after each step so far.
            earlier: earlier trials that the trial is compared with, all of which have ended.
        """


def find_stop(
    rule: StoppingRule, number: int, steps: Mapping[int, float], earlier: Sequence[Trial]
) -> int | None:
    """Return the step after which a trial is stopped; None if it is not stopped so far.

    Args:
        rule: rule of the search.
        number: number of the trial.
        steps: objective of the trial after each step so far; its run may have gone on after the
            step at which the trial is stopped, for another sweep.
        earlier: earlier trials that the trial is compared with, all of which have ended.
    """
    for step in rule.steps_of(number):
        if step not in steps:
            return None
        steps_so_far = {each: value for each, value in steps.items() if each <= step}
        if rule.stops(number, steps_so_far, earlier):
            return step
    return None


class NoStopping:
    """Rule that stops no trial."""

    compares_seeds = False

    def steps_of(self, number: int) -> tuple[int, ...]:  # noqa: ARG002 - of `StoppingRule`
        """Return no step."""
        return ()

    def stops(
        self,
        number: int,  # noqa: ARG002 - of `StoppingRule`
        steps: Mapping[int, float],  # noqa: ARG002
        earlier: Sequence[Trial],  # noqa: ARG002
    ) -> bool:
        """Return False."""
        return False


@dataclass(frozen=True)
class SuccessiveHalving:
    """Asynchronous successive halving (ASHA; Li et al., 2020) in the variant that stops trials.

    After a rung, which is an epoch, a trial goes on if it is among the best 1 / factor of the
    trials that have reached the rung, itself included, and in any case if it is the best of them.
    Optuna's `SuccessiveHalvingPruner` decides in the same way.

    Attributes:
        rungs: epochs after which trials are compared, ascending.
        factor: number of trials of which about one goes on.
    """

    rungs: tuple[int, ...]
    factor: int
    compares_seeds = False

    def steps_of(self, number: int) -> tuple[int, ...]:  # noqa: ARG002 - of `StoppingRule`
        """Return the rungs."""
        return self.rungs

    def stops(
        self,
        number: int,  # noqa: ARG002 - of `StoppingRule`
        steps: Mapping[int, float],
        earlier: Sequence[Trial],
    ) -> bool:
        """Return whether a trial is not among the best at its last rung."""
        rung = max(steps)
        others = [trial.steps[rung] for trial in earlier if rung in trial.steps]
        ranking = sorted([*others, steps[rung]], reverse=True)
        kept_count = max(1, len(ranking) // self.factor)
        return steps[rung] < ranking[kept_count - 1]


@dataclass(frozen=True)
class Hyperband:
    """Hyperband (Li et al., 2018): successive halving in brackets that begin at different rungs.

    Bracket b leaves out the first b rungs, and the last bracket trains its trials whole, since an
    early comparison may mislead. Trials are compared within their bracket. The brackets take turns
    in a fixed cycle, in which each has as many trials as in Hyperband.

    Attributes:
        rungs: epochs after which trials are compared, ascending.
        factor: number of trials of which about one goes on.
    """

    rungs: tuple[int, ...]
    factor: int
    compares_seeds = False

    @property
    def bracket_sizes(self) -> tuple[int, ...]:
        """Number of trials of each bracket in a cycle.

        With s of at most S rungs it is (S + 1) / (s + 1) · factor ** s, rounded up.
        """
        bracket_count = len(self.rungs) + 1
        return tuple(
            -(-bracket_count * self.factor**rung_count // (rung_count + 1))
            for rung_count in reversed(range(bracket_count))
        )

    @property
    def cycle(self) -> tuple[int, ...]:
        """Bracket of each trial of a cycle, over which the trials of a bracket are spread."""
        positions = chain.from_iterable(
            (((2 * n + 1) / (2 * size), bracket) for n in range(size))
            for bracket, size in enumerate(self.bracket_sizes)
        )
        return tuple(bracket for _, bracket in sorted(positions))

    def bracket_of(self, number: int) -> int:
        """Return the bracket of a trial."""
        cycle = self.cycle
        return cycle[number % len(cycle)]

    def steps_of(self, number: int) -> tuple[int, ...]:
        """Return the rungs of the bracket of a trial."""
        return self.rungs[self.bracket_of(number) :]

    def stops(self, number: int, steps: Mapping[int, float], earlier: Sequence[Trial]) -> bool:
        """Return whether a trial is not among the best of its bracket at its last rung."""
        bracket = self.bracket_of(number)
        rivals = [trial for trial in earlier if self.bracket_of(trial.number) == bracket]
        return SuccessiveHalving(self.rungs, self.factor).stops(number, steps, rivals)


@dataclass(frozen=True)
class Wilcoxon:
    """Wilcoxon's signed-rank test over paired seeds, as Optuna's `WilcoxonPruner` applies it.

    A trial is trained on one seed of the search after the other. The other seeds are left out once
    the test says that the trial is worse than the best earlier one on the same seeds.

    Attributes:
        seed_count: number of seeds of the search.
        threshold: p-value below which a trial counts as worse.
    """

    seed_count: int
    threshold: float
    compares_seeds = True

    def steps_of(self, number: int) -> tuple[int, ...]:  # noqa: ARG002 - of `StoppingRule`
        """Return the positions of all seeds but the last."""
        return tuple(range(self.seed_count - 1))

    def stops(
        self,
        number: int,  # noqa: ARG002 - of `StoppingRule`
        steps: Mapping[int, float],
        earlier: Sequence[Trial],
    ) -> bool:
        """Return whether the test says that a trial is worse than the best earlier one."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            pruner = optuna.pruners.WilcoxonPruner(p_threshold=self.threshold)
        study = optuna.create_study(direction="maximize")
        study.add_trials(
            create_trial(value=trial.objective, intermediate_values=dict(trial.steps))
            for trial in earlier
            if trial.state is TrialState.COMPLETE
        )
        return pruner.prune(
            study, create_trial(state=OptunaState.RUNNING, intermediate_values=dict(steps))
        )


def stopping_rule(study: Study, method: str, scenario: str) -> StoppingRule:
    """Return the rule that a study chooses for the search of a method on a scenario."""
    scheduler = study.search.scheduler
    match scheduler.kind:
        case "none":
            return NoStopping()
        case "wilcoxon":
            return Wilcoxon(len(study.search.seeds), scheduler.settings.number(THRESHOLD))
        case "asha" | "hyperband":
            rule = SuccessiveHalving if scheduler.kind == "asha" else Hyperband
            return rule(rungs_on(study, method, scenario), int(scheduler.settings.number(FACTOR)))
