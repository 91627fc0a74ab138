"""Smaller sweeps that end within a time limit: a suggestion, or one that the user asks for."""

from __future__ import annotations

import math
from bisect import bisect_left
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from orchestrator.planning.sizes import NetworkKey, network_key, phase_sizes
from search_spaces.resolve import matched_recipe, protocol_on
from search_spaces.rungs import grace_on
from trainables.backbones import backbone_of
from trainables.errors import DataError, FieldError, StudyError
from trainables.run.protocols import HeldOutCycleEnds
from trainables.run.schedules import consists_of_whole_cycles
from trainables.run_data.realisation import evaluated_test_positions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.flags import StudyFlags
    from orchestrator.planning.cost import MachineCost
    from orchestrator.planning.plan import Plan
    from search_spaces.schema import Shrinkable, Study
    from trainables.datasets.base import Dataset

MAX_TRIALS = 8
"""Largest number of trials of each search of a suggested sweep."""
FEW_TRIALS = 4
"""Number of trials of each search of a suggested sweep with few runs."""
MAX_SEEDS = 3
"""Largest number of seeds in the confirm phase of a suggested sweep."""
TEST_SUBSET = 2_000
"""Number of test samples of a suggested sweep; the accuracy of one run then has a standard error of
at most 1.1 points."""
SMALL_NETWORK = "resnet-w16"
"""Name of the backbone of a suggested sweep that has another network than the study."""
EPOCH_CHOICES = (200, 100, 50, 30, 20, 10)
"""Numbers of epochs per run that a suggested sweep may have."""
SUBSET_CHOICES = (20_000, 10_000, 5_000, 2_000, 1_000, 500, 200, 100)
"""Numbers of training samples that a suggested sweep may use."""
MAX_TIME_FRACTION = 0.8
"""Largest fraction of the time limit that a suggested sweep may take."""
MIN_TELLING_STEPS = 500
"""Smallest number of training steps per run with which a sweep may tell methods apart.

After 160 steps of a ResNet-20 on 1,000 images of CIFAR-10 (symmetric noise, 40 %), cross entropy is
25 % accurate, and NAL has not converged."""


@dataclass(frozen=True, slots=True)
class Floor:
    """Smallest runs that a suggested sweep may have, unless the requested sweep has smaller ones.

    Attributes:
        epochs: number of epochs.
        samples_per_class: number of training samples, divided by the number of classes.
        steps: number of training steps.
    """

    epochs: int
    samples_per_class: int
    steps: int


FLOORS = (
    Floor(epochs=20, samples_per_class=200, steps=MIN_TELLING_STEPS),
    Floor(epochs=10, samples_per_class=50, steps=MIN_TELLING_STEPS),
    Floor(epochs=10, samples_per_class=50, steps=0),
)
"""Floors in the order in which they are tried. Below the last one, networks learn next to nothing,
and a sweep tells nothing about the methods."""


@dataclass(frozen=True, slots=True)
class SmallerSweep:
    """A suggested sweep.

    Attributes:
        flags: the study with the suggested changes.
        seconds: estimated wall time, in seconds.
        step_count: number of training steps of the shortest run, apart from runs from whose
            predictions noisy labels are drawn.
    """

    flags: StudyFlags
    seconds: float
    step_count: int

    @property
    def is_telling(self) -> bool:
        """Whether runs are long enough to tell methods apart; see `MIN_TELLING_STEPS`."""
        return self.step_count >= MIN_TELLING_STEPS


def suggest_smaller_sweep(
    study_flags: StudyFlags,
    plan: Plan,
    cost: MachineCost,
    limit_seconds: float,
    measure_cost: Callable[[Plan], MachineCost],
) -> SmallerSweep | None:
    """Suggest changes of a study with which its sweep ends within a time limit.

    The study is reduced in this order, until a sweep fits: one scenario, few trials and seeds;
    fewer test samples; only cross entropy and the tuned methods; a small network; few runs before
    the confirm phase. In each of these sweeps, the product of the numbers of epochs and training
    samples is the largest that fits, above a floor (`FLOORS`). If there are fewer epochs than in
    the study, the last epoch ends a cycle of the learning-rate schedule. bf16 is replaced by
    float32 where it is emulated.

    Args:
        study_flags: flags by which the user selected the study and changed it.
        plan: plan of the sweep that the user requested.
        cost: measured cost of the requested sweep on this machine.
        limit_seconds: time limit in seconds.
        measure_cost: function that measures the cost of another sweep on this machine.

    Returns:
        The largest sweep within the limit, or, if no sweep within the limit can tell methods apart,
        that with the longest runs; if none fits, the smallest sweep above the last floor;
        None if that is not smaller than the requested sweep.
    """
    reduced_studies = [
        _ReducedStudy(flags, plan) for flags in _iter_reduced_flags(study_flags, plan, cost)
    ]
    costs_by_network = {_networks(plan): cost}
    max_seconds = MAX_TIME_FRACTION * limit_seconds
    smallest: list[SmallerSweep] = []
    for floor in FLOORS:
        smallest = []
        fitting: list[SmallerSweep] = []
        for reduced_study in reduced_studies:
            sizes = reduced_study.sizes_above(floor)
            if not sizes:
                continue
            networks = _networks(reduced_study.plan_of(sizes[-1]))
            if networks not in costs_by_network:
                costs_by_network[networks] = measure_cost(reduced_study.plan_of(sizes[-1]))
            reduced_cost = costs_by_network[networks]
            smallest.append(reduced_study.sweep_of(sizes[-1], reduced_cost))
            if smallest[-1].seconds > max_seconds:
                continue
            for size in sizes:
                sweep = reduced_study.sweep_of(size, reduced_cost)
                if sweep.seconds <= max_seconds and sweep.step_count >= floor.steps:
                    if sweep.is_telling:
                        return sweep
                    fitting.append(sweep)
                    break
        if fitting:
            return max(fitting, key=lambda sweep: sweep.step_count)
    best = min(smallest, key=lambda sweep: sweep.seconds, default=None)
    return best if best is not None and best.seconds < cost.plan_seconds(plan) else None


def fit_sweep(
    study_flags: StudyFlags, plan: Plan, cost: MachineCost, limit_seconds: float
) -> SmallerSweep:
    """Shrink a sweep until it ends within a time limit, in the order that its study declares.

    Each size in `budget.shrink` is reduced as little as possible, and the next one only if the
    smallest value of this one does not suffice: trials down to `FEW_TRIALS`, seeds of the confirm
    phase down to `MAX_SEEDS`, epochs and training samples down to the last floor (`FLOORS`). If
    there are fewer epochs, the last one ends a cycle of the learning-rate schedule.

    Args:
        study_flags: flags by which the user selected the study and changed it.
        plan: plan of the sweep that the user requested.
        cost: measured cost of the requested sweep on this machine.
        limit_seconds: time limit in seconds.

    Returns:
        The requested sweep if it ends within the limit; the smallest sweep if none does.
    """
    max_seconds = MAX_TIME_FRACTION * limit_seconds
    sweep = _sweep_of(study_flags, plan, cost)
    for size in plan.study.budget.shrink:
        if sweep.seconds <= max_seconds:
            break
        variants = list(_iter_smaller_flags(size, sweep.flags, plan))
        if not variants:
            continue
        position = bisect_left(
            variants,
            x=True,
            hi=len(variants) - 1,
            key=lambda flags: _sweep_of(flags, plan, cost).seconds <= max_seconds,
        )
        sweep = _sweep_of(variants[position], plan, cost)
    return sweep


def _iter_smaller_flags(size: Shrinkable, flags: StudyFlags, plan: Plan) -> Iterator[StudyFlags]:
    """Yield flags with smaller and smaller values of one size of a sweep, down to its floor."""
    study, floor = flags.load().study, FLOORS[-1]
    if size == "trials" and study.tune and study.search.sampler != "grid":
        for count in range(study.search.trials - 1, FEW_TRIALS - 1, -1):
            yield replace(flags, trials=count)
    elif size == "seeds":
        for count in range(len(study.confirm.seeds) - 1, MAX_SEEDS - 1, -1):
            yield replace(flags, seeds=count)
    elif size == "epochs":
        shorter = list(_studies_by_epochs(flags, plan).items())[1:]
        yield from (epoch_flags for epochs, (epoch_flags, _) in shorter if epochs >= floor.epochs)
    elif size == "subset":
        yield from (replace(flags, subset=count) for count in _smaller_subsets(plan, floor))


def _networks(plan: Plan) -> frozenset[tuple[NetworkKey, str]]:
    """Return the networks that a plan trains, with the number format of each."""
    return frozenset(
        (network_key(group.spec), group.spec.recipe.precision)
        for size in phase_sizes(plan)
        for group in size.groups
    )


def _iter_reduced_flags(
    study_flags: StudyFlags, plan: Plan, cost: MachineCost
) -> Iterator[StudyFlags]:
    """Yield flags that reduce a study more and more, except for the size of each run."""
    study, dataset = plan.study, plan.dataset
    flags = replace(
        study_flags,
        trials=_few_trials(study, MAX_TRIALS) if study.tune else study_flags.trials,
        seeds=min(MAX_SEEDS, len(study.confirm.seeds)),
        scenarios=(study.search.scenario or study.scenarios[0],)
        if len(study.scenarios) > 1
        else study_flags.scenarios,
    )
    if study.confirm.cross is not None:
        flags = _with_values(flags, "confirm.cross=null")
    if cost.emulates_bf16(plan):
        flags = _with_values(flags, "recipe.precision=float32")
    yield flags
    if (study.test_subset or len(dataset.test)) > TEST_SUBSET:
        with suppress(DataError):  # a class with too few samples
            evaluated_test_positions(dataset, dataset.test, TEST_SUBSET)
            flags = _with_values(flags, f"test_subset={TEST_SUBSET}")
            yield flags
    methods = tuple(name for name in study.methods if name == "ce" or name in study.tune)
    if study.tune and len(methods) < len(study.methods):
        flags = replace(flags, methods=methods)
        yield flags
    if _accepts_small_network(study, dataset):
        flags = _with_values(flags, f"backbone.name={SMALL_NETWORK}")
        if plan.posterior_specs and study.posterior.backbone is not None:
            flags = _with_values(flags, f"posterior.backbone.name={SMALL_NETWORK}")
        yield flags
    if study.tune:
        few_trials = _few_trials(study, FEW_TRIALS)
        few_seeds = list(study.select.seeds[:1])
        flags = _with_values(flags, "select.candidates=1", f"select.seeds={few_seeds}")
        yield replace(flags, trials=few_trials)


def _few_trials(study: Study, max_count: int) -> int:
    """Return a number of trials up to `max_count`, if the sampler can do with fewer."""
    trial_count = study.search.trials
    return trial_count if study.search.sampler == "grid" else min(max_count, trial_count)


def _accepts_small_network(study: Study, dataset: Dataset) -> bool:
    """Return whether the images of a dataset have a size that the small network accepts."""
    try:
        image_shape = matched_recipe(study).input_shape(dataset.image_shape)
        backbone_of(SMALL_NETWORK).check(image_shape)
    except FieldError:
        return False
    return True


def _with_values(study_flags: StudyFlags, *assignments: str) -> StudyFlags:
    """Return a copy of flags with more values of `--set`."""
    return replace(study_flags, sets=(*study_flags.sets, *assignments))


RunSize = tuple[int, int | None]
"""Number of epochs of each run, and of training samples; None for those of the flags."""


class _ReducedStudy:
    """A reduced study, whose runs can have several sizes."""

    def __init__(self, flags: StudyFlags, plan: Plan) -> None:
        """Create the study.

        Args:
            flags: flags that reduce the study, except for the size of each run.
            plan: plan of the sweep that the user requested.
        """
        self._plan = plan
        self._full_epochs = matched_recipe(plan.study).epochs
        self._by_epochs = _studies_by_epochs(flags, plan)

    def sizes_above(self, floor: Floor) -> list[RunSize]:
        """Return the possible sizes of runs above a floor, the largest first.

        Among sizes of equal cost, those with more samples come first.
        """
        full_count = self._plan.sample_count
        subsets = [None, *_smaller_subsets(self._plan, floor)]
        min_epochs = min(floor.epochs, self._full_epochs)
        epoch_counts = [epochs for epochs in self._by_epochs if epochs >= min_epochs]
        return sorted(
            product(epoch_counts, subsets),
            key=lambda size: (size[0] * (size[1] or full_count), size[1] or full_count),
            reverse=True,
        )

    def sweep_of(self, size: RunSize, cost: MachineCost) -> SmallerSweep:
        """Return the sweep of the study with runs of a size."""
        epochs, subset = size
        flags, _ = self._by_epochs[epochs]
        return _smaller_sweep(
            flags if subset is None else replace(flags, subset=subset), self.plan_of(size), cost
        )

    def plan_of(self, size: RunSize) -> Plan:
        """Return the plan of the study with runs of a size."""
        epochs, subset = size
        _, study = self._by_epochs[epochs]
        if subset is not None:
            study = study.model_copy(update={"subset": subset})
        return replace(self._plan, study=study)


def _studies_by_epochs(flags: StudyFlags, plan: Plan) -> dict[int, tuple[StudyFlags, Study]]:
    """Return flags with fewer and fewer epochs, and their studies, by the number of epochs.

    The first entry has the epochs of the plan. In the others, the last epoch ends a cycle of the
    learning-rate schedule.
    """
    full_epochs = matched_recipe(plan.study).epochs
    studies: dict[int, tuple[StudyFlags, Study]] = {}
    for epochs in (full_epochs, *EPOCH_CHOICES):
        if epochs > full_epochs or epochs in studies:
            continue
        epoch_flags = flags if epochs == full_epochs else _shorten(flags, epochs)
        try:
            study = epoch_flags.load().study
        except StudyError:
            continue
        recipe = matched_recipe(study)
        if epochs == full_epochs or consists_of_whole_cycles(recipe.epochs, recipe.schedule):
            studies[epochs] = epoch_flags, study
    return studies


def _smaller_subsets(plan: Plan, floor: Floor) -> list[int]:
    """Return the smaller numbers of training samples above a floor, the largest first."""
    min_count = floor.samples_per_class * len(plan.dataset.classes)
    return [count for count in SUBSET_CHOICES if min_count <= count < plan.sample_count]


def _sweep_of(flags: StudyFlags, plan: Plan, cost: MachineCost) -> SmallerSweep:
    """Return the sweep of changed flags, which train the same networks as a plan.

    Args:
        flags: flags that select the study and change it.
        plan: plan of the sweep that the user requested.
        cost: measured cost of that sweep.
    """
    return _smaller_sweep(flags, replace(plan, study=flags.load().study), cost)


def _smaller_sweep(flags: StudyFlags, plan: Plan, cost: MachineCost) -> SmallerSweep:
    """Return the sweep of flags, whose plan is known."""
    step_count = min(
        group.spec.recipe.step_count(group.train_count)
        for phase_size in phase_sizes(plan)
        for group in phase_size.groups
        if not group.is_label_source
    )
    return SmallerSweep(flags, cost.plan_seconds(plan), step_count)


def _shorten(study_flags: StudyFlags, epochs: int) -> StudyFlags:
    """Return a copy of the changes that also sets the number of epochs of each run.

    The network is evaluated only in the epochs whose accuracy chooses hyperparameters, since
    evaluation on the whole test split would take most of the time of a short run.
    """
    shortened = _with_values(replace(study_flags, epochs=epochs), "recipe.window=1")
    evaluated_always = _with_values(shortened, "recipe.evaluate_every=1")
    try:
        study = evaluated_always.load().study
    except StudyError:
        return evaluated_always
    periods = [
        matched_recipe(study, scenario).schedule.cycle_length or epochs
        for scenario in study.scenarios
        if isinstance(protocol_on(study, scenario), HeldOutCycleEnds)
    ]
    graces = [
        grace_on(study, method, scenario)
        for method in study.tune
        for scenario in study.search_scenarios
        if study.search.scheduler.compares_epochs
    ]
    # With neither, only the last epoch is evaluated.
    evaluate_every = math.gcd(*periods, *graces) or epochs
    return _with_values(shortened, f"recipe.evaluate_every={evaluate_every}")
