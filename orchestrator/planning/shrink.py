"""The largest smaller version of a plan that ends within a given time."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from search_spaces.resolve import matched_recipe
from trainables.errors import StudyError
from trainables.run.schedules import whole_cycles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.flags import Changes
    from orchestrator.planning.cost import MachineCost
    from orchestrator.planning.plan import Plan

MOST_TRIALS = 8
MOST_SEEDS = 3
EPOCHS = (200, 100, 50, 20, 10, 4)
SUBSETS = (20_000, 10_000, 5_000, 2_000, 1_000, 500, 200, 100)
MARGIN = 0.8
"""Largest fraction of the time limit that a suggested plan may use."""


def smaller_changes(
    changes: Changes, plan: Plan, cost: MachineCost, limit_seconds: float
) -> Changes | None:
    """Return changes whose plan ends within the limit, or None if even the smallest does not.

    One scenario, few trials and seeds first; then, of all shorter trainings on fewer samples that
    fit, the one that shows the networks most samples. A shorter training ends with a cycle of its
    schedule.

    Args:
        changes: as typed.
        plan: what they ask for.
        cost: measured on this machine.
        limit_seconds: allowed wall time.
    """
    for candidate, candidate_plan in _candidates(changes, plan):
        if cost.plan_seconds(candidate_plan) <= MARGIN * limit_seconds:
            return candidate
    return None


def _candidates(changes: Changes, plan: Plan) -> Iterator[tuple[Changes, Plan]]:
    """Yield smaller changes and their plans, those that show the networks most samples first."""
    study, whole = plan.study, matched_recipe(plan.study)
    few = replace(
        changes,
        trials=min(MOST_TRIALS, study.search.trials) if study.tune else changes.trials,
        seeds=min(MOST_SEEDS, len(study.confirm.seeds)),
        scenarios=(study.search.scenario or study.scenarios[0],)
        if len(study.scenarios) > 1
        else changes.scenarios,
    )
    lengths = (whole.epochs, *(epochs for epochs in EPOCHS if epochs < whole.epochs))
    subsets = (None, *(subset for subset in SUBSETS if subset < plan.samples))
    for epochs, subset in sorted(
        product(lengths, subsets),
        key=lambda size: size[0] * (size[1] or plan.samples),
        reverse=True,
    ):
        shorter = epochs < whole.epochs
        candidate = replace(
            few,
            epochs=epochs if shorter else changes.epochs,
            subset=subset or changes.subset,
            # Evaluating the whole test split often is what short trainings spend time on.
            sets=(*changes.sets, "recipe.window=1", f"recipe.evaluate_every={epochs}")
            if shorter
            else changes.sets,
        )
        try:
            loaded = candidate.load()
        except StudyError:
            continue
        if shorter and not whole_cycles(epochs, matched_recipe(loaded.study).schedule):
            continue
        yield candidate, replace(plan, study=loaded.study)
