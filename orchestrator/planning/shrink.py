"""The largest smaller version of a plan that ends within a given time."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from search_spaces.resolve import matched_recipe, protocol_on
from trainables.errors import StudyError
from trainables.run.protocols import HeldOutCycleEnds
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
    lengths = {whole.epochs: few}
    lengths |= {epochs: _shorter(few, epochs) for epochs in EPOCHS if epochs < whole.epochs}
    subsets = (None, *(subset for subset in SUBSETS if subset < plan.samples))
    for epochs, subset in sorted(
        product(lengths, subsets),
        key=lambda size: size[0] * (size[1] or plan.samples),
        reverse=True,
    ):
        candidate = replace(lengths[epochs], subset=subset or changes.subset)
        try:
            loaded = candidate.load()
        except StudyError:
            continue
        recipe = matched_recipe(loaded.study)
        if epochs < whole.epochs and not whole_cycles(recipe.epochs, recipe.schedule):
            continue
        yield candidate, replace(plan, study=loaded.study)


def _shorter(changes: Changes, epochs: int) -> Changes:
    """Return changes to a shorter training that is evaluated at the epochs that choose alone.

    Evaluating the whole test split often is what short trainings spend their time on.
    """
    sets = (*changes.sets, "recipe.window=1")
    shorter = replace(changes, epochs=epochs, sets=(*sets, "recipe.evaluate_every=1"))
    try:
        study = shorter.load().study
    except StudyError:
        return shorter
    periods = [
        matched_recipe(study, scenario).schedule.cycle or epochs
        for scenario in study.scenarios
        if isinstance(protocol_on(study, scenario), HeldOutCycleEnds)
    ]
    # Without cycle ends, the last epoch is evaluated alone.
    return replace(shorter, sets=(*sets, f"recipe.evaluate_every={math.gcd(*periods) or epochs}"))
