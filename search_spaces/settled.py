"""What settling a study gathers: its tree, what is different on single scenarios, and sources."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search_spaces.yaml_lines import KeyPath

Tree = dict[str, Any]

OF_METHODS = ("hyperparameters", "recipes")
"""Keys of an override that the study itself has too, by method."""


@dataclass
class Special:
    """What is different on one scenario.

    Attributes:
        tree: recipe, hyperparameters and recipes, as the schema reads them in an override.
        sources: where values come from, by path in `tree`.
        given: where the study says a key, by path in `tree`.
    """

    tree: Tree = field(default_factory=dict)
    sources: dict[KeyPath, str] = field(default_factory=dict)
    given: dict[KeyPath, KeyPath] = field(default_factory=dict)


@dataclass
class Settled:
    """A study's tree with everything published written out.

    Attributes:
        tree: as the schema reads it.
        sources: where what was written out comes from, by path.
        given: where the study says what stands in an override, by path.
    """

    tree: Tree
    sources: dict[KeyPath, str] = field(default_factory=dict)
    given: dict[KeyPath, KeyPath] = field(default_factory=dict)

    def write_overrides(self, specials: dict[str, Special]) -> None:
        """Write one override for each scenario that has something of its own."""
        entries: list[Tree] = []
        for scenario, special in specials.items():
            if special.tree.get("recipe") == self.tree.get("recipe"):
                special.tree.pop("recipe", None)
            if not special.tree:
                continue
            at = ("overrides", len(entries))
            entries.append({"scenario": scenario, **special.tree})
            self.sources |= {(*at, *path): text for path, text in special.sources.items()}
            self.given |= {(*at, *path): place for path, place in special.given.items()}
        if entries:
            self.tree["overrides"] = entries

    def place(self, path: KeyPath) -> KeyPath:
        """Return where the study says, or could say, what stands at a path of the settled tree."""
        if path[:1] != ("overrides",):
            return path
        at, inner = path[:2], path[2:]
        for length in range(len(inner), 0, -1):
            place = self.given.get((*at, *inner[:length]))
            if place is not None:
                return (*place, *inner[length:])
        # Published for this scenario: the study can say it for all.
        return inner if inner[:1] and inner[0] in OF_METHODS else path


def mapping_of(value: object) -> Tree:
    """Return a mapping; an empty one in the place of anything else, which the schema refuses."""
    return value if isinstance(value, dict) else {}


def list_of(value: object) -> list[Any]:
    """Return a list; an empty one in the place of anything else, which the schema refuses."""
    return value if isinstance(value, list) else []
