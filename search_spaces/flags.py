"""What flags change in a study, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search_spaces.layers import Layers, Origin
from search_spaces.yaml_lines import KeyPath, YamlError, parse_yaml
from trainables.errors import StudyError
from trainables.methods import METHODS, Method, method_of

if TYPE_CHECKING:
    from collections.abc import Sequence


FILE_ONLY = ("extends", "sources")


@dataclass(frozen=True, slots=True)
class Change:
    """One key of a study, changed by a flag.

    Attributes:
        path: dotted path of the key: "search.trials".
        value: its new value, as YAML would hold it; None takes back what the file says.
        flag: as messages call it: "--trials".
    """

    path: str
    value: Any
    flag: str


def parse_set(text: str) -> Change:
    """Read what follows `--set`: `recipe.epochs=5`, the value in YAML.

    Raises:
        StudyError: no KEY=VALUE, or a value that is no YAML.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not all(key.split(".")):
        raise StudyError(f"--set: write KEY=VALUE, as in --set recipe.epochs=5, got '{text}'")
    flag = f"--set {key}"
    try:
        return Change(key, parse_yaml(value).value, flag)
    except YamlError as error:
        raise StudyError(f"{flag}: {error.message}") from error


def apply_changes(layers: Layers, changes: Sequence[Change], first_level: int) -> None:
    """Lay changes over a study's files.

    What is searched follows, unless flags say it themselves: where scenarios or methods are
    narrowed, the search keeps to those that are left; where a hyperparameter is fixed, it is
    neither searched nor part of the reference; a method with all of them fixed is not searched.

    Raises:
        StudyError: a key that only a file can say.
    """
    for level, change in enumerate(changes, start=first_level):
        keys = change.path.split(".")
        if keys[0] in FILE_ONLY:
            raise StudyError(f"{change.flag}: '{keys[0]}' can only be said in a file")
        layers.merge_at(keys, change.value, Origin(change.flag, level, flag_key=change.path))
    _narrow_search(layers)
    _free_fixed(layers)


def _said_by_flag(layers: Layers, path: KeyPath) -> Origin | None:
    origin = layers.origin(path)
    return origin if origin is not None and origin.flag_key is not None else None


def _narrow_search(layers: Layers) -> None:
    for key, path in (("scenarios", ("search", "scenario")), ("methods", ("tune",))):
        origin, kept = _said_by_flag(layers, (key,)), layers.value((key,))
        before = layers.value(path)
        if (
            origin is None
            or not isinstance(kept, list)
            or not kept
            or before is None
            or _said_by_flag(layers, path)
        ):
            continue
        if isinstance(before, list):
            left: Any = [item for item in before if item in kept]
        else:
            left = before if before in kept else kept[0]
        if left != before:
            layers.merge_at(path, left, origin)


def _free_fixed(layers: Layers) -> None:
    for path in layers.set_by_flags():
        if path[:1] != ("hyperparameters",) or len(path) != 3:
            continue
        origin = layers.nearest_origin(path)
        method, name = map(str, path[1:])
        for section in (("search", "space", method), ("reference", method)):
            freed = (*section, name)
            if layers.origin(freed) and not _said_by_flag(layers, freed):
                layers.merge_at(freed, None, origin)
        _drop_if_nothing_is_left(layers, method, origin)


def _drop_if_nothing_is_left(layers: Layers, method: str, origin: Origin) -> None:
    if method not in METHODS or _searches(layers, method_of(method)):
        return
    before = layers.value(("tune",))
    if isinstance(before, list) and not _said_by_flag(layers, ("tune",)):
        layers.merge_at(("tune",), [name for name in before if name != method], origin)


def _searches(layers: Layers, method: type[Method]) -> bool:
    """Tell whether anything of a method would be searched where it is tuned."""
    space = layers.value(("search", "space", method.name))
    if isinstance(space, dict):
        return bool(space)
    fixed = layers.value(("hyperparameters", method.name)) or ()
    declared = any(one.space and one.name not in fixed for one in method.parameters)
    return declared or bool(method.recipe_space)
