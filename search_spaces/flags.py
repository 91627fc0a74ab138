"""Changes that command-line flags make to a study, and their consequences for its search."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from search_spaces.layers import Layers, Origin, split_key
from search_spaces.yaml_lines import KeyPath, YamlError, parse_yaml
from trainables.errors import StudyError
from trainables.methods import Method, is_method, method_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from search_spaces.references import StudyExtensions


FILE_ONLY = ("extends", "sources")
"""Keys that only a study file can set."""


@dataclass(frozen=True, slots=True)
class Change:
    """One key of a study changed by a flag.

    Attributes:
        path: dotted key: "search.trials".
        value: new value as a YAML value; None removes the key.
        flag: name of the flag in messages: "--trials".
    """

    path: str
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
    layers: Layers, changes: Sequence[Change], first_level: int, extensions: StudyExtensions
) -> None:
    """Merge changes into the layers of a study, and adapt the study's search to them.

    The search is adapted unless flags set it themselves: if scenarios or methods are narrowed, it
    is limited to the remaining ones; if a hyperparameter is fixed, it is removed from the search
    space and the reference; a method with every hyperparameter fixed is no longer tuned.

    Args:
        layers: layers of the study, changed in place.
        changes: changes in the order in which they are applied.
        first_level: level of the first change's layer.
        extensions: extensions that the study refers to.

    Raises:
        StudyError: if a change sets a key of `FILE_ONLY`.
    """
    for level, change in enumerate(changes, start=first_level):
        keys = split_key(change.path)
        if keys[0] in FILE_ONLY:
            raise StudyError(f"{change.flag}: '{keys[0]}' can only be set in a study file")
        tree: Any = change.value
        for key in reversed(keys):
            tree = {key: tree}
        origin = Origin(change.flag, level, flag_key=change.path)
        layers.merge(*extensions.to_names(tree, partial(_constant, origin)))
    _narrow_search(layers)
    _exclude_fixed_from_search(layers)


def _constant(origin: Origin, _path: KeyPath) -> Origin:
    """Return the origin of every key that one flag sets."""
    return origin


def _flag_origin(layers: Layers, path: KeyPath) -> Origin | None:
    """Return the origin of a key if a flag set exactly this key, else None."""
    origin = layers.origin(path)
    return origin if origin is not None and origin.flag_key is not None else None


def _narrow_search(layers: Layers) -> None:
    """Limit the searched scenario and the tuned methods to those that flags selected."""
    for key, path in (("scenarios", ("search", "scenario")), ("methods", ("tune",))):
        origin, selection = _flag_origin(layers, (key,)), layers.value((key,))
        before = layers.value(path)
        if (
            origin is None
            or not isinstance(selection, list)
            or not selection
            or before is None
            or _flag_origin(layers, path)
        ):
            continue
        if isinstance(before, list):
            after: Any = [item for item in before if item in selection]
        else:
            after = before if before in selection else selection[0]
        if after != before:
            layers.merge_value(path, after, origin)


def _exclude_fixed_from_search(layers: Layers) -> None:
    """Remove hyperparameters fixed by flags from the search space and the reference."""
    for path in layers.flag_keys():
        if path[:1] != ("hyperparameters",) or len(path) != 3:
            continue
        origin = layers.nearest_origin(path)
        method, name = map(str, path[1:])
        for section in (("search", "space", method), ("reference", method)):
            key = (*section, name)
            if layers.origin(key) and not _flag_origin(layers, key):
                layers.merge_value(key, None, origin)
        _untune_if_fixed(layers, method, origin)


def _untune_if_fixed(layers: Layers, method: str, origin: Origin) -> None:
    """Remove a method from `tune` if nothing of it is left to search."""
    if not is_method(method) or _has_search_space(layers, method_of(method)):
        return
    tune = layers.value(("tune",))
    if isinstance(tune, list) and not _flag_origin(layers, ("tune",)):
        layers.merge_value(("tune",), [name for name in tune if name != method], origin)


def _has_search_space(layers: Layers, method: type[Method]) -> bool:
    """Return whether a method, when tuned, would have any hyperparameter to search."""
    space = layers.value(("search", "space", method.name))
    if isinstance(space, dict):
        return bool(space)
    fixed = layers.value(("hyperparameters", method.name)) or ()
    declared = any(
        parameter.space and parameter.name not in fixed for parameter in method.parameters
    )
    return declared or bool(method.recipe_space)
