"""Changes that command-line flags make to a study, and the changes to its search that follow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from search_spaces.layers import Origin, StudyLayers, split_key
from search_spaces.yaml_lines import KeyPath, PlainValue, YamlError, parse_yaml
from trainables.errors import StudyError
from trainables.methods import Method, is_method, method_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from search_spaces.references import StudyExtensions


FILE_ONLY_KEYS = ("extends", "sources")
"""Top-level keys that a study file can set, but no flag."""

SELECTION_KEYS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("scenarios", ("search", "scenario")),
    ("methods", ("tune",)),
    ("methods", ("vary",)),
)
"""Top-level key that selects scenarios or methods, and key path of what is limited to them."""


@dataclass(frozen=True, slots=True)
class Change:
    """Change that a command-line flag makes to one key of a study.

    Attributes:
        key: dotted key of the value, such as "search.trials".
        value: new value, as parsed from YAML; None removes the key.
        flag: text that names the flag in messages, such as "--trials".
    """

    key: str
    value: Any
    flag: str


def parse_set_flag(argument: str) -> Change:
    """Parse the argument KEY=VALUE of the flag `--set`, such as `recipe.epochs=5`.

    Raises:
        StudyError: if the argument is not of the form KEY=VALUE, or the value is not valid YAML.
    """
    key, equals, value = (part.strip() for part in argument.partition("="))
    if not equals or not all(split_key(key)):
        raise StudyError(f"--set: write KEY=VALUE, as in --set recipe.epochs=5, got '{argument}'")
    flag = f"--set {key}"
    try:
        return Change(key, parse_yaml(value).value, flag)
    except YamlError as error:
        raise StudyError(f"{flag}: {error.message}") from error


def apply_changes(
    study_layers: StudyLayers,
    changes: Sequence[Change],
    first_layer_index: int,
    extensions: StudyExtensions,
) -> None:
    """Merge the changes made by flags into a study, and adapt the settings of its search.

    If flags, or a study that extends another, select scenarios or methods, the search and the
    varied values of earlier layers are limited to the selected ones. If flags fix a hyperparameter,
    it is removed from the search space and from the reference (the paper's values of searched
    hyperparameters), as are those that are searched only at other values of it. A method is no
    longer tuned once all its hyperparameters are fixed. Settings of the search that a flag sets
    itself are never adapted.

    Args:
        study_layers: layers of the study, changed in place.
        changes: changes in the order in which they are applied.
        first_layer_index: position of the first change among the study's configuration layers.
        extensions: extensions that the study refers to.

    Raises:
        StudyError: if a change sets a key of `FILE_ONLY_KEYS`.
    """
    for layer_index, change in enumerate(changes, start=first_layer_index):
        keys = split_key(change.key)
        if keys[0] in FILE_ONLY_KEYS:
            raise StudyError(f"{change.flag}: '{keys[0]}' can only be set in a study file")
        tree: Any = change.value
        for key in reversed(keys):
            tree = {key: tree}
        origin = Origin(change.flag, layer_index, flag_key=change.key)
        study_layers.merge(*extensions.tree_with_names(tree, partial(_origin_of_flag, origin)))
    _limit_to_selection(study_layers)
    _remove_fixed_from_search(study_layers)


def _origin_of_flag(origin: Origin, _key_path: KeyPath) -> Origin:
    """Return `origin` for any key path, since one flag sets all keys of its change."""
    return origin


def _origin_if_set_by_flag(study_layers: StudyLayers, key_path: KeyPath) -> Origin | None:
    """Return the origin of a key if a flag set exactly this key, else None."""
    origin = study_layers.origin_at(key_path)
    return origin if origin is not None and origin.flag_key is not None else None


def _limit_to_selection(study_layers: StudyLayers) -> None:
    """Limit what follows from the scenarios and methods to those that a later layer selects."""
    for top_key, key_path in SELECTION_KEYS:
        origin = study_layers.origin_at((top_key,))
        selected_names = study_layers.value_at((top_key,))
        old_value = study_layers.value_at(key_path)
        if origin is None or not isinstance(selected_names, list) or not selected_names:
            continue
        replacements: dict[tuple[str, ...], Any] = {}
        if isinstance(old_value, dict):
            names = [name for name in old_value if name not in selected_names]
            replacements = {(*key_path, name): None for name in names}
        elif isinstance(old_value, list) and any(name not in selected_names for name in old_value):
            replacements[key_path] = [name for name in old_value if name in selected_names]
        elif isinstance(old_value, str) and old_value not in selected_names:
            replacements[key_path] = selected_names[0]
        for path, new_value in replacements.items():
            if _is_set_by_earlier_file(study_layers, path, origin):
                study_layers.merge_value(path, new_value, origin)


def _is_set_by_earlier_file(
    study_layers: StudyLayers, key_path: KeyPath, later_origin: Origin
) -> bool:
    """Return whether only files before the layer of another origin set a key and those below it."""
    origins = study_layers.origins_within(key_path)
    return bool(origins) and all(
        origin.flag_key is None and origin.layer_index < later_origin.layer_index
        for origin in origins
    )


def _remove_fixed_from_search(study_layers: StudyLayers) -> None:
    """Remove hyperparameters that flags fix from the search space and the reference values."""
    for key_path in study_layers.flag_key_paths():
        if key_path[:1] != ("hyperparameters",) or len(key_path) != 3:
            continue
        origin = study_layers.nearest_origin(key_path)
        method, hyperparameter = map(str, key_path[1:])
        for section in (("search", "space", method), ("reference", method)):
            search_path = (*section, hyperparameter)
            if study_layers.origin_at(search_path) and not _origin_if_set_by_flag(
                study_layers, search_path
            ):
                study_layers.merge_value(search_path, None, origin)
        fixed_value = study_layers.value_at(key_path)
        _apply_to_conditions(study_layers, method, hyperparameter, fixed_value, origin)
        _remove_from_tune_if_fixed(study_layers, method, origin)


def _apply_to_conditions(
    study_layers: StudyLayers, method: str, name: str, value: PlainValue, origin: Origin
) -> None:
    """Adapt the spaces whose conditions name a hyperparameter that is not searched any more.

    A condition that the value meets is removed, and with the last condition the value that held
    where it was not met. Otherwise, the space and the reference value that depend on the condition
    are removed.

    Args:
        study_layers: layers of the study, changed in place.
        method: name of the method.
        name: name of the hyperparameter.
        value: value of the hyperparameter; None if its own conditions are not met.
        origin: origin of the change.
    """
    spaces = study_layers.value_at(("search", "space", method))
    for other, space in list(spaces.items() if isinstance(spaces, dict) else ()):
        conditions = space.get("when") if isinstance(space, dict) else None
        if not isinstance(conditions, dict) or name not in conditions:
            continue
        allowed = conditions[name]
        if value in (allowed if isinstance(allowed, list) else [allowed]):
            removed: list[tuple[str, ...]] = [("search", "space", method, other, "when", name)]
            if len(conditions) == 1:
                removed.append(("hyperparameters", method, other))
        else:
            removed = [("search", "space", method, other), ("reference", method, other)]
            _apply_to_conditions(study_layers, method, other, None, origin)
        for key_path in removed:
            if study_layers.origin_at(key_path):
                study_layers.merge_value(key_path, None, origin)


def _remove_from_tune_if_fixed(study_layers: StudyLayers, method: str, origin: Origin) -> None:
    """Remove a method from `tune` if it has no hyperparameter left to search."""
    if not is_method(method) or _has_search_space(study_layers, method_of(method)):
        return
    tuned_methods = study_layers.value_at(("tune",))
    if isinstance(tuned_methods, list) and not _origin_if_set_by_flag(study_layers, ("tune",)):
        study_layers.merge_value(
            ("tune",), [name for name in tuned_methods if name != method], origin
        )


def _has_search_space(study_layers: StudyLayers, method: type[Method]) -> bool:
    """Return whether a method has any hyperparameter that a search could vary."""
    search_space = study_layers.value_at(("search", "space", method.name))
    if isinstance(search_space, dict):
        return bool(search_space)
    fixed_names = study_layers.value_at(("hyperparameters", method.name)) or ()
    has_declared_space = any(
        parameter.space and parameter.name not in fixed_names for parameter in method.parameters
    )
    return has_declared_space or bool(method.recipe_space)
