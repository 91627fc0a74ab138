"""Where each value of a study comes from: the paper, the public code, a flag, a default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search_spaces.layers import Layers, Origin, format_key, leaves, parse_key
from trainables.errors import StudyError, suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from search_spaces.yaml_lines import KeyPath, Plain

WITHOUT_SOURCE = ("title", "deviations")
"""Words about the study, not values of it."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One line of a file's `sources`: `recipe.learning_rate: public code, train_cifar.py`.

    Attributes:
        path: the key, or the mapping around the keys, that it speaks of.
        text: where the value comes from.
        origin: where the line stands.
    """

    path: KeyPath
    text: str
    origin: Origin

    @property
    def level(self) -> int:
        """The layer that it belongs to: it speaks of what this one and those below it say."""
        return self.origin.level


def read_statements(section: Plain, origin_of: Callable[[KeyPath], Origin]) -> list[Statement]:
    """Read the `sources` of one file.

    Raises:
        StudyError: not a mapping from dotted keys to texts.
    """
    if section is None:
        return []
    if not isinstance(section, dict):
        where = origin_of(("sources",)).text
        raise StudyError(f"{where}: sources: must be a mapping from keys to texts, got {section!r}")
    statements = []
    for key, text in section.items():
        origin = origin_of(("sources", key))
        if not isinstance(text, str):
            raise StudyError(f"{origin.text}: sources: {key} must have a text, got {text!r}")
        statements.append(Statement(parse_key(key), text, origin))
    return statements


def check_statements(
    statements: Iterable[Statement], plain: dict[str, Any], said: set[KeyPath]
) -> None:
    """Refuse statements about keys that the study does not have.

    Args:
        statements: of the file that was asked for.
        plain: the study with every default written out.
        said: keys of the files, before flags changed them.

    Raises:
        StudyError: one speaks of no key; names the nearest.
    """
    paths = {path[:n] for path, _ in leaves(plain) for n in range(1, len(path) + 1)} | said
    for statement in statements:
        if statement.path not in paths:
            keys = {format_key(path) for path in paths if path}
            raise StudyError(
                f"{statement.origin.text}: sources: the study has no key "
                f"{_quote_with_hint(format_key(statement.path), keys)}"
            )


class Provenance:
    """What a study's files and flags say of where its values come from."""

    def __init__(self, layers: Layers, statements: Iterable[Statement]) -> None:
        """Gather it.

        Args:
            layers: what files and flags say.
            statements: of all files.
        """
        self.layers = layers
        self._statements = sorted(statements, key=lambda s: (len(s.path), s.level), reverse=True)

    def text(self, path: KeyPath, taken: str | KeyPath = "", *, instead: bool = True) -> str:
        """Say where a value comes from; "" if nothing says it.

        A flag goes first; then the statement with the longest matching path, if its file says the
        value itself or extends the one that does; then what the value is taken from; then file and
        line.

        Args:
            path: of the value.
            taken: what it is taken from: a text, or the path at which it is said; "" if from
                nowhere else.
            instead: whether it stands in the place of what was said at its path and taken back.
        """
        origin = self.layers.origin(path)
        taken_back = bool(taken) and instead and origin is not None
        if not taken_back and (statement := self._statement(path)):
            return statement
        if taken:
            return taken if isinstance(taken, str) else self.layers.nearest_origin(taken).text
        return "" if origin is None else origin.text

    def _statement(self, path: KeyPath) -> str:
        origin = self.layers.origin(path)
        if origin is not None and origin.flag_key is not None:
            return f"set by {origin.text}"
        for statement in self._statements:
            exact = statement.path == path
            speaks = path[: len(statement.path)] == statement.path
            if exact if origin is None else speaks and statement.level >= origin.level:
                return statement.text
        return ""

    def source_texts(
        self, plain: dict[str, Any], taken: Mapping[KeyPath, str | KeyPath]
    ) -> dict[str, str]:
        """Say where each value of a study comes from, by dotted path.

        Args:
            plain: the study written out.
            taken: of values, or mappings around them, that the study takes from elsewhere.
        """
        return {
            format_key(path): self._source(path, taken) or _default_of(path, plain, self.layers)
            for path, _ in leaves(plain)
            if path[0] not in WITHOUT_SOURCE
        }

    def _source(self, path: KeyPath, taken: Mapping[KeyPath, str | KeyPath]) -> str:
        for length in range(len(path), 0, -1):
            if path[:length] in taken:
                return self.text(path, taken[path[:length]], instead=length == len(path))
        return self.text(path)


def _default_of(path: KeyPath, plain: dict[str, Any], layers: Layers) -> str:
    if path[0] == "backbone":
        return f"default of backbone {plain['backbone']['name']}"
    if path[0] in ("overrides", "recipes") and len(path) > 1:
        return "as in the study"
    if path[0] == "hyperparameters" and len(path) > 1:
        return f"default of method {path[1]}"
    if path[:2] == ("search", "space") and len(path) > 2 and layers.origin(path[:4]) is None:
        return f"default of method {path[2]}"
    return "default of the schema"


def _quote_with_hint(wrong: str, known: set[str]) -> str:
    """Return a wrong key in quotes, followed by the most similar known key if there is one."""
    hint = suggest(wrong, known).partition(" known: ")[0]
    return f"'{wrong}'" + (f": {hint}" if hint.startswith("did you mean") else "")
