"""Configuration layers of a study: the base files, the file that extends them, and the flags.

The origin of every key is recorded, so that an error names the place that set the faulty value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from search_spaces.yaml_lines import KeyPath, PlainValue

VARIANT_KEYS = ("kind", "name")
"""Keys that select which other keys a mapping has.

A mapping with another value of one of them replaces the inherited mapping: a multistep schedule
inherits nothing from a cosine one.
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """Place at which a value is set.

    Attributes:
        text: text that messages show: "digits.yaml:12" or "--trials".
        level: number of the configuration layer; later layers have higher numbers.
        flag_key: dotted key that a flag set; None if a file set the value.
    """

    text: str
    level: int = 0
    flag_key: str | None = None


class StudyLayers:
    """Nested mappings merged key by key from files and flags, with the origin of every key.

    A list replaces the earlier list as a whole. Null removes a key of earlier layers.

    Attributes:
        tree: the merged mappings.
    """

    def __init__(self, root: Origin) -> None:
        """Create a tree without keys.

        Args:
            root: origin of the top of the tree, reported for keys that no layer sets.
        """
        self.tree: dict[str, Any] = {}
        self._origins: dict[KeyPath, Origin] = {(): root}

    def origin(self, key_path: KeyPath) -> Origin | None:
        """Return the origin of the key at a path; None if no layer sets that key itself."""
        return self._origins.get(key_path)

    def key_paths(self) -> set[KeyPath]:
        """Return the path of every key that a layer sets or removes."""
        return set(self._origins)

    def value(self, key_path: KeyPath) -> Any:  # noqa: ANN401 - any YAML value
        """Return the value at a path; None if there is none."""
        value: Any = self.tree
        for key in key_path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def flag_keys(self) -> frozenset[KeyPath]:
        """Return the path of every key that a flag sets to a value other than null."""
        return frozenset(
            key_path
            for key_path, origin in self._origins.items()
            if origin.flag_key is not None and self.value(key_path) is not None
        )

    def nearest_origin(self, key_path: KeyPath) -> Origin:
        """Return the origin of a key, or else of the innermost mapping around it that has one."""
        while key_path not in self._origins:
            key_path = key_path[:-1]
        return self._origins[key_path]

    def merge(self, layer: dict[str, PlainValue], origin_of: Callable[[KeyPath], Origin]) -> None:
        """Merge the next layer into the tree.

        Args:
            layer: keys and values of the layer.
            origin_of: function that returns the origin of the key at a path of the layer.
        """
        self._merge(self.tree, layer, (), origin_of)

    def merge_value(self, key_path: Sequence[str], value: PlainValue, origin: Origin) -> None:
        """Merge a single value into the tree, as a layer of its own.

        Args:
            key_path: keys that lead to the value.
            value: the new value.
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
            before = target.get(key)
            if (
                isinstance(value, dict)
                and isinstance(before, dict)
                and not _is_other_variant(value, before)
            ):
                self._merge(before, value, child_path, origin_of)
                continue
            for overwritten in [p for p in self._origins if p[: len(child_path)] == child_path]:
                del self._origins[overwritten]
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


def _is_other_variant(mapping: dict[str, Any], other_mapping: dict[str, Any]) -> bool:
    """Return whether two mappings differ in a key of `VARIANT_KEYS` that both have."""
    return any(
        key in mapping and key in other_mapping and mapping[key] != other_mapping[key]
        for key in VARIANT_KEYS
    )


def leaves(tree: Mapping[str, Any], key_path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield key path and value of every leaf of nested mappings; an empty mapping is a leaf.

    A list of mappings is descended into; the path then contains the position in the list.

    Args:
        tree: nested mappings.
        key_path: path of `tree` itself, put before every path.
    """
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*key_path, key))
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            for position, item in enumerate(value):
                yield from leaves(item, (*key_path, key, position))
        else:
            yield (*key_path, key), value


def format_key(key_path: KeyPath) -> str:
    """Return a path as a dotted key: `search.space.nal.lambda`."""
    return ".".join(map(str, key_path))


def split_key(text: str) -> list[str]:
    """Split a dotted key at its dots, except for the dot in `FILE.py:CLASS`."""
    return re.split(r"\.(?!py:)", text)


def parse_key(text: str) -> KeyPath:
    """Return the path that a dotted key stands for; numbers become positions in lists."""
    return tuple(int(key) if key.isdecimal() else key for key in split_key(text) if key)
