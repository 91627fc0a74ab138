"""Configuration layers of a study, merged into one tree: base files, the study file and the flags.

The origin of every key is recorded, so that an error names the file and line, or the flag, that set
the faulty value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from search_spaces.yaml_lines import KeyPath, PlainValue

VARIANT_KEYS = ("kind", "name")
"""Keys whose value determines which other keys a mapping may have.

If a later layer changes the value of such a key, its mapping replaces the earlier one as a whole: a
multistep schedule inherits nothing from a cosine schedule.
"""

INTERVAL_KEYS = frozenset(("low", "high"))
"""Keys of a search space that is an interval; one that is a list has the key `choices` instead."""

PRESET_KEY = "preset"
"""Key whose value stands for a group of values of the mapping that contains it.

If a later layer sets such a key, the values of earlier layers are removed from the mapping, except
those that flags set: the flags of one command hold together, whatever their order.
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """File and line, or command-line flag, that set a value.

    Attributes:
        label: text that messages show: "digits.yaml:12" or "--trials".
        layer_index: position of the configuration layer; later layers take precedence.
        flag_key: dotted key that the flag set; None if a file set the value.
        inherited_at: file and line of the `extends` by which the study inherits the value; "" if
            the study's own file or a flag set the value.
    """

    label: str
    layer_index: int = 0
    flag_key: str | None = None
    inherited_at: str = ""


class StudyLayers:
    """Study merged key by key from files and flags, with the origin of every key.

    A list replaces the earlier list as a whole. Null removes a key of earlier layers.

    Attributes:
        tree: nested mappings with the merged keys and values.
    """

    def __init__(self, root_origin: Origin) -> None:
        """Create a study without keys.

        Args:
            root_origin: origin reported for keys that no layer sets.
        """
        self.tree: dict[str, Any] = {}
        self._origins: dict[KeyPath, Origin] = {(): root_origin}

    def origin_at(self, key_path: KeyPath) -> Origin | None:
        """Return the origin of the key at a path; None if no layer sets this very key."""
        return self._origins.get(key_path)

    def origins_within(self, key_path: KeyPath) -> list[Origin]:
        """Return the origins of the key at a path and of all keys below it."""
        return [
            origin for path, origin in self._origins.items() if path[: len(key_path)] == key_path
        ]

    def key_paths(self) -> set[KeyPath]:
        """Return the paths of all keys that a layer sets or removes."""
        return set(self._origins)

    def value_at(self, key_path: KeyPath) -> Any:  # noqa: ANN401 - any YAML value
        """Return the merged value at a path; None if no layer sets one."""
        value: Any = self.tree
        for key in key_path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def is_set_later(self, key_path: KeyPath, other_key_path: KeyPath) -> bool:
        """Return whether a layer sets or removes a key after the last one that sets another key.

        False if no layer sets one of the keys.
        """
        origin, other_origin = self.origin_at(key_path), self.origin_at(other_key_path)
        return (
            origin is not None
            and other_origin is not None
            and origin.layer_index > other_origin.layer_index
        )

    def removing_origin(self, key_path: KeyPath) -> Origin | None:
        """Return the origin of the null that removed a key or a mapping around it; None if none."""
        for length in range(1, len(key_path) + 1):
            origin = self.origin_at(key_path[:length])
            if origin is not None and self.value_at(key_path[:length]) is None:
                return origin
        return None

    def flag_key_paths(self) -> frozenset[KeyPath]:
        """Return the paths of all keys that flags set to a value other than null."""
        return frozenset(
            key_path
            for key_path, origin in self._origins.items()
            if origin.flag_key is not None and self.value_at(key_path) is not None
        )

    def nearest_origin(self, key_path: KeyPath) -> Origin:
        """Return the origin of a key, or of the innermost mapping around it that has an origin."""
        while key_path not in self._origins:
            key_path = key_path[:-1]
        return self._origins[key_path]

    def merge(self, layer: dict[str, PlainValue], origin_of: Callable[[KeyPath], Origin]) -> None:
        """Merge a configuration layer, which takes precedence over all earlier ones.

        Args:
            layer: nested mappings of the layer.
            origin_of: function that returns the origin of the key at a path of the layer.
        """
        self._merge(self.tree, layer, (), origin_of)

    def merge_value(self, key_path: Sequence[str], value: PlainValue, origin: Origin) -> None:
        """Set a single value, which takes precedence over all earlier layers.

        Args:
            key_path: keys that lead to the value.
            value: new value; None removes the key.
            origin: origin of the value.
        """
        layer: dict[str, PlainValue] = {key_path[-1]: value}
        for key in reversed(key_path[:-1]):
            layer = {key: layer}
        self.merge(layer, lambda _path: origin)

    def _merge(
        self,
        target: dict[str, Any],
        layer: dict[str, PlainValue],
        key_path: KeyPath,
        origin_of: Callable[[KeyPath], Origin],
    ) -> None:
        for key, value in layer.items():
            child_path = (*key_path, key)
            earlier_value = target.get(key)
            if (
                isinstance(value, dict)
                and isinstance(earlier_value, dict)
                and not _is_other_variant(value, earlier_value)
            ):
                if value.get(PRESET_KEY) is not None:
                    self._remove_file_values(child_path, origin_of((*child_path, PRESET_KEY)))
                self._merge(earlier_value, value, child_path, origin_of)
                continue
            for old_path in [p for p in self._origins if p[: len(child_path)] == child_path]:
                del self._origins[old_path]
            self._origins[child_path] = origin_of(child_path)
            if value is None:
                target.pop(key, None)
            elif isinstance(value, dict):
                target[key] = {}
                self._merge(target[key], value, child_path, origin_of)
            else:
                target[key] = value
                positions = range(len(value)) if isinstance(value, list) else ()
                self._origins.update(
                    {(*child_path, n): origin_of((*child_path, n)) for n in positions}
                )

    def _remove_file_values(self, key_path: KeyPath, origin: Origin) -> None:
        """Remove the values that files set from a mapping of the tree, on behalf of `origin`."""
        for name in list(self.value_at(key_path)):
            if self.nearest_origin((*key_path, name)).flag_key is None:
                self.merge_value((*map(str, key_path), name), None, origin)


def _is_other_variant(mapping: dict[str, Any], other_mapping: dict[str, Any]) -> bool:
    """Return whether two mappings cannot be merged, since their keys are those of two variants.

    They differ in a key of `VARIANT_KEYS` that both have, or one is an interval of a search space
    and the other one a list of choices.
    """
    return any(
        key in mapping and key in other_mapping and mapping[key] != other_mapping[key]
        for key in VARIANT_KEYS
    ) or any(
        "choices" in one and not INTERVAL_KEYS.isdisjoint(other)
        for one, other in ((mapping, other_mapping), (other_mapping, mapping))
    )


def iter_leaves(tree: Mapping[str, Any], key_path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield the key path and value of every leaf of nested mappings; an empty mapping is a leaf.

    Mappings inside lists are iterated as well; their paths contain the position in the list.

    Args:
        tree: nested mappings.
        key_path: path of `tree` itself, which every yielded path begins with.
    """
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from iter_leaves(value, (*key_path, key))
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            for position, item in enumerate(value):
                yield from iter_leaves(item, (*key_path, key, position))
        else:
            yield (*key_path, key), value


def format_key(key_path: KeyPath) -> str:
    """Format a key path as a dotted key, such as `search.space.nal.lambda`."""
    return ".".join(map(str, key_path))


def split_key(dotted_key: str) -> list[str]:
    """Split a dotted key at its dots, except for the dot in `FILE.py:CLASS`."""
    return re.split(r"\.(?!py:)", dotted_key)


def parse_key(dotted_key: str) -> KeyPath:
    """Convert a dotted key to a key path; numbers become positions in lists."""
    return tuple(int(key) if key.isdecimal() else key for key in split_key(dotted_key) if key)
