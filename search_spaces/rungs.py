"""Rungs: epochs after which the trials of a search are compared, and may be stopped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search_spaces.layers import format_key
from search_spaces.resolve import matched_recipe, protocol_on, resolve
from search_spaces.schedulers import FACTOR, GRACE, THRESHOLD
from trainables.errors import FieldError
from trainables.methods import method_of
from trainables.run.parameters import ChoiceSpace
from trainables.run.protocols import HeldOutCycleEnds
from trainables.run.schedules import scale_epoch_count

if TYPE_CHECKING:
    from search_spaces.schema import Study
    from search_spaces.yaml_lines import KeyPath
    from trainables.run.parameters import AnySpace, Scalar
    from trainables.run.protocols import Protocol
    from trainables.run.recipe import Recipe

GRACE_PATH: KeyPath = ("search", "scheduler", "grace")
"""Path of the key of the grace period."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """What decides which epochs can be rungs of a search.

    Attributes:
        method: name of the method that is searched.
        scenario: name of the scenario on which it is searched.
        recipe: recipe of the trials.
        protocol: rule for the epochs whose accuracy is compared.
        onset: last epoch before the searched values can show in full; 0 if they do from the start.
        onset_name: name of the method's parameter that sets `onset`; "" for none.
    """

    method: str
    scenario: str
    recipe: Recipe
    protocol: Protocol
    onset: int
    onset_name: str

    def epochs_compared_at(self, rung: int) -> tuple[int, ...]:
        """Return the epochs whose accuracies are averaged at a rung."""
        epochs = self.protocol.averaged_epochs(self.recipe, rung)
        return tuple(epoch for epoch in epochs if self.recipe.evaluates(epoch))

    def rungs(self, grace: int, factor: int) -> tuple[int, ...]:
        """Return the rungs from the grace period on, each `factor` times the one before."""
        rungs = []
        while grace < self.recipe.epochs:
            rungs.append(grace)
            grace *= factor
        return tuple(rungs)

    def default_grace(self, factor: int) -> int | None:
        """Return the shortest grace period after which all compared epochs show the values in full.

        None if the runs have too few epochs for one.
        """
        for grace in range(self.onset + 1, self.recipe.epochs):
            is_allowed = not self.refusal(grace, factor)
            if is_allowed and self.protocol.averaged_epochs(self.recipe, grace)[0] > self.onset:
                return grace
        return None

    def refusal(self, grace: int, factor: int) -> str:
        """Return why a grace period is not allowed; "" if it is."""
        if grace >= self.recipe.epochs:
            return (
                f"{grace} leaves nothing to stop, since a run on {self.scenario} has "
                f"{self.recipe.epochs} epochs"
            )
        if grace <= self.onset:
            return (
                f"{grace} is too short: {self.onset_name} of {self.method} on {self.scenario} is "
                f"{self.onset}, and until that epoch has ended the searched values cannot show in "
                "full"
            )
        period, window = self.recipe.schedule.cycle_length or 1, self.recipe.window
        if isinstance(self.protocol, HeldOutCycleEnds):
            if grace % period:
                return (
                    f"{grace} is no end of a cycle of the learning rate, which has {period} epochs "
                    f"on {self.scenario}, and trials are compared at such ends"
                )
        elif grace < window:
            return (
                f"{grace} is shorter than recipe.window, the {window} epochs whose mean accuracy "
                "is compared"
            )
        for rung in self.rungs(grace, factor):
            if not self.epochs_compared_at(rung):
                return (
                    f"the mean after epoch {rung} would be over no epoch, since only those "
                    f"divisible by {self.recipe.evaluate_every} are evaluated "
                    "(recipe.evaluate_every)"
                )
        return ""


def _bounds(space: AnySpace | None) -> tuple[Scalar, ...]:
    """Return values of a space among which are its smallest and its largest; () without a space."""
    if space is None:
        return ()
    return space.choices if isinstance(space, ChoiceSpace) else space.ends


def ladder_on(study: Study, method: str, scenario: str) -> Ladder:
    """Return what decides which epochs can be rungs of the search of a method on a scenario."""
    resolved = resolve(study, method, scenario)
    space = study.space_of(method)
    onsets = {
        parameter.name: max(
            int(epoch)
            for epoch in (
                resolved.hyperparameters.number(parameter.name),
                *_bounds(space.get(parameter.name)),
            )
        )
        for parameter in method_of(method).parameters
        if parameter.must_be_reached or parameter.must_be_followed
    }
    onset_name = max(onsets, key=onsets.__getitem__, default="")
    return Ladder(
        method,
        scenario,
        resolved.recipe,
        protocol_on(study, scenario),
        onset=onsets.get(onset_name, 0),
        onset_name=onset_name,
    )


def grace_on(study: Study, method: str, scenario: str) -> int:
    """Return the grace period of a search: the number of epochs before a trial may be stopped.

    A grace period that the study states is scaled with the length of training.

    Args:
        study: study whose scheduler compares trials after epochs.
        method: name of a tuned method.
        scenario: name of the searched scenario.

    Raises:
        FieldError: if the stated grace period is not allowed, or the runs are too short for one.
    """
    ladder, scheduler = ladder_on(study, method, scenario), study.search.scheduler
    factor = int(scheduler.settings.number(FACTOR))
    default = ladder.default_grace(factor)
    length = study.training_length
    is_scaled = length is not None and GRACE_PATH not in length.flag_key_paths
    if GRACE in scheduler.settings:
        grace = int(scheduler.settings.number(GRACE))
        if is_scaled:
            stated_recipe = matched_recipe(study.with_training_length(None), scenario)
            grace = scale_epoch_count(
                grace,
                (stated_recipe.epochs, stated_recipe.schedule),
                (ladder.recipe.epochs, ladder.recipe.schedule),
            )
        refusal = ladder.refusal(grace, factor)
        if not refusal:
            return grace
        if not is_scaled:
            remedy = "use none" if default is None else f"set {default}, or leave grace out"
            raise FieldError(format_key(GRACE_PATH), f"{refusal}: {remedy}")
    if default is None:
        onset = f", {ladder.onset_name} is {ladder.onset}" if ladder.onset else ""
        raise FieldError(
            format_key(GRACE_PATH[:-1]),
            f"{scheduler.kind} finds no epoch after which runs of {method} on {scenario} could be "
            f"compared: they have {ladder.recipe.epochs} epochs{onset}, and the mean over the "
            f"{ladder.protocol.epochs_text} is compared: train for more epochs, or use none",
        )
    return default


def rungs_on(study: Study, method: str, scenario: str) -> tuple[int, ...]:
    """Return the rungs of the search of a method on a scenario, ascending.

    The arguments and errors are those of `grace_on`.
    """
    factor = int(study.search.scheduler.settings.number(FACTOR))
    return ladder_on(study, method, scenario).rungs(grace_on(study, method, scenario), factor)


def stopping_identity(study: Study, method: str, scenario: str) -> dict[str, Any]:
    """Return what decides which trials of a search are stopped, as JSON values; {} for nothing."""
    scheduler = study.search.scheduler
    if scheduler.kind == "none":
        return {}
    identity = {"kind": scheduler.kind, **scheduler.settings}
    if scheduler.compares_epochs:
        identity[GRACE] = grace_on(study, method, scenario)
    return identity


def describe_scheduler(study: Study, method: str, scenario: str) -> str:
    """Describe the rule that stops trials of a search early; "" for none.

    The arguments are those of `grace_on`.
    """
    scheduler = study.search.scheduler
    if not scheduler.compares_epochs:
        return (
            f"wilcoxon: the other seeds of a trial are left out once it is worse than the best one "
            f"on the same seeds (p < {scheduler.settings.number(THRESHOLD):g})"
            if scheduler.kind == "wilcoxon"
            else ""
        )
    epochs = [str(rung) for rung in rungs_on(study, method, scenario)]
    epochs_text = f"epoch {epochs[0]}" if len(epochs) == 1 else f"epochs {', '.join(epochs)}"
    start_text = ", or after later ones of these only" if scheduler.kind == "hyperband" else ""
    return (
        f"{scheduler.kind}: after {epochs_text}{start_text}, a trial goes on if it is among the "
        f"best {100 / scheduler.settings.number(FACTOR):.0f} % so far"
    )


def least_seed_count(threshold: float) -> int:
    """Return the smallest number of seeds with which Wilcoxon's test can save one.

    The smallest one-sided p-value of n pairs is 2 ** -n, and Optuna tests two pairs or more.
    """
    return max(2, math.floor(-math.log2(threshold)) + 1) + 1
