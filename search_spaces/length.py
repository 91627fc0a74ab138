"""Another length of training, and all that counts epochs scaled with it."""

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
class Length:
    """The length of training that is asked for in the place of a study's.

    Attributes:
        epochs: of the study's own recipe; other recipes are scaled by the same factor.
        flag: that asked for it.
        kept: keys that are not scaled, since flags have set them.
    """

    epochs: int
    flag: str = "--epochs"
    kept: frozenset[KeyPath] = frozenset()


def scaled_recipe(
    recipe: Recipe, factor: float, kept: Collection[str], epochs: int | None = None
) -> Recipe:
    """Return a recipe of a training `factor` times as long.

    What was a whole number of the schedule's cycles becomes the nearest whole number of the new
    ones: targets that moved at a cycle's lowest rate still do.

    Args:
        recipe: as it is written.
        factor: of the training's length.
        kept: what keeps its value: "window", "schedule.period".
        epochs: length asked for; None: `factor` times as long, in whole cycles if it was.
    """
    schedule: Any = recipe.schedule.scaled(factor)
    keys = [name.removeprefix("schedule.") for name in kept if name.startswith("schedule.")]
    schedule = replace(schedule, **{key: getattr(recipe.schedule, key) for key in keys})
    if epochs is None:
        step = (schedule.cycle or 1) if whole_cycles(recipe.epochs, recipe.schedule) else 1
        epochs = scaled_epoch(recipe.epochs, factor, step)
    scaled = recipe.scaled(epochs, schedule)
    return replace(scaled, **{name: getattr(recipe, name) for name in kept if "." not in name})


def scaled_value(parameter: Parameter, value: Value, before: Recipe, after: Recipe) -> Value:
    """Return a hyperparameter in a training of another length; what counts no epochs is as it was.

    Args:
        parameter: which it is.
        value: in the training before.
        before: recipe of that training.
        after: recipe of the other.
    """
    if not parameter.in_epochs or not isinstance(value, int):
        return value
    pair = ((before.epochs, before.schedule), (after.epochs, after.schedule))
    return max(int(parameter.low), scaled_count(value, *pair))


def cut_cycle(before: Recipe, after: Recipe) -> str:
    """Say that a recipe's last epoch ends no cycle of its schedule where it did before, else ""."""
    ended = whole_cycles(before.epochs, before.schedule)
    if not ended or whole_cycles(after.epochs, after.schedule):
        return ""
    return (
        f"last epoch {after.epochs} does not end a cycle of {after.schedule.cycle}: "
        "its learning rate is not the lowest"
    )
