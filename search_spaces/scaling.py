"""A study with another length of training, and all that counts epochs scaled with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from search_spaces.layers import dotted, leaves
from search_spaces.reading import read_study
from search_spaces.tunable import tunable_of
from trainables.schedules import scaled_count, scaled_epoch, whole_cycles

if TYPE_CHECKING:
    from collections.abc import Collection

    from search_spaces.schema import MethodRecipe, Override, Study
    from search_spaces.yaml_lines import KeyPath
    from trainables.recipe import Recipe
    from trainables.schedules import Schedule


_BY_METHOD = ("hyperparameters", "reference", "recipes")
"""Sections whose keys are methods."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """One value that changed with the length of training.

    Attributes:
        path: its dotted key.
        before: as the study has it.
        after: as runs will have it.
    """

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        """Write it as plans do: `epochs 500 -> 20`, `nal.first_target_epoch 60 -> 2`."""
        keys = self.path.split(".")
        owners = [one for section, one in pairwise(keys) if section in _BY_METHOD]
        return f"{'.'.join([*owners, keys[-1]])} {self.before} -> {self.after}"


def with_epochs(study: Study, epochs: int, keep: Collection[KeyPath] = ()) -> Study:
    """Return the study with trainings of `epochs` epochs.

    The schedule, the window and every hyperparameter that counts epochs are scaled by the same
    factor, for all methods, defaults included. What was a whole number of the schedule's cycles
    becomes the nearest whole number of the new ones: targets that moved at a cycle's lowest rate
    still do.

    Args:
        study: the study.
        epochs: new length of its trainings.
        keep: keys that keep their values.

    Raises:
        FieldError: no number of epochs.
    """
    plain = study.to_plain()
    factor = epochs / study.recipe.epochs
    schedule = _scaled_schedule(study.recipe.schedule, factor, keep)
    recipe = study.recipe.scaled(epochs, schedule)
    plain["recipe"] = asdict(recipe)
    recipes = {
        method: (own.recipe, _scaled(own.recipe, factor)) for method, own in study.recipes.items()
    }
    for method, (_, after) in recipes.items():
        _put_recipe(plain["recipes"][method], after, study.recipes[method], factor)
    for section in ("hyperparameters", "reference"):
        for method, values in plain[section].items():
            pair = recipes.get(method, (study.recipe, recipe))
            plain[section][method] = _scaled_values(method, values, *pair)
    for override, changed in zip(study.overrides, plain["overrides"], strict=True):
        _scale_override(study, override, changed, factor)
    for path, value in leaves(study.to_plain()):
        if path in keep and path != ("recipe", "epochs"):
            _put(plain, path, value)
    return read_study(plain)


def _scale_override(
    study: Study, override: Override, changed: dict[str, Any], factor: float
) -> None:
    if override.recipe is not None:
        changed["recipe"] = asdict(_scaled(override.recipe, factor))
    for method, own in override.recipes.items():
        _put_recipe(changed["recipes"][method], _scaled(own.recipe, factor), own, factor)
    for method, values in changed.get("hyperparameters", {}).items():
        before = study.recipe_of(method, override.scenario)
        pair = (before, _scaled(before, factor))
        changed["hyperparameters"][method] = _scaled_values(method, values, *pair)


def _put_recipe(plain: dict[str, Any], recipe: Recipe, own: MethodRecipe, factor: float) -> None:
    plain["recipe"] = asdict(recipe)
    plain["stages"] = {role: asdict(_scaled(one, factor)) for role, one in own.stages.items()}


def _scaled(recipe: Recipe, factor: float) -> Recipe:
    """Return a recipe of a training `factor` times as long, in whole cycles if it was."""
    schedule = recipe.schedule.scaled(factor)
    whole = whole_cycles(recipe.epochs, recipe.schedule)
    step = (schedule.cycle or 1) if whole else 1
    return recipe.scaled(scaled_epoch(recipe.epochs, factor, step), schedule)


def _scaled_values(
    method: str, values: dict[str, Any], before: Recipe, after: Recipe
) -> dict[str, Any]:
    known = tunable_of(method)
    pair = ((before.epochs, before.schedule), (after.epochs, after.schedule))
    return {
        name: max(int(known[name].low), scaled_count(value, *pair))
        if known[name].in_epochs
        else value
        for name, value in values.items()
    }


def list_scaled(before: Study, after: Study) -> list[Scaled]:
    """List what differs between a study and the same study with another length of training."""
    old = dict(leaves(before.to_plain()))
    return [
        Scaled(dotted(path), old[path], value)
        for path, value in leaves(after.to_plain())
        if path in old and old[path] != value
    ]


def cut_cycle(before: Study, after: Study) -> str:
    """Say that a study's last epoch ends no cycle of its schedule where it did before, else ""."""
    epochs, schedule = after.recipe.epochs, after.recipe.schedule
    ended = whole_cycles(before.recipe.epochs, before.recipe.schedule)
    if not ended or whole_cycles(epochs, schedule):
        return ""
    return (
        f"last epoch {epochs} does not end a cycle of {schedule.cycle}: "
        "its learning rate is not the lowest"
    )


def _scaled_schedule(schedule: Schedule, factor: float, keep: Collection[KeyPath]) -> Schedule:
    kept = {
        str(path[-1]): getattr(schedule, str(path[-1]))
        for path in keep
        if path[:-1] == ("recipe", "schedule")
    }
    return replace(schedule.scaled(factor), **kept)


def _put(tree: Any, path: KeyPath, value: Any) -> None:  # noqa: ANN401 - any YAML value
    for key in path[:-1]:
        tree = tree[key]
    tree[path[-1]] = value
