"""Where each value of a study comes from: the paper, the public code, a flag, a default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search_spaces.layers import dotted, key_path, leaves
from trainables.errors import StudyError, suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from search_spaces.layers import Layers, Origin
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
        statements.append(Statement(key_path(key), text, origin))
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
            raise StudyError(
                f"{statement.origin.text}: sources: the study has no key "
                f"{_nearest(dotted(statement.path), {dotted(path) for path in paths if path})}"
            )


def source_texts(
    plain: dict[str, Any],
    layers: Layers,
    statements: Iterable[Statement],
    settled: Mapping[KeyPath, str],
) -> dict[str, str]:
    """Say where each value comes from, by dotted path.

    A flag goes first; then the statement with the longest matching path, if its file says the
    value itself or extends the one that does; then what is published, or the source that a recipe
    states itself; then file and line; then whose default it is.

    Args:
        plain: the study with every default written out.
        layers: what files and flags say.
        statements: of all files.
        settled: sources of what the study took from what is published.
    """
    found = sorted(statements, key=lambda s: (len(s.path), s.level), reverse=True)
    return {
        dotted(path): _said_text(path, layers, found, settled)
        or _settled_text(path, layers, settled)
        or _place_text(path, layers)
        or _default_of(path, plain, layers)
        for path, _ in leaves(plain)
        if path[0] not in WITHOUT_SOURCE
    }


def _said_text(
    path: KeyPath,
    layers: Layers,
    statements: list[Statement],
    settled: Mapping[KeyPath, str],
) -> str:
    """Return what is said of a value; "" if it was taken back, and then taken from elsewhere."""
    taken_back = path in settled and layers.origin(path) is not None
    return "" if taken_back else _source_text(path, layers, statements)


def _settled_text(path: KeyPath, layers: Layers, settled: Mapping[KeyPath, str]) -> str:
    """Return the source of the innermost mapping around a value that was taken over."""
    for length in range(len(path), 0, -1):
        text = settled.get(path[:length])
        if text is not None:
            # A value that the study's file gives in an override without saying whence.
            given = layers.origin(key_path(text)) if text.startswith("overrides.") else None
            return text if given is None else given.text
    return ""


def _source_text(path: KeyPath, layers: Layers, statements: list[Statement]) -> str:
    """Return what the files and flags say of a value's source; "" if nothing."""
    origin = layers.origin(path)
    if origin is None:
        exact = [s.text for s in statements if s.path == path]
        return exact[0] if exact else ""
    if origin.flag_key is not None:
        return f"set by {origin.text}"
    for statement in statements:
        if path[: len(statement.path)] == statement.path and statement.level >= origin.level:
            return statement.text
    return ""


def _place_text(path: KeyPath, layers: Layers) -> str:
    """Return file and line of a value; "" if no file says it."""
    origin = layers.origin(path)
    return "" if origin is None else origin.text


def _default_of(path: KeyPath, plain: dict[str, Any], layers: Layers) -> str:
    if path[0] == "backbone":
        return f"default of backbone {plain['backbone']['name']}"
    if path[0] in ("overrides", "recipes") and len(path) > 1:
        return "as in the study"
    if path[0] == "hyperparameters" and len(path) > 1:
        return f"default of method {path[1]}"
    if path[:2] == ("search", "space") and layers.origin(path[:4]) is None:
        return f"default of method {path[2]}"
    return "default of the schema"


def _nearest(wrong: str, known: set[str]) -> str:
    hint = suggest(wrong, known).partition(" known: ")[0]
    return f"'{wrong}'" + (f": {hint}" if hint.startswith("did you mean") else "")
