"""A study with another length of training, and all that counts epochs scaled with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from search_spaces.checks import parameters_of
from search_spaces.layers import dotted, leaves
from search_spaces.reading import read_study
from trainables.schedules import scaled_count, whole_cycles

if TYPE_CHECKING:
    from collections.abc import Collection

    from search_spaces.schema import Study
    from search_spaces.yaml_lines import KeyPath
    from trainables.schedules import Schedule


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
        """Write it as plans do: `first_target_epoch 60 -> 2`."""
        return f"{self.path.rpartition('.')[2]} {self.before} -> {self.after}"


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
    schedule = _scaled_schedule(study.recipe.schedule, epochs / study.recipe.epochs, keep)
    recipe = study.recipe.scaled(epochs, schedule)
    before, after = (study.recipe.epochs, study.recipe.schedule), (epochs, schedule)
    for section in ("hyperparameters", "reference"):
        for method, values in plain[section].items():
            known = parameters_of(method)
            plain[section][method] = {
                name: scaled_count(value, before, after) if known[name].in_epochs else value
                for name, value in values.items()
            }
    scaled = {**plain, "recipe": asdict(recipe)}
    for path, value in leaves(study.to_plain()):
        if path in keep and path != ("recipe", "epochs"):
            _put(scaled, path, value)
    return read_study(scaled)


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


def _put(tree: dict[str, Any], path: KeyPath, value: Any) -> None:  # noqa: ANN401 - any YAML value
    for key in path[:-1]:
        tree = tree[str(key)]
    tree[str(path[-1])] = value
