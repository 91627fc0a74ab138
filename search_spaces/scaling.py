"""Scaling of a study to another length of training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trainables.run.schedules import scaled_count, scaled_epoch, whole_cycles

if TYPE_CHECKING:
    from collections.abc import Collection

    from search_spaces.yaml_lines import KeyPath
    from trainables.run.parameters import Parameter, Value
    from trainables.run.recipe import Recipe


@dataclass(frozen=True)
class TrainingLength:
    """Length of training requested in place of the study's own.

    Attributes:
        epochs: number of epochs of the study's own recipe; other recipes are scaled by the same
            factor.
        flag: flag that requested the length, for messages.
        flag_keys: keys set by flags, whose values are not scaled.
    """

    epochs: int
    flag: str = "--epochs"
    flag_keys: frozenset[KeyPath] = frozenset()


def scale_recipe(
    recipe: Recipe, factor: float, unscaled: Collection[str], epochs: int | None = None
) -> Recipe:
    """Return the recipe of a training that is `factor` times as long.

    If the old recipe consists of whole cycles of its schedule, so does the new one. Targets that
    are updated where the learning rate of a cycle is lowest are then still updated there.

    Args:
        recipe: recipe as it is written.
        factor: ratio of the new length of training to the old one.
        unscaled: names of the values that are not scaled: "window", "schedule.period".
        epochs: number of epochs of the new recipe; None derives it from `factor`, in whole cycles
            if the old number was a whole number of cycles.
    """
    schedule: Any = recipe.schedule.scaled(factor)
    keys = [name.removeprefix("schedule.") for name in unscaled if name.startswith("schedule.")]
    schedule = replace(schedule, **{key: getattr(recipe.schedule, key) for key in keys})
    if epochs is None:
        step = (schedule.cycle or 1) if whole_cycles(recipe.epochs, recipe.schedule) else 1
        epochs = scaled_epoch(recipe.epochs, factor, step)
    scaled = recipe.scaled(epochs, schedule)
    return replace(scaled, **{name: getattr(recipe, name) for name in unscaled if "." not in name})


def scale_value(parameter: Parameter, value: Value, before: Recipe, after: Recipe) -> Value:
    """Return the value of a hyperparameter in a training of another length.

    Only values that are numbers of epochs change.

    Args:
        parameter: declaration of the hyperparameter.
        value: value in the training with recipe `before`.
        before: recipe of the original length.
        after: recipe of the new length.
    """
    if not parameter.in_epochs or not isinstance(value, int):
        return value
    lengths = ((before.epochs, before.schedule), (after.epochs, after.schedule))
    return max(int(parameter.low), scaled_count(value, *lengths))


def describe_cut_cycle(before: Recipe, after: Recipe) -> str:
    """Return a warning if scaling a recipe cut the last cycle of its schedule short, else "".

    Args:
        before: recipe of the original length.
        after: recipe of the new length.
    """
    was_whole = whole_cycles(before.epochs, before.schedule)
    if not was_whole or whole_cycles(after.epochs, after.schedule):
        return ""
    return (
        f"last epoch {after.epochs} does not end a cycle of {after.schedule.cycle}: "
        "its learning rate is not the lowest"
    )
