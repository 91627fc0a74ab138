"""Sources of a study's values: the paper, public code, a flag, a default or a line of a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search_spaces.layers import Origin, StudyLayers, format_key, iter_leaves, parse_key
from trainables.errors import StudyError, suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from search_spaces.yaml_lines import KeyPath, PlainValue

KEYS_WITHOUT_SOURCE = ("title", "deviations")
"""Top-level keys that describe a study and therefore need no source."""


@dataclass(frozen=True, slots=True)
class SourceStatement:
    """Entry of the `sources` of a study file, such as `recipe.epochs: public code, train_cifar.py`.

    Attributes:
        key_path: path of the key, or of the mapping, whose source is stated.
        text: text that names the source.
        origin: file and line of the entry.
    """

    key_path: KeyPath
    text: str
    origin: Origin

    @property
    def layer_index(self) -> int:
        """Position of the file among the configuration layers of the study.

        The statement applies to values that this layer or an earlier one sets.
        """
        return self.origin.layer_index


def read_source_statements(
    sources_section: PlainValue, origin_of: Callable[[KeyPath], Origin]
) -> list[SourceStatement]:
    """Return the entries of the `sources` of one study file.

    Args:
        sources_section: value of the key `sources`; None if the file does not have the key.
        origin_of: function that returns the file and line of a key from its path.

    Raises:
        StudyError: if the section is not a mapping from dotted keys to texts.
    """
    if sources_section is None:
        return []
    if not isinstance(sources_section, dict):
        location = origin_of(("sources",)).label
        raise StudyError(
            f"{location}: sources: must be a mapping from dotted keys to texts, "
            f"got {sources_section!r}"
        )
    statements = []
    for key, text in sources_section.items():
        origin = origin_of(("sources", key))
        if not isinstance(text, str):
            raise StudyError(
                f"{origin.label}: sources: the source of {key} must be a text, got {text!r}"
            )
        statements.append(SourceStatement(parse_key(key), text, origin))
    return statements


def check_source_statements(
    statements: Iterable[SourceStatement],
    resolved_values: dict[str, Any],
    file_key_paths: set[KeyPath],
) -> None:
    """Check that every entry of `sources` names a key that the study has.

    Args:
        statements: entries of the study's own file, without those of files that it extends.
        resolved_values: the study with every default written out.
        file_key_paths: paths of the keys in the study's files, before flags changed them.

    Raises:
        StudyError: if an entry names an unknown key; the message suggests a similar one.
    """
    key_paths = {
        key_path[:n]
        for key_path, _ in iter_leaves(resolved_values)
        for n in range(1, len(key_path) + 1)
    } | file_key_paths
    for statement in statements:
        if statement.key_path not in key_paths:
            keys = {format_key(key_path) for key_path in key_paths if key_path}
            raise StudyError(
                f"{statement.origin.label}: sources: the study has no key "
                f"{_quote_with_hint(format_key(statement.key_path), keys)}"
            )


class Provenance:
    """Lookup of the source of each value of a study.

    Attributes:
        study_layers: the study's files and flags, merged.
    """

    def __init__(self, study_layers: StudyLayers, statements: Iterable[SourceStatement]) -> None:
        """Store what the files and flags of a study state.

        Args:
            study_layers: the study's files and flags, merged.
            statements: entries of the `sources` of all files.
        """
        self.study_layers = study_layers
        self._statements = sorted(
            statements, key=lambda s: (len(s.key_path), s.layer_index), reverse=True
        )

    def source_text(
        self, key_path: KeyPath, source: str | KeyPath = "", *, replaces: bool = True
    ) -> str:
        """Return the text that names the source of a value; "" for a default.

        In order of precedence, it is the flag that sets the value; the entry of `sources` with the
        longest matching path, in the file that sets or removes the value or in one that extends it;
        the argument `source`; or the file and line that set the value.

        Args:
            key_path: path of the value.
            source: source of a value that the study does not set at `key_path`: a text, or the path
                at which the study sets the value; "" for other values.
            replaces: whether the value with this source replaces a value that a file or flag sets
                at `key_path`.
        """
        origin = self.study_layers.origin_at(key_path)
        is_replaced = bool(source) and replaces and origin is not None
        if not is_replaced and (statement := self._stated_source_text(key_path)):
            return statement
        if not source:
            return "" if origin is None else origin.label
        return source if isinstance(source, str) else self.study_layers.nearest_origin(source).label

    def _stated_source_text(self, key_path: KeyPath) -> str:
        """Return the source of a value that a flag or an entry of `sources` states, or ""."""
        origin = self.study_layers.origin_at(key_path)
        if origin is not None and origin.flag_key is not None:
            return f"set by {origin.label}"
        removing_origin = self.study_layers.removing_origin(key_path)
        for statement in self._statements:
            if removing_origin and statement.layer_index < removing_origin.layer_index:
                applies = False
            elif origin is None:
                applies = statement.key_path == key_path
            else:
                has_prefix = key_path[: len(statement.key_path)] == statement.key_path
                applies = has_prefix and statement.layer_index >= origin.layer_index
            if applies:
                return statement.text
        return ""

    def source_texts(
        self, resolved_values: dict[str, Any], sources: Mapping[KeyPath, str | KeyPath]
    ) -> dict[str, str]:
        """Return the source of each value of a study by dotted key.

        Args:
            resolved_values: the study with every default written out.
            sources: sources by path, for values or mappings that the study does not set at the
                path where they are written out.
        """
        return {
            format_key(key_path): self._exported_source_text(key_path, sources)
            or _default_source_text(key_path, resolved_values, self.study_layers)
            for key_path, _ in iter_leaves(resolved_values)
            if key_path[0] not in KEYS_WITHOUT_SOURCE
        }

    def _exported_source_text(
        self, key_path: KeyPath, sources: Mapping[KeyPath, str | KeyPath]
    ) -> str:
        """Return the source of an exported value; "" for a default.

        Args:
            key_path: path of the value in the export.
            sources: sources by path; that of the value takes precedence over those of mappings
                around the value.
        """
        for length in range(len(key_path), 0, -1):
            if key_path[:length] in sources:
                return self.source_text(
                    key_path, sources[key_path[:length]], replaces=length == len(key_path)
                )
        return self.source_text(key_path)


def _default_source_text(
    key_path: KeyPath, resolved_values: dict[str, Any], study_layers: StudyLayers
) -> str:
    """Return the source text of a value that no file or flag sets: "default of method nal"."""
    if key_path[0] == "backbone":
        return f"default of backbone {resolved_values['backbone']['name']}"
    if key_path[0] in ("overrides", "recipes") and len(key_path) > 1:
        return "as in the study"
    if key_path[0] == "hyperparameters" and len(key_path) > 1:
        return f"default of method {key_path[1]}"
    if (
        key_path[:2] == ("search", "space")
        and len(key_path) > 2
        and study_layers.origin_at(key_path[:4]) is None
    ):
        return f"default of method {key_path[2]}"
    return "default of the schema"


def _quote_with_hint(unknown_key: str, known: set[str]) -> str:
    """Return an unknown key in quotes, with a suggestion if a known key is similar."""
    hint = suggest(unknown_key, known).partition(" known: ")[0]
    return f"'{unknown_key}'" + (f": {hint}" if hint.startswith("did you mean") else "")
