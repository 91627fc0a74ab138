"""Validate the YAML values of a study against the schema, with one readable error."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from search_spaces.layers import format_key
from search_spaces.schema import RECIPE_UNION_TAGS, Override, OwnRecipe, Study
from trainables.errors import FieldError, suggest
from trainables.methods import is_method, method_of
from trainables.run.recipe import Recipe
from trainables.texts import short_value

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from search_spaces.yaml_lines import KeyPath

SUGGESTED_SECTIONS = ("resources", "confirm", "select", "search", "recipe")
"""Sections whose keys users may write at the top level by mistake.

The error then suggests the full key, such as `recipe.epochs` for `epochs`.
"""

SECTION_CLASSES: dict[str, type] = {
    "recipe": Recipe,
    "stages": Recipe,
    "recipes": OwnRecipe,
    "overrides": Override,
}
"""Class that declares the allowed keys of a section, by the section's name.

If a key path contains several of these names, the first one in this mapping applies.
"""

RENAMED_KEYS: dict[KeyPath, str] = {
    ("search", "seed"): "a search has a list of seeds now: write search.seeds, such as [1000]",
}
"""What to write instead of a key that an earlier version had, by its path."""

_UNKNOWN_KEY_TYPES = ("extra_forbidden", "unexpected_keyword_argument")
_MESSAGE_REPLACEMENTS = (
    ("Input should be", "must be"),
    ("Input should have", "must have"),
    ("Tuple should have", "must have"),
    ("String should have", "must have"),
    (" after validation", ""),
    (" a valid", " a"),
    (" a integer", " an integer"),
    (" a array", " a list"),
    (" an object", " a mapping"),
    (" a dictionary", " a mapping"),
)
"""Replacements for phrases of pydantic's messages, in the order in which they are applied."""


def validate_study(study_values: dict[str, Any]) -> Study:
    """Create a study from its YAML values, checking each key but not rules between several keys.

    Types are strict, as in JSON: the text "60" is not an integer.

    Raises:
        FieldError: if a value violates the schema; the error describes the first violation, and its
            field is the dotted key.
    """
    try:
        return Study.model_validate_json(json.dumps(study_values), strict=True)
    except ValidationError as error:
        raise _field_error(error.errors(), study_values) from error


def _field_error(errors: list[ErrorDetails], study_values: dict[str, Any]) -> FieldError:
    """Convert the most helpful one of pydantic's errors to a `FieldError`."""
    # A misspelt required key is reported as unknown and as missing; "unknown" is more helpful.
    error = min(errors, key=lambda details: details["type"] not in _UNKNOWN_KEY_TYPES)
    pydantic_path = error["loc"]
    key_path = tuple(
        key
        for n, key in enumerate(pydantic_path)
        if not (key in RECIPE_UNION_TAGS and "recipes" in pydantic_path[n - 2 : n - 1])
    )
    if key_path[:1] == ("overrides",) and key_path[2:] == ("scenario",):
        key_path = key_path[:2]
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, FieldError):
        return FieldError(
            ".".join(filter(None, [format_key(key_path), cause.field])), cause.message
        )
    return FieldError(format_key(key_path), _error_message(key_path, error, study_values))


def _error_message(key_path: KeyPath, error: ErrorDetails, study_values: dict[str, Any]) -> str:
    """Return the message to show for one of pydantic's errors."""
    if error["type"] in _UNKNOWN_KEY_TYPES:
        if (hint := RENAMED_KEYS.get(key_path)) is not None:
            return hint
        full_key = _full_keys(study_values).get(str(key_path[-1])) if len(key_path) == 1 else None
        if full_key:
            return f"unknown key '{key_path[-1]}': did you mean '{full_key}'?"
        return f"unknown key '{key_path[-1]}': {suggest(str(key_path[-1]), _known_keys(key_path))}"
    if expected_form := _expected_form(key_path, error["input"]):
        return f"must be {expected_form}"
    if error["type"] == "missing":
        return "is missing"
    return f"{in_words_of_yaml(error['msg'])}, got {short_value(error['input'])}"


def in_words_of_yaml(message: str) -> str:
    """Return a message of pydantic with lists and mappings for what JSON calls otherwise."""
    text = message.partition(", not ")[0]
    for phrase, replacement in _MESSAGE_REPLACEMENTS:
        text = text.replace(phrase, replacement)
    return text


def _expected_form(key_path: KeyPath, value: object) -> str:
    """Describe the value required at a key path; "" where pydantic's own message is clearer."""
    match key_path:
        case ("overrides",):
            expected_form = "a list of mappings like {scenario: asymmetric-*}"
        case ("overrides", int()):
            expected_form = "a mapping with the key scenario"
        case ("recipes",):
            expected_form = "a mapping like {elr: published}"
        case ("overrides", int(), "source"):
            expected_form = f"a text, got {short_value(value)}"
        case (*_, "schedule"):
            expected_form = f"a mapping like {{kind: constant}}, got {short_value(value)}"
        case (*_, "recipes", _):
            expected_form = f"matched, published or a mapping, got {short_value(value)}"
        case _:
            expected_form = ""
    return expected_form


def _full_keys(study_values: dict[str, Any]) -> dict[str, str]:
    """Return full keys by their last part: `recipe.epochs` for `epochs`."""
    methods = study_values.get("methods")
    sections = {
        f"hyperparameters.{name}": [parameter.name for parameter in method_of(name).parameters]
        for name in (methods if isinstance(methods, list) else ())
        if isinstance(name, str) and is_method(name)
    }
    sections |= {section: _known_keys((section, "")) for section in SUGGESTED_SECTIONS}
    return {key: f"{section}.{key}" for section, keys in sections.items() for key in keys}


def _known_keys(key_path: KeyPath) -> list[str]:
    """Return the keys allowed in the mapping that contains the last key of a path."""
    sections = key_path[:-1]
    if not sections:
        return [*Study.model_fields, "extends", "sources"]
    section_classes = [
        section_class for section, section_class in SECTION_CLASSES.items() if section in sections
    ]
    section_class: Any = (
        section_classes[0] if section_classes else Study.model_fields[str(sections[0])].annotation
    )
    if is_dataclass(section_class):
        return [field.name for field in fields(section_class)]
    return list(section_class.model_fields)
