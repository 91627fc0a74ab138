from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from plans import TWO_SCENARIOS, machine_cost, random_data

from orchestrator.flags import StudyFlags
from orchestrator.planning.plan import Plan
from orchestrator.planning.shrink import (
    FEW_TRIALS,
    FLOORS,
    MAX_SEEDS,
    MAX_TIME_FRACTION,
    MAX_TRIALS,
    MIN_TELLING_STEPS,
    TEST_SUBSET,
    SmallerSweep,
    fit_sweep,
    suggest_smaller_sweep,
)
from search_spaces.resolve import matched_recipe
from search_spaces.rungs import rungs_on
from trainables.datasets.base import Dataset, Split
from trainables.run.schedules import consists_of_whole_cycles

if TYPE_CHECKING:
    from orchestrator.planning.cost import MachineCost

HOUR = 3600.0


def plan_of(flags: StudyFlags, samples: int = 50_000, tests: int = 40) -> Plan:
    """Return the plan of a shipped study over black images."""

    def split(count: int) -> Split:
        images = np.broadcast_to(np.uint8(0), (count, 3, 32, 32))
        return Split(images, np.arange(count, dtype=np.int64) % 10)

    classes = random_data().classes
    return Plan(
        "study", flags.load().study, Dataset("cifar10", classes, split(samples), split(tests))
    )


def machine(step_seconds: float, slots: int = 2) -> MachineCost:
    return machine_cost(step_seconds, step_seconds / 300, 10**6, slots)


def suggest(
    flags: StudyFlags,
    plan: Plan,
    cost: MachineCost,
    limit: float = HOUR,
    small_cost: MachineCost | None = None,
) -> SmallerSweep | None:
    """Suggest a smaller sweep; `small_cost` is that of the small network."""
    return suggest_smaller_sweep(flags, plan, cost, limit, lambda _plan: small_cost or cost)


@pytest.mark.slow
@pytest.mark.parametrize("step_seconds", [0.002, 0.05, 0.3])
@pytest.mark.parametrize("limit", [600.0, HOUR])
def test_the_smaller_plan_ends_within_the_time_limit(step_seconds: float, limit: float) -> None:
    flags = StudyFlags(study="cifar10")
    plan, cost = plan_of(flags), machine(step_seconds)
    assert cost.plan_seconds(plan) > limit
    smaller = suggest(flags, plan, cost, limit)
    assert smaller is not None
    shorter = Plan(plan.name, smaller.flags.load().study, plan.dataset)
    assert cost.plan_seconds(shorter) == pytest.approx(smaller.seconds)
    assert cost.plan_seconds(shorter) <= MAX_TIME_FRACTION * limit
    trial_count = MAX_TRIALS if smaller.is_telling else FEW_TRIALS
    assert shorter.study.search.trials == trial_count
    assert len(shorter.study.confirm.seeds) == MAX_SEEDS
    assert shorter.study.scenarios == ("symmetric-0.4",)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sets", "allowed"),
    [((), {200, 100, 50, 30, 20, 10}), (("recipe.schedule.period=20",), {200, 100, 20})],
)
def test_a_shorter_training_ends_with_a_cycle(sets: tuple[str, ...], allowed: set[int]) -> None:
    flags = StudyFlags(study="cifar10", sets=sets, epochs=499)
    plan, proposed = plan_of(flags), set()
    for step_seconds in (0.01, 0.05, 0.2):
        smaller = suggest(flags, plan, machine(step_seconds))
        if smaller is not None and smaller.flags.epochs != flags.epochs:
            recipe = matched_recipe(smaller.flags.load().study)
            assert consists_of_whole_cycles(recipe.epochs, recipe.schedule)
            proposed.add(recipe.epochs)
    assert len(proposed) > 1
    assert proposed <= allowed


@pytest.mark.slow
def test_a_longer_limit_allows_more_samples() -> None:
    flags = StudyFlags(study="cifar10")
    plan, cost = plan_of(flags), machine(0.01)
    samples_shown = []
    for limit in (HOUR / 4, HOUR, 8 * HOUR):
        smaller = suggest(flags, plan, cost, limit)
        assert smaller is not None
        study = smaller.flags.load().study
        samples_shown.append(matched_recipe(study).epochs * (study.subset or 50_000))
    assert samples_shown == sorted(set(samples_shown))


@pytest.mark.slow
def test_what_is_reduced_grows_with_the_cost_of_a_step() -> None:
    flags = StudyFlags(study="cifar10")
    plan = plan_of(flags, tests=10_000)

    def suggestion(step_seconds: float, small_step_seconds: float) -> StudyFlags:
        smaller = suggest(flags, plan, machine(step_seconds), HOUR, machine(small_step_seconds))
        assert smaller is not None
        assert smaller.seconds <= MAX_TIME_FRACTION * HOUR
        study = smaller.flags.load().study
        assert matched_recipe(study).epochs >= FLOORS[-1].epochs
        assert (study.subset or 50_000) >= 10 * FLOORS[-1].samples_per_class
        return smaller.flags

    def has_small_test(flags: StudyFlags) -> bool:
        return f"test_subset={TEST_SUBSET}" in flags.sets

    fast = suggestion(0.01, 1)
    assert (fast.methods, has_small_test(fast)) == (None, False)
    few_methods = suggestion(0.15, 1)
    assert (few_methods.methods, has_small_test(few_methods)) == (("ce", "nal"), True)
    small_network = suggestion(3, 0.15)
    assert small_network.methods == ("ce", "nal")
    assert "backbone.name=resnet-w16" in small_network.sets


@pytest.mark.slow
def test_the_smallest_sweep_is_suggested_if_none_ends_within_the_limit() -> None:
    flags = StudyFlags(study="cifar10")
    plan = plan_of(flags)
    smaller = suggest(flags, plan, machine(100.0), HOUR, machine(50.0))
    assert smaller is not None
    assert smaller.seconds > HOUR
    assert "backbone.name=resnet-w16" in smaller.flags.sets
    assert (smaller.flags.epochs, smaller.flags.subset) == (10, 500)
    # 450 samples in batches of 64; the others are held out.
    assert (smaller.step_count, smaller.is_telling) == (10 * 8, False)


@pytest.mark.slow
def test_a_suggested_sweep_with_enough_steps_tells_methods_apart() -> None:
    flags = StudyFlags(study="cifar10")
    smaller = suggest(flags, plan_of(flags), machine(0.01))
    assert smaller is not None
    assert smaller.step_count >= MIN_TELLING_STEPS
    assert smaller.is_telling


@pytest.mark.slow
def test_runs_are_long_enough_to_tell_methods_apart_rather_than_many() -> None:
    flags = StudyFlags(study="cifar10")
    smaller = suggest(flags, plan_of(flags), machine(0.45))
    assert smaller is not None
    assert smaller.seconds <= MAX_TIME_FRACTION * HOUR
    assert smaller.is_telling
    study = smaller.flags.load().study
    assert study.search.trials == FEW_TRIALS
    assert (study.select.candidates, study.select.seeds) == (1, (2000,))
    assert len(study.confirm.seeds) == MAX_SEEDS


@pytest.mark.slow
def test_runs_are_as_long_as_possible_if_none_can_tell_methods_apart() -> None:
    flags = StudyFlags(study="cifar10")
    smaller = suggest(flags, plan_of(flags), machine(1.0))
    assert smaller is not None
    assert smaller.seconds <= MAX_TIME_FRACTION * HOUR
    assert not smaller.is_telling
    assert smaller.flags.load().study.search.trials == FEW_TRIALS
    assert smaller.step_count == 10 * 29  # 1,800 of 2,000 samples in batches of 64


def test_a_sweep_that_cannot_be_reduced_has_no_suggestion() -> None:
    sets = (
        *("backbone.name=resnet-w16", "recipe.window=1", "recipe.evaluate_every=2"),
        *("select.candidates=1", "select.seeds=[2000]"),
    )
    flags = StudyFlags(
        study="cifar10",
        trials=1,
        seeds=1,
        epochs=10,
        subset=500,
        scenarios=("symmetric-0.4",),
        methods=("ce", "nal"),
        sets=sets,
    )
    assert suggest(flags, plan_of(flags), machine(100.0)) is None


def test_a_suggestion_never_exceeds_the_flags() -> None:
    flags = StudyFlags(
        study="cifar10", trials=3, seeds=1, epochs=8, subset=3000, scenarios=TWO_SCENARIOS
    )
    plan = plan_of(flags)
    smaller = suggest(flags, plan, machine(0.3))
    assert smaller is not None
    study = smaller.flags.load().study
    assert study.search.trials == 3
    assert study.confirm.seeds == (0,)
    assert matched_recipe(study).epochs <= 8
    assert (study.subset or 3000) <= 3000
    assert len(study.scenarios) == 1
    assert set(study.scenarios) <= set(TWO_SCENARIOS)


def test_a_study_without_a_search_is_shrunk() -> None:
    flags = StudyFlags(study="cifar10", methods=("ce",))
    plan, cost = plan_of(flags), machine(0.05)
    smaller = suggest(flags, plan, cost)
    assert smaller is not None
    assert smaller.flags.methods == ("ce",)
    assert smaller.flags.trials is None
    shorter = Plan(plan.name, smaller.flags.load().study, plan.dataset)
    assert cost.plan_seconds(shorter) == pytest.approx(smaller.seconds)
    assert cost.plan_seconds(shorter) <= HOUR


def test_other_flags_are_unchanged() -> None:
    flags = StudyFlags(study="cifar10", sets=("recipe.batch_size=128",))
    smaller = suggest(flags, plan_of(flags), machine(0.05))
    assert smaller is not None
    assert smaller.flags.sets[0] == "recipe.batch_size=128"
    assert replace(smaller.flags, trials=None, epochs=None, seeds=None, subset=None) == replace(
        flags, scenarios=smaller.flags.scenarios, sets=smaller.flags.sets
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sets", "every"),
    [((), "recipe.schedule.period"), (("recipe.schedule={kind: constant}",), "recipe.epochs")],
)
def test_a_shorter_training_is_evaluated_at_the_averaged_epochs(
    sets: tuple[str, ...], every: str
) -> None:
    flags = StudyFlags(study="cifar10", sets=sets)
    smaller = suggest(flags, plan_of(flags), machine(0.2))
    assert smaller is not None
    recipe = matched_recipe(smaller.flags.load().study)
    assert recipe.epochs < 500
    expected = recipe.epochs if every == "recipe.epochs" else recipe.schedule.cycle_length
    assert (recipe.window, recipe.evaluate_every) == (1, expected)


@pytest.mark.slow
def test_a_shorter_training_is_evaluated_where_trials_are_stopped() -> None:
    sets = ("recipe.schedule={kind: constant}", "search.scheduler=asha")
    flags = StudyFlags(study="cifar10", sets=sets)
    smaller = suggest(flags, plan_of(flags), machine(0.2))
    assert smaller is not None
    study = smaller.flags.load().study
    recipe, (first_rung, *_) = matched_recipe(study), rungs_on(study, "nal", study.scenarios[0])
    assert recipe.epochs < 500
    assert recipe.evaluate_every == first_rung < recipe.epochs


# --- a sweep that is to fit


def sizes_of(flags: StudyFlags) -> tuple[int, int, int, int | None]:
    """Return the numbers of trials, seeds, epochs and training samples that flags select."""
    study = flags.load().study
    epochs = matched_recipe(study).epochs
    return study.search.trials, len(study.confirm.seeds), epochs, study.subset


def fit(limit_fraction: float, *sets: str) -> tuple[int, int, int, int | None]:
    """Return the sizes of `digits` that fit into a fraction of its time."""
    flags = StudyFlags(study="digits", sets=sets)
    plan, cost = plan_of(flags, samples=1437), machine(0.01, slots=1)
    limit = limit_fraction * cost.plan_seconds(plan) / MAX_TIME_FRACTION
    sweep = fit_sweep(flags, plan, cost, limit)
    shrunk = replace(plan, study=sweep.flags.load().study)
    assert sweep.seconds == pytest.approx(cost.plan_seconds(shrunk))
    assert sweep.seconds <= MAX_TIME_FRACTION * limit
    assert sweep.flags.sets[: len(sets)] == sets
    return sizes_of(sweep.flags)


def test_a_sweep_that_fits_is_not_shrunk() -> None:
    flags = StudyFlags(study="digits")
    plan, cost = plan_of(flags, samples=1437), machine(0.01)
    limit = cost.plan_seconds(plan) / MAX_TIME_FRACTION
    assert fit_sweep(flags, plan, cost, 1.001 * limit).flags == flags


def test_sizes_are_shrunk_one_after_the_other_and_no_more_than_needed() -> None:
    assert sizes_of(StudyFlags(study="digits")) == (12, 5, 60, None)
    trials, *others = fit(0.95)
    assert FEW_TRIALS < trials < 12
    assert others == [5, 60, None]
    assert fit(0.75) == (FEW_TRIALS, 4, 60, None)
    trials, seeds, epochs, subset = fit(0.5)
    assert (trials, seeds, subset) == (FEW_TRIALS, MAX_SEEDS, None)
    assert epochs in {50, 30, 20}
    assert fit(0.1) == (FEW_TRIALS, MAX_SEEDS, FLOORS[-1].epochs, 500)


def test_the_study_declares_what_is_shrunk_first() -> None:
    assert fit(0.86, "budget.shrink=[seeds, trials]") == (12, MAX_SEEDS, 60, None)
    trials, *others = fit(0.75, "budget.shrink=[seeds, trials]")
    assert FEW_TRIALS < trials < 12
    assert others == [MAX_SEEDS, 60, None]
    grid = ("search.sampler=grid", "search.grid={nal: {lambda: 3, alpha: 4}}")
    assert fit(0.86, *grid) == (12, MAX_SEEDS, 60, None)  # a grid needs all of its trials
    assert fit(0.5, "budget.shrink=[epochs]") == (12, 5, 30, None)
    assert fit(0.5, "budget.shrink=[subset]") == (12, 5, 60, 500)


def test_the_smallest_sweep_is_returned_if_none_fits() -> None:
    flags = StudyFlags(study="digits")
    plan, cost = plan_of(flags, samples=1437), machine(0.01)
    smallest = fit_sweep(flags, plan, cost, 1.0)
    assert sizes_of(smallest.flags) == (FEW_TRIALS, MAX_SEEDS, 10, 500)
    assert smallest.seconds > 1.0
    nothing = replace(flags, sets=("budget.shrink=[]",))
    assert fit_sweep(nothing, plan_of(nothing, samples=1437), cost, 1.0).flags == nothing
