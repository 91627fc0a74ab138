"""A study with another length of training, and all that counts epochs scaled with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from search_spaces.checks import parameters_of
from search_spaces.layers import dotted, leaves
from search_spaces.reading import read_study
from trainables.schedules import scaled_epoch

if TYPE_CHECKING:
    from collections.abc import Collection

    from search_spaces.schema import Study
    from search_spaces.yaml_lines import KeyPath


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
    factor, for all methods, defaults included.

    Args:
        study: the study.
        epochs: new length of its trainings.
        keep: keys that keep their values.

    Raises:
        FieldError: no number of epochs.
    """
    plain = study.to_plain()
    recipe = asdict(study.recipe.scaled(epochs))
    factor = epochs / study.recipe.epochs
    for section in ("hyperparameters", "reference"):
        for method, values in plain[section].items():
            known = parameters_of(method)
            plain[section][method] = {
                name: scaled_epoch(value, factor) if known[name].in_epochs else value
                for name, value in values.items()
            }
    scaled = {**plain, "recipe": recipe}
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


def _put(tree: dict[str, Any], path: KeyPath, value: Any) -> None:  # noqa: ANN401 - any YAML value
    for key in path[:-1]:
        tree = tree[str(key)]
    tree[str(path[-1])] = value
