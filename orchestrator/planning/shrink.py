"""Suggestion of a smaller sweep that ends within a time limit."""

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

MAX_TRIALS = 8
"""Largest number of trials of a suggested plan."""
MAX_SEEDS = 3
"""Largest number of confirm seeds of a suggested plan."""
EPOCH_CHOICES = (200, 100, 50, 20, 10, 4)
"""Numbers of epochs that are tried for a suggested plan."""
SUBSET_CHOICES = (20_000, 10_000, 5_000, 2_000, 1_000, 500, 200, 100)
"""Numbers of training samples that are tried for a suggested plan."""
MARGIN = 0.8
"""Largest fraction of the time limit that a suggested plan may use."""


def smaller_changes(
    changes: Changes, plan: Plan, cost: MachineCost, limit_seconds: float
) -> Changes | None:
    """Return changes of a study so that its sweep ends within a time limit; None if none suffice.

    The suggested sweep has one scenario and few trials and seeds. Its number of epochs times its
    number of samples is the largest that fits. A shortened training ends with a whole cycle of its
    learning-rate schedule.

    Args:
        changes: the study and the changes that the user requested.
        plan: plan of the sweep that the user requested.
        cost: cost of runs on this machine.
        limit_seconds: time limit in seconds.
    """
    for candidate, candidate_plan in _candidates(changes, plan):
        if cost.plan_seconds(candidate_plan) <= MARGIN * limit_seconds:
            return candidate
    return None


def _candidates(changes: Changes, plan: Plan) -> Iterator[tuple[Changes, Plan]]:
    """Yield changes that result in smaller sweeps, with their plans.

    They are in decreasing order of the number of epochs times the number of samples.
    """
    study, full_recipe = plan.study, matched_recipe(plan.study)
    reduced_changes = replace(
        changes,
        trials=min(MAX_TRIALS, study.search.trials) if study.tune else changes.trials,
        seeds=min(MAX_SEEDS, len(study.confirm.seeds)),
        scenarios=(study.search.scenario or study.scenarios[0],)
        if len(study.scenarios) > 1
        else changes.scenarios,
    )
    changes_by_epochs = {full_recipe.epochs: reduced_changes}
    changes_by_epochs |= {
        epochs: _shorten(reduced_changes, epochs)
        for epochs in EPOCH_CHOICES
        if epochs < full_recipe.epochs
    }
    subsets = (None, *(subset for subset in SUBSET_CHOICES if subset < plan.samples))
    for epochs, subset in sorted(
        product(changes_by_epochs, subsets),
        key=lambda size: size[0] * (size[1] or plan.samples),
        reverse=True,
    ):
        candidate = replace(changes_by_epochs[epochs], subset=subset or changes.subset)
        try:
            loaded = candidate.load()
        except StudyError:
            continue
        recipe = matched_recipe(loaded.study)
        if epochs < full_recipe.epochs and not whole_cycles(recipe.epochs, recipe.schedule):
            continue
        yield candidate, replace(plan, study=loaded.study)


def _shorten(changes: Changes, epochs: int) -> Changes:
    """Return changes that shorten the training to a number of epochs.

    The network is evaluated only at the epochs whose accuracy chooses hyperparameters. Frequent
    evaluation on the whole test split would take most of the time of a short training.
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
    # Without cycle ends, only the last epoch is evaluated.
    return replace(shorter, sets=(*sets, f"recipe.evaluate_every={math.gcd(*periods) or epochs}"))
