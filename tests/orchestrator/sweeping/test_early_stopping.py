"""Rules that stop trials early, beside Optuna's pruners."""

from __future__ import annotations

import warnings
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import optuna
import pytest
from optuna.exceptions import ExperimentalWarning

from orchestrator.sweeping.early_stopping import (
    Hyperband,
    NoStopping,
    StoppingRule,
    SuccessiveHalving,
    Wilcoxon,
    find_stop,
)
from orchestrator.sweeping.trials import Trial, TrialState
from search_spaces.rungs import least_seed_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    Curve = dict[int, float]
    """Objective of a trial after each step."""

RUNGS = (4, 12, 36)
EPOCHS = 50


def make_curves(count: int, steps: Sequence[int]) -> list[Curve]:
    """Return random curves that cross, of which some are equal at a step."""
    draws = np.random.default_rng(0)
    levels = draws.integers(30, size=(count, 1)) + draws.integers(
        -3, 6, (count, len(steps))
    ).cumsum(1)
    return [dict(zip(steps, map(float, row), strict=True)) for row in levels / 100]


def carry_out(rule: StoppingRule, curves: Sequence[Curve], lag: int = 1) -> list[Trial]:
    """Return the trials of a search, of which each would have one of the curves."""
    trials: list[Trial] = []
    for number, curve in enumerate(curves):
        stop = find_stop(rule, number, curve, trials[: max(0, number - lag + 1)])
        steps = {step: value for step, value in curve.items() if stop is None or step <= stop}
        objective = fmean(steps.values()) if rule.compares_seeds else steps[max(steps)]
        state = TrialState.COMPLETE if stop is None else TrialState.STOPPED
        trials.append(Trial(number, {}, state, objective, steps))
    return trials


def stops_of(trials: Sequence[Trial]) -> list[int | None]:
    """Return the step after which each trial was stopped; None for a complete trial."""
    return [max(t.steps) if t.state is TrialState.STOPPED else None for t in trials]


def optuna_stops(pruner: optuna.pruners.BasePruner, curves: Sequence[Curve]) -> list[int | None]:
    """Return the step after which Optuna prunes each trial, one trial after the other."""
    study = optuna.create_study(direction="maximize", pruner=pruner)
    stops: list[int | None] = []
    for curve in curves:
        trial, stop = study.ask(), None
        for step, value in curve.items():
            trial.report(value, step)
            if step < max(curve) and trial.should_prune():
                stop = step
                break
        if stop is None:
            study.tell(trial, fmean(curve.values()))
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        stops.append(stop)
    return stops


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_successive_halving_decides_as_optuna(factor: int) -> None:
    rungs = tuple(rung for n in range(4) if (rung := 4 * factor**n) < EPOCHS)
    curves = make_curves(80, (*rungs, EPOCHS))
    stops = stops_of(carry_out(SuccessiveHalving(rungs, factor), curves))
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=4, reduction_factor=factor)
    assert stops == optuna_stops(pruner, curves)
    assert {None, *rungs[:2]} <= set(stops)


def test_a_bracket_of_hyperband_is_successive_halving_from_a_later_rung() -> None:
    rule, curves = Hyperband(RUNGS, 3), make_curves(150, (*RUNGS, EPOCHS))
    stops = stops_of(carry_out(rule, curves))
    for bracket in range(4):
        numbers = [number for number in range(150) if rule.bracket_of(number) == bracket]
        pruner = optuna.pruners.SuccessiveHalvingPruner(
            min_resource=4, reduction_factor=3, min_early_stopping_rate=bracket
        )
        expected = optuna_stops(pruner, [curves[number] for number in numbers])
        assert [stops[number] for number in numbers] == expected
        assert set(expected) == {None, *RUNGS[bracket:]}


def test_the_brackets_of_hyperband_have_the_sizes_of_its_paper() -> None:
    rule = Hyperband((1, 3, 9, 27), 3)  # of 81 epochs: table 1 of Li et al. (2018)
    assert rule.bracket_sizes == (81, 34, 15, 8, 5)
    assert [rule.cycle.count(bracket) for bracket in range(5)] == [81, 34, 15, 8, 5]
    assert set(rule.cycle[:20]) == {0, 1, 2, 3, 4}
    assert rule.bracket_of(143 + 7) == rule.bracket_of(7)
    assert [rule.steps_of(rule.cycle.index(b)) for b in (0, 3, 4)] == [(1, 3, 9, 27), (27,), ()]


@pytest.mark.parametrize("threshold", [0.1, 0.3])
def test_the_test_of_wilcoxon_decides_as_optuna(threshold: float) -> None:
    curves = make_curves(60, range(8))
    stops = stops_of(carry_out(Wilcoxon(8, threshold), curves))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        pruner = optuna.pruners.WilcoxonPruner(p_threshold=threshold)
    assert stops == optuna_stops(pruner, curves)
    assert {None, least_seed_count(threshold) - 2} <= set(stops)


@pytest.mark.parametrize("threshold", [0.6, 0.5, 0.3, 0.1, 0.05, 0.01])
def test_the_least_number_of_seeds_is_the_first_that_saves_one(threshold: float) -> None:
    count = least_seed_count(threshold)
    best = Trial(0, {}, TrialState.COMPLETE, 0.8, dict.fromkeys(range(count), 0.8))
    worse = {n: 0.1 + 0.01 * n for n in range(count)}
    assert find_stop(Wilcoxon(count, threshold), 1, worse, [best]) == count - 2
    if count > 3:  # two seeds are the fewest that Optuna compares
        assert find_stop(Wilcoxon(count - 1, threshold), 1, worse, [best]) is None


@pytest.mark.parametrize("rule", [SuccessiveHalving(RUNGS, 3), Hyperband(RUNGS, 3), NoStopping()])
def test_a_trial_is_stopped_at_the_same_rung_however_far_its_run_has_gone(
    rule: StoppingRule,
) -> None:
    curves = make_curves(60, (*RUNGS, EPOCHS))
    trials = carry_out(rule, curves)
    for trial, curve, stop in zip(trials, curves, stops_of(trials), strict=True):
        earlier = trials[: trial.number]
        for reached in (*RUNGS, EPOCHS):
            steps = {step: value for step, value in curve.items() if step <= reached}
            found = find_stop(rule, trial.number, steps, earlier)
            assert found == (stop if stop is not None and stop <= reached else None)


def test_a_trial_is_compared_with_none_of_the_trials_within_the_lag() -> None:
    falling = [{4: 0.9 - 0.01 * n, EPOCHS: 0.9} for n in range(8)]
    rule = SuccessiveHalving((4,), 3)
    assert stops_of(carry_out(rule, falling)) == [None, *[4] * 7]
    assert stops_of(carry_out(rule, falling, lag=4)) == [*[None] * 4, *[4] * 4]


def test_equal_objectives_go_on_and_a_failed_trial_is_no_rival() -> None:
    rule = SuccessiveHalving((4,), 3)
    rival = Trial(0, {}, TrialState.COMPLETE, 0.9, {4: 0.5})
    failed = Trial(1, {}, TrialState.FAILED)
    assert find_stop(rule, 2, {4: 0.5}, [rival, failed]) is None
    assert find_stop(rule, 2, {4: 0.49}, [rival, failed]) == 4
    assert find_stop(rule, 2, {4: 0.0}, [failed]) is None
