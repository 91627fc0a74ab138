"""Sources of a study's values: the paper, public code, a flag, a default, or a line of a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search_spaces.layers import Origin, StudyLayers, format_key, leaves, parse_key
from trainables.errors import StudyError, suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from search_spaces.yaml_lines import KeyPath, PlainValue

WITHOUT_SOURCE = ("title", "deviations")
"""Keys that describe the study and need no source."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One entry of a file's `sources`: `recipe.learning_rate: public code, train_cifar.py`.

    Attributes:
        key_path: path of the key, or of the mapping, whose source is stated.
        text: text that names the source.
        origin: file and line of the entry.
    """

    key_path: KeyPath
    text: str
    origin: Origin

    @property
    def level(self) -> int:
        """Number of the statement's configuration layer.

        The statement applies to values that this layer or an earlier one sets.
        """
        return self.origin.level


def read_statements(section: PlainValue, origin_of: Callable[[KeyPath], Origin]) -> list[Statement]:
    """Return the statements in the `sources` of one file.

    Args:
        section: value of `sources`; None if the file has none.
        origin_of: function that returns the origin of a key of the file.

    Raises:
        StudyError: if the section is not a mapping from dotted keys to texts.
    """
    if section is None:
        return []
    if not isinstance(section, dict):
        place = origin_of(("sources",)).text
        raise StudyError(f"{place}: sources: must be a mapping from keys to texts, got {section!r}")
    statements = []
    for key, text in section.items():
        origin = origin_of(("sources", key))
        if not isinstance(text, str):
            raise StudyError(f"{origin.text}: sources: {key} must have a text, got {text!r}")
        statements.append(Statement(parse_key(key), text, origin))
    return statements


def check_statements(
    statements: Iterable[Statement], plain: dict[str, Any], file_keys: set[KeyPath]
) -> None:
    """Check that each statement of a source names a key that the study has.

    Args:
        statements: statements of the study's own file.
        plain: the study with every default written out.
        file_keys: keys of the study's files, before flags changed them.

    Raises:
        StudyError: if a statement names an unknown key; the message suggests the most similar one.
    """
    key_paths = {
        key_path[:n] for key_path, _ in leaves(plain) for n in range(1, len(key_path) + 1)
    } | file_keys
    for statement in statements:
        if statement.key_path not in key_paths:
            keys = {format_key(key_path) for key_path in key_paths if key_path}
            raise StudyError(
                f"{statement.origin.text}: sources: the study has no key "
                f"{_quote_with_hint(format_key(statement.key_path), keys)}"
            )


class Provenance:
    """Sources of a study's values, as its files and flags state them.

    Attributes:
        study_layers: layers of the study.
    """

    def __init__(self, study_layers: StudyLayers, statements: Iterable[Statement]) -> None:
        """Store the layers and the statements.

        Args:
            study_layers: layers of the study, with its files and flags.
            statements: statements of all files.
        """
        self.study_layers = study_layers
        self._statements = sorted(
            statements, key=lambda s: (len(s.key_path), s.level), reverse=True
        )

    def text(self, key_path: KeyPath, source: str | KeyPath = "", *, replaces: bool = True) -> str:
        """Return the source of a value; "" if there is none.

        The order of precedence: a flag; the statement with the longest matching path, if its
        file sets the value or extends the file that does; `source`; file and line.

        Args:
            key_path: path of the value.
            source: source of a value that the study does not set at `path`: a text, or the path
                at which the study sets it; "" for other values.
            replaces: whether a value with `source` replaces one that was set at `path` and
                removed.
        """
        origin = self.study_layers.origin(key_path)
        is_replaced = bool(source) and replaces and origin is not None
        if not is_replaced and (statement := self._stated_source(key_path)):
            return statement
        if not source:
            return "" if origin is None else origin.text
        return source if isinstance(source, str) else self.study_layers.nearest_origin(source).text

    def _stated_source(self, key_path: KeyPath) -> str:
        """Return the source that a flag or a statement gives for a value; "" if there is none."""
        origin = self.study_layers.origin(key_path)
        if origin is not None and origin.flag_key is not None:
            return f"set by {origin.text}"
        for statement in self._statements:
            if origin is None:
                applies = statement.key_path == key_path
            else:
                is_around = key_path[: len(statement.key_path)] == statement.key_path
                applies = is_around and statement.level >= origin.level
            if applies:
                return statement.text
        return ""

    def source_texts(
        self, plain: dict[str, Any], sources: Mapping[KeyPath, str | KeyPath]
    ) -> dict[str, str]:
        """Return the source of each value of a study by dotted key.

        Args:
            plain: the study written out.
            sources: sources by path of values, or of mappings around them, that the study does
                not set at these paths.
        """
        return {
            format_key(key_path): self._source(key_path, sources)
            or _default_text(key_path, plain, self.study_layers)
            for key_path, _ in leaves(plain)
            if key_path[0] not in WITHOUT_SOURCE
        }

    def _source(self, key_path: KeyPath, sources: Mapping[KeyPath, str | KeyPath]) -> str:
        for length in range(len(key_path), 0, -1):
            if key_path[:length] in sources:
                return self.text(
                    key_path, sources[key_path[:length]], replaces=length == len(key_path)
                )
        return self.text(key_path)


def _default_text(key_path: KeyPath, plain: dict[str, Any], study_layers: StudyLayers) -> str:
    """Return the text that names the default of a value that no file or flag sets."""
    if key_path[0] == "backbone":
        return f"default of backbone {plain['backbone']['name']}"
    if key_path[0] in ("overrides", "recipes") and len(key_path) > 1:
        return "as in the study"
    if key_path[0] == "hyperparameters" and len(key_path) > 1:
        return f"default of method {key_path[1]}"
    if (
        key_path[:2] == ("search", "space")
        and len(key_path) > 2
        and study_layers.origin(key_path[:4]) is None
    ):
        return f"default of method {key_path[2]}"
    return "default of the schema"


def _quote_with_hint(unknown_key: str, known: set[str]) -> str:
    """Return a wrong key in quotes, followed by the most similar known key if there is one."""
    hint = suggest(unknown_key, known).partition(" known: ")[0]
    return f"'{unknown_key}'" + (f": {hint}" if hint.startswith("did you mean") else "")
