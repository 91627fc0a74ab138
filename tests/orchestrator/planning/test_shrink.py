from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from plans import TWO_SCENARIOS, machine_cost, random_data

from orchestrator.flags import StudyFlags
from orchestrator.planning.plan import Plan
from orchestrator.planning.shrink import (
    MAX_SEEDS,
    MAX_TIME_FRACTION,
    MAX_TRIALS,
    suggest_smaller_sweep,
)
from search_spaces.resolve import matched_recipe
from trainables.datasets.base import Dataset, Split
from trainables.run.schedules import consists_of_whole_cycles

if TYPE_CHECKING:
    from orchestrator.planning.cost import MachineCost

HOUR = 3600.0


def plan_of(flags: StudyFlags, samples: int = 50_000) -> Plan:
    """Return the plan of a shipped study over images of one pixel."""
    data = random_data()
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, samples).astype(np.int64)
    train = Split(np.zeros((samples, 1, 1, 1), dtype=np.uint8), labels)
    return Plan("study", flags.load().study, Dataset("cifar10", data.classes, train, data.test))


def machine(step_seconds: float, slots: int = 2) -> MachineCost:
    return machine_cost(step_seconds, step_seconds / 300, 10**6, slots)


@pytest.mark.slow
@pytest.mark.parametrize("step_seconds", [0.002, 0.05, 0.3])
@pytest.mark.parametrize("limit", [600.0, HOUR])
def test_the_smaller_plan_ends_within_the_time_limit(step_seconds: float, limit: float) -> None:
    flags = StudyFlags(study="cifar10")
    plan, cost = plan_of(flags), machine(step_seconds)
    assert cost.plan_seconds(plan) > limit
    smaller = suggest_smaller_sweep(flags, plan, cost, limit)
    assert smaller is not None
    shorter = Plan(plan.name, smaller.load().study, plan.dataset)
    assert cost.plan_seconds(shorter) <= MAX_TIME_FRACTION * limit
    assert shorter.study.search.trials == MAX_TRIALS
    assert len(shorter.study.confirm.seeds) == MAX_SEEDS
    assert shorter.study.scenarios == ("symmetric-0.4",)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sets", "allowed"),
    [((), {200, 100, 50, 20, 10}), (("recipe.schedule.period=20",), {200, 100, 20})],
)
def test_a_shorter_training_ends_with_a_cycle(sets: tuple[str, ...], allowed: set[int]) -> None:
    flags = StudyFlags(study="cifar10", sets=sets, epochs=499)
    plan, proposed = plan_of(flags), set()
    for step_seconds in (0.01, 0.05, 0.2):
        smaller = suggest_smaller_sweep(flags, plan, machine(step_seconds), HOUR)
        if smaller is not None and smaller.epochs != flags.epochs:
            recipe = matched_recipe(smaller.load().study)
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
        smaller = suggest_smaller_sweep(flags, plan, cost, limit)
        assert smaller is not None
        study = smaller.load().study
        samples_shown.append(matched_recipe(study).epochs * (study.subset or 50_000))
    assert samples_shown == sorted(set(samples_shown))


@pytest.mark.slow
def test_no_suggestion_if_the_smallest_plan_takes_too_long() -> None:
    flags = StudyFlags(study="cifar10")
    assert suggest_smaller_sweep(flags, plan_of(flags), machine(100.0), HOUR) is None


def test_a_suggestion_never_exceeds_the_flags() -> None:
    flags = StudyFlags(
        study="cifar10", trials=3, seeds=1, epochs=8, subset=3000, scenarios=TWO_SCENARIOS
    )
    plan = plan_of(flags)
    smaller = suggest_smaller_sweep(flags, plan, machine(0.3), HOUR)
    assert smaller is not None
    study = smaller.load().study
    assert study.search.trials == 3
    assert study.confirm.seeds == (0,)
    assert matched_recipe(study).epochs <= 8
    assert (study.subset or 3000) <= 3000
    assert len(study.scenarios) == 1
    assert set(study.scenarios) <= set(TWO_SCENARIOS)


def test_a_study_without_a_search_is_shrunk() -> None:
    flags = StudyFlags(study="cifar10", methods=("ce",))
    plan, cost = plan_of(flags), machine(0.05)
    smaller = suggest_smaller_sweep(flags, plan, cost, HOUR)
    assert smaller is not None
    assert smaller.methods == ("ce",)
    assert smaller.trials is None
    shorter = Plan(plan.name, smaller.load().study, plan.dataset)
    assert cost.plan_seconds(shorter) <= HOUR


def test_other_flags_are_unchanged() -> None:
    flags = StudyFlags(study="cifar10", sets=("recipe.batch_size=128",))
    smaller = suggest_smaller_sweep(flags, plan_of(flags), machine(0.05), HOUR)
    assert smaller is not None
    assert smaller.sets[0] == "recipe.batch_size=128"
    assert replace(smaller, trials=None, epochs=None, seeds=None, subset=None) == replace(
        flags, scenarios=smaller.scenarios, sets=smaller.sets
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
    smaller = suggest_smaller_sweep(flags, plan_of(flags), machine(0.2), HOUR)
    assert smaller is not None
    recipe = matched_recipe(smaller.load().study)
    assert recipe.epochs < 500
    expected = recipe.epochs if every == "recipe.epochs" else recipe.schedule.cycle_length
    assert (recipe.window, recipe.evaluate_every) == (1, expected)
