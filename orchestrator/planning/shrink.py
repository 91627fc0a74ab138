"""Suggestion of a smaller sweep that ends within a time limit."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from search_spaces.resolve import matched_recipe, protocol_on
from trainables.errors import StudyError
from trainables.run.protocols import HeldOutCycleEnds
from trainables.run.schedules import consists_of_whole_cycles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.flags import StudyFlags
    from orchestrator.planning.cost import MachineCost
    from orchestrator.planning.plan import Plan

MAX_TRIALS = 8
"""Largest number of trials of each search of a suggested sweep."""
MAX_SEEDS = 3
"""Largest number of seeds in the confirm phase of a suggested sweep."""
EPOCH_CHOICES = (200, 100, 50, 20, 10, 4)
"""Numbers of epochs per run that a suggested sweep may have."""
SUBSET_CHOICES = (20_000, 10_000, 5_000, 2_000, 1_000, 500, 200, 100)
"""Numbers of training samples that a suggested sweep may use."""
MAX_TIME_FRACTION = 0.8
"""Largest fraction of the time limit that a suggested sweep may take."""


def suggest_smaller_sweep(
    study_flags: StudyFlags, plan: Plan, cost: MachineCost, limit_seconds: float
) -> StudyFlags | None:
    """Suggest changes of a study with which its sweep ends within a time limit.

    The suggested sweep has one scenario and few trials and seeds. The product of the numbers of
    epochs and training samples is the largest that fits into the limit. If there are fewer epochs
    than in the study, the last epoch ends a cycle of the learning-rate schedule.

    Args:
        study_flags: flags by which the user selected the study and changed it.
        plan: plan of the sweep that the user requested.
        cost: measured cost of training on this machine.
        limit_seconds: time limit in seconds.

    Returns:
        The study with the suggested changes; None if no smaller sweep fits into the limit.
    """
    for smaller_changes, smaller_plan in _iter_smaller_sweeps(study_flags, plan):
        if cost.plan_seconds(smaller_plan) <= MAX_TIME_FRACTION * limit_seconds:
            return smaller_changes
    return None


def _iter_smaller_sweeps(study_flags: StudyFlags, plan: Plan) -> Iterator[tuple[StudyFlags, Plan]]:
    """Yield changes of a study that make its sweep smaller, each with the plan of that sweep.

    Sweeps with a larger product of epochs and training samples come first.
    """
    study, full_recipe = plan.study, matched_recipe(plan.study)
    reduced_changes = replace(
        study_flags,
        trials=min(MAX_TRIALS, study.search.trials) if study.tune else study_flags.trials,
        seeds=min(MAX_SEEDS, len(study.confirm.seeds)),
        scenarios=(study.search.scenario or study.scenarios[0],)
        if len(study.scenarios) > 1
        else study_flags.scenarios,
    )
    changes_by_epochs = {full_recipe.epochs: reduced_changes}
    changes_by_epochs |= {
        epochs: _shorten(reduced_changes, epochs)
        for epochs in EPOCH_CHOICES
        if epochs < full_recipe.epochs
    }
    subsets = (None, *(subset for subset in SUBSET_CHOICES if subset < plan.sample_count))
    for epochs, subset in sorted(
        product(changes_by_epochs, subsets),
        key=lambda epochs_and_subset: (
            epochs_and_subset[0] * (epochs_and_subset[1] or plan.sample_count)
        ),
        reverse=True,
    ):
        smaller_changes = replace(changes_by_epochs[epochs], subset=subset or study_flags.subset)
        try:
            loaded_study = smaller_changes.load()
        except StudyError:
            continue
        recipe = matched_recipe(loaded_study.study)
        if epochs < full_recipe.epochs and not consists_of_whole_cycles(
            recipe.epochs, recipe.schedule
        ):
            continue
        yield smaller_changes, replace(plan, study=loaded_study.study)


def _shorten(study_flags: StudyFlags, epochs: int) -> StudyFlags:
    """Return a copy of the changes that also sets the number of epochs of each run.

    The network is evaluated only in the epochs whose accuracy chooses hyperparameters, since
    evaluation on the whole test split would take most of the time of a short run.
    """
    assignments = (*study_flags.sets, "recipe.window=1")
    shortened = replace(study_flags, epochs=epochs, sets=(*assignments, "recipe.evaluate_every=1"))
    try:
        study = shortened.load().study
    except StudyError:
        return shortened
    periods = [
        matched_recipe(study, scenario).schedule.cycle_length or epochs
        for scenario in study.scenarios
        if isinstance(protocol_on(study, scenario), HeldOutCycleEnds)
    ]
    # Without cycles, only the last epoch is evaluated.
    evaluate_every = math.gcd(*periods) or epochs
    return replace(shortened, sets=(*assignments, f"recipe.evaluate_every={evaluate_every}"))
