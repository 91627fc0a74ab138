"""Scale the recipe and hyperparameters of a study to another number of epochs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from trainables.run.parameters import Value
from trainables.run.schedules import consists_of_whole_cycles, scale_epoch_count, scale_epochs

if TYPE_CHECKING:
    from collections.abc import Collection

    from search_spaces.yaml_lines import KeyPath
    from trainables.run.parameters import Parameter
    from trainables.run.recipe import Recipe

ValueT = TypeVar("ValueT", bound=Value)


@dataclass(frozen=True)
class TrainingLength:
    """Length of training that a flag requests in place of the study's own.

    Attributes:
        epochs: new number of epochs of the study's own recipe; other recipes are scaled by the same
            factor.
        flag: name of the flag in messages.
        flag_key_paths: paths of the keys that flags set, whose values are not scaled.
    """

    epochs: int
    flag: str = "--epochs"
    flag_key_paths: frozenset[KeyPath] = frozenset()


def scale_recipe(
    recipe: Recipe, factor: float, unscaled_names: Collection[str], epochs: int | None = None
) -> Recipe:
    """Return a recipe scaled to `factor` times as many epochs.

    A recipe whose length is a whole number of learning-rate cycles keeps this property, so that
    targets that are updated where the learning rate is lowest are still updated there.

    Args:
        recipe: recipe before scaling.
        factor: ratio of the new number of epochs to the old one.
        unscaled_names: names of the values that are not scaled, such as "window" or
            "schedule.period".
        epochs: number of epochs of the new recipe; None derives the number from `factor`.
    """
    schedule: Any = recipe.schedule.scaled(factor)
    schedule_keys = [
        name.removeprefix("schedule.") for name in unscaled_names if name.startswith("schedule.")
    ]
    schedule = replace(schedule, **{key: getattr(recipe.schedule, key) for key in schedule_keys})
    if epochs is None:
        step = (
            (schedule.cycle_length or 1)
            if consists_of_whole_cycles(recipe.epochs, recipe.schedule)
            else 1
        )
        epochs = scale_epochs(recipe.epochs, factor, step)
    scaled = recipe.scaled(epochs, schedule)
    return replace(
        scaled, **{name: getattr(recipe, name) for name in unscaled_names if "." not in name}
    )


def scale_value(
    parameter: Parameter,
    value: ValueT,
    old_recipe: Recipe,
    new_recipe: Recipe,
    shortest_epochs: int,
) -> ValueT | int:
    """Scale the value of a hyperparameter that counts epochs; return any other value unchanged.

    Args:
        parameter: declaration of the hyperparameter.
        value: value under the old recipe.
        old_recipe: recipe before scaling.
        new_recipe: recipe after scaling.
        shortest_epochs: number of epochs of the shortest run that uses the value, after scaling. A
            value that a run must reach, or that another epoch must follow, is limited accordingly.
    """
    if not parameter.in_epochs or not isinstance(value, int):
        return value
    old_length, new_length = (
        (recipe.epochs, recipe.schedule) for recipe in (old_recipe, new_recipe)
    )
    scaled_value = scale_epoch_count(value, old_length, new_length)
    if parameter.must_be_reached or parameter.must_be_followed:
        scaled_value = min(scaled_value, shortest_epochs - parameter.must_be_followed)
    return max(int(parameter.low), scaled_value)


def describe_cut_cycle(old_recipe: Recipe, new_recipe: Recipe) -> str:
    """Return a warning if scaling a recipe cut the last learning-rate cycle short, else "".

    Args:
        old_recipe: recipe before scaling.
        new_recipe: recipe after scaling.
    """
    had_whole_cycles = consists_of_whole_cycles(old_recipe.epochs, old_recipe.schedule)
    if not had_whole_cycles or consists_of_whole_cycles(new_recipe.epochs, new_recipe.schedule):
        return ""
    return (
        f"the last epoch, {new_recipe.epochs}, does not end a learning-rate cycle of "
        f"{new_recipe.schedule.cycle_length} epochs: its learning rate is not the lowest; "
        f"a multiple of {new_recipe.schedule.cycle_length} epochs ends at the lowest"
    )
