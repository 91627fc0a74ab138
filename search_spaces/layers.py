"""A study as layers laid over one another: a file, those that extend it, and flags.

Every key remembers where it was said last, so that a fault can be shown where it was made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from search_spaces.yaml_lines import KeyPath, Plain

IDENTITIES = ("kind", "name")
"""A mapping that says another of these replaces what it is laid over: a multistep schedule takes
nothing over from a cosine one."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was said.

    Attributes:
        text: for people: "digits.yaml:12" or "--trials".
        level: number of the layer; the higher, the later it was laid.
        flag_key: the dotted key that a flag changed; None if a file said it.
    """

    text: str
    level: int = 0
    flag_key: str | None = None


class Layers:
    """Nested mappings that later layers change key by key.

    Lists are replaced as a whole. A null takes back what earlier layers say of a key.
    """

    def __init__(self, root: Origin) -> None:
        self.tree: dict[str, Any] = {}
        self._origins: dict[KeyPath, Origin] = {(): root}

    def origin(self, path: KeyPath) -> Origin | None:
        """Return where exactly this key was said; None if no layer says it."""
        return self._origins.get(path)

    def paths(self) -> set[KeyPath]:
        """Return the path of every key that a layer says, taken back or not."""
        return set(self._origins)

    def value(self, path: KeyPath) -> Any:  # noqa: ANN401 - any YAML value
        """Return what stands at a path; None if nothing does."""
        value: Any = self.tree
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def set_by_flags(self) -> frozenset[KeyPath]:
        """Return the path of every key that a flag has set, those it takes back left out."""
        said = [path for path, origin in self._origins.items() if origin.flag_key is not None]
        return frozenset(path for path in said if self.value(path) is not None)

    def nearest_origin(self, path: KeyPath) -> Origin:
        """Return where a key, or the innermost mapping around it, was said."""
        while path not in self._origins:
            path = path[:-1]
        return self._origins[path]

    def merge(self, layer: dict[str, Plain], origin_of: Callable[[KeyPath], Origin]) -> None:
        """Lay one more layer over those that are there."""
        self._merge(self.tree, layer, (), origin_of)

    def merge_at(self, path: Sequence[str], value: Plain, origin: Origin) -> None:
        """Lay one value over what is there."""
        layer: dict[str, Plain] = {path[-1]: value}
        for key in reversed(path[:-1]):
            layer = {key: layer}
        self.merge(layer, lambda _path: origin)

    def _merge(
        self,
        below: dict[str, Any],
        above: dict[str, Plain],
        path: KeyPath,
        origin_of: Callable[[KeyPath], Origin],
    ) -> None:
        for key, value in above.items():
            at = (*path, key)
            old = below.get(key)
            if isinstance(value, dict) and isinstance(old, dict) and not _replaces(value, old):
                self._merge(old, value, at, origin_of)
                continue
            for known in [p for p in self._origins if p[: len(at)] == at]:
                del self._origins[known]
            self._origins[at] = origin_of(at)
            if value is None:
                below.pop(key, None)
            elif isinstance(value, dict):
                below[key] = {}
                self._merge(below[key], value, at, origin_of)
            else:
                below[key] = value
                positions = range(len(value)) if isinstance(value, list) else ()
                self._origins.update({(*at, n): origin_of((*at, n)) for n in positions})


def leaves(tree: Mapping[str, Any], path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield path and value of every key whose value is no mapping (or an empty one).

    Mappings in a list have their position in the path.
    """
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            for position, one in enumerate(value):
                yield from leaves(one, (*path, key, position))
        else:
            yield (*path, key), value


def dotted(path: KeyPath) -> str:
    """Write a path as flags and messages do: `search.space.nal.lambda`."""
    return ".".join(map(str, path))


def key_path(text: str) -> KeyPath:
    """Read a path that is written with dots."""
    return tuple(int(key) if key.isdecimal() else key for key in text.split(".") if key)


def _replaces(above: dict[str, Any], below: dict[str, Any]) -> bool:
    return any(k in above and k in below and above[k] != below[k] for k in IDENTITIES)
