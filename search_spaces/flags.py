"""Changes that command-line flags make to a study, and their consequences for its search."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from search_spaces.layers import Origin, StudyLayers, split_key
from search_spaces.yaml_lines import KeyPath, YamlError, parse_yaml
from trainables.errors import StudyError
from trainables.methods import Method, is_method, method_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from search_spaces.references import StudyExtensions


FILE_ONLY_KEYS = ("extends", "sources")
"""Keys that only a study file can set."""


@dataclass(frozen=True, slots=True)
class Change:
    """One key of a study changed by a flag.

    Attributes:
        key: dotted key of the value, such as "search.trials".
        value: new value as a YAML value; None removes the key.
        flag: name of the flag in messages: "--trials".
    """

    key: str
    value: Any
    flag: str


def parse_set(text: str) -> Change:
    """Parse the argument of `--set`, such as `recipe.epochs=5` with the value in YAML.

    Raises:
        StudyError: if the text is not KEY=VALUE or the value is not valid YAML.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not all(split_key(key)):
        raise StudyError(f"--set: write KEY=VALUE, as in --set recipe.epochs=5, got '{text}'")
    flag = f"--set {key}"
    try:
        return Change(key, parse_yaml(value).value, flag)
    except YamlError as error:
        raise StudyError(f"{flag}: {error.message}") from error


def apply_changes(
    study_layers: StudyLayers,
    changes: Sequence[Change],
    first_level: int,
    extensions: StudyExtensions,
) -> None:
    """Merge changes made by flags into a study, and adapt the settings of its search.

    Settings of the search that a flag sets stay as they are. Otherwise, if scenarios or methods
    are selected, the search is limited to the selected ones. If a hyperparameter is fixed, it is
    removed from the search space and the reference. A method with every hyperparameter fixed is no
    longer tuned.

    Args:
        study_layers: layers of the study, changed in place.
        changes: changes in the order in which they are applied.
        first_level: level of the first change's layer.
        extensions: extensions that the study refers to.

    Raises:
        StudyError: if a change sets a key of `FILE_ONLY_KEYS`.
    """
    for level, change in enumerate(changes, start=first_level):
        keys = split_key(change.key)
        if keys[0] in FILE_ONLY_KEYS:
            raise StudyError(f"{change.flag}: '{keys[0]}' can only be set in a study file")
        tree: Any = change.value
        for key in reversed(keys):
            tree = {key: tree}
        origin = Origin(change.flag, level, flag_key=change.key)
        study_layers.merge(*extensions.tree_with_names(tree, partial(_origin_of_flag, origin)))
    _narrow_search(study_layers)
    _exclude_fixed_from_search(study_layers)


def _origin_of_flag(origin: Origin, _key_path: KeyPath) -> Origin:
    """Return `origin`, whatever the key path, since one flag sets every key of its change."""
    return origin


def _exact_flag_origin(study_layers: StudyLayers, key_path: KeyPath) -> Origin | None:
    """Return the origin of a key if a flag set exactly this key, else None."""
    origin = study_layers.origin(key_path)
    return origin if origin is not None and origin.flag_key is not None else None


def _narrow_search(study_layers: StudyLayers) -> None:
    """Limit the searched scenario and the tuned methods to those that flags selected."""
    for top_key, key_path in (("scenarios", ("search", "scenario")), ("methods", ("tune",))):
        origin, selection = (
            _exact_flag_origin(study_layers, (top_key,)),
            study_layers.value((top_key,)),
        )
        old_value = study_layers.value(key_path)
        if (
            origin is None
            or not isinstance(selection, list)
            or not selection
            or old_value is None
            or _exact_flag_origin(study_layers, key_path)
        ):
            continue
        if isinstance(old_value, list):
            new_value: Any = [item for item in old_value if item in selection]
        else:
            new_value = old_value if old_value in selection else selection[0]
        if new_value != old_value:
            study_layers.merge_value(key_path, new_value, origin)


def _exclude_fixed_from_search(study_layers: StudyLayers) -> None:
    """Remove hyperparameters fixed by flags from the search space and the reference."""
    for key_path in study_layers.flag_keys():
        if key_path[:1] != ("hyperparameters",) or len(key_path) != 3:
            continue
        origin = study_layers.nearest_origin(key_path)
        method, name = map(str, key_path[1:])
        for section in (("search", "space", method), ("reference", method)):
            search_path = (*section, name)
            if study_layers.origin(search_path) and not _exact_flag_origin(
                study_layers, search_path
            ):
                study_layers.merge_value(search_path, None, origin)
        _untune_if_fixed(study_layers, method, origin)


def _untune_if_fixed(study_layers: StudyLayers, method: str, origin: Origin) -> None:
    """Remove a method from `tune` if none of its hyperparameters is left to search."""
    if not is_method(method) or _has_search_space(study_layers, method_of(method)):
        return
    tune = study_layers.value(("tune",))
    if isinstance(tune, list) and not _exact_flag_origin(study_layers, ("tune",)):
        study_layers.merge_value(("tune",), [name for name in tune if name != method], origin)


def _has_search_space(study_layers: StudyLayers, method: type[Method]) -> bool:
    """Return whether a method, when tuned, would have any hyperparameter to search."""
    search_space = study_layers.value(("search", "space", method.name))
    if isinstance(search_space, dict):
        return bool(search_space)
    fixed = study_layers.value(("hyperparameters", method.name)) or ()
    declared = any(
        parameter.space and parameter.name not in fixed for parameter in method.parameters
    )
    return declared or bool(method.recipe_space)
