"""From plain values to a `Study`, or to the one fault to show first."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from search_spaces.layers import format_key
from search_spaces.schema import UNION_TAGS, Override, OwnRecipe, Study
from trainables.errors import FieldError, suggest
from trainables.methods import METHODS
from trainables.run.parameters import Space
from trainables.run.recipe import Recipe

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from search_spaces.yaml_lines import KeyPath

PARTS = ("resources", "confirm", "select", "search", "recipe")
OWNERS: dict[str, type] = {
    "recipe": Recipe,
    "space": Space,
    "stages": Recipe,
    "recipes": OwnRecipe,
    "overrides": Override,
}
"""What the innermost of these keys holds, the inner ones first."""
_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")
_WORDS = (
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


def read_study(plain: dict[str, Any]) -> Study:
    """Read a study, key by key; what ties keys together is not looked at.

    Types are strict, as in JSON: "60" is no integer.

    Raises:
        FieldError: the first fault; its field is the dotted path of the key.
    """
    try:
        return Study.model_validate_json(json.dumps(plain), strict=True)
    except ValidationError as error:
        raise _fault(error.errors(), plain) from error


def _fault(errors: list[ErrorDetails], plain: dict[str, Any]) -> FieldError:
    # A misspelt key that is also missing is best shown as misspelt.
    error = min(errors, key=lambda one: one["type"] not in _UNKNOWN_KEY)
    loc = error["loc"]
    path = tuple(
        key
        for n, key in enumerate(loc)
        if not (key in UNION_TAGS and "recipes" in loc[n - 2 : n - 1])
    )
    if path[:1] == ("overrides",) and path[2:] == ("scenario",):
        path = path[:2]
    inner = error.get("ctx", {}).get("error")
    if isinstance(inner, FieldError):
        return FieldError(".".join(filter(None, [format_key(path), inner.field])), inner.message)
    return FieldError(format_key(path), _message(path, error, plain))


def _message(path: KeyPath, error: ErrorDetails, plain: dict[str, Any]) -> str:
    if error["type"] in _UNKNOWN_KEY:
        elsewhere = _inner_keys(plain).get(str(path[-1])) if len(path) == 1 else None
        if elsewhere:
            return f"unknown key '{path[-1]}': did you mean '{elsewhere}'?"
        return f"unknown key '{path[-1]}': {suggest(str(path[-1]), _known_keys(path))}"
    if shape := _shape(path, error["input"]):
        return f"must be {shape}"
    if error["type"] == "missing":
        return "is missing"
    text = error["msg"].partition(", not ")[0]
    for theirs, ours in _WORDS:
        text = text.replace(theirs, ours)
    return f"{text}, got {error['input']!r}"


def _shape(path: KeyPath, value: object) -> str:
    """Say what the value at a path is to be, where that says more than its type; else ""."""
    match path:
        case ("overrides",):
            shape = "a list of mappings like {scenario: asymmetric-*}"
        case ("overrides", int()):
            shape = "a mapping with a scenario"
        case ("recipes",):
            shape = "a mapping like {elr: published}"
        case ("overrides", int(), "source"):
            shape = f"a text, got {value!r}"
        case (*_, "schedule"):
            shape = f"a mapping like {{kind: constant}}, got {value!r}"
        case (*_, "recipes", _):
            shape = f"matched, published or a mapping, got {value!r}"
        case _:
            shape = ""
    return shape


def _inner_keys(plain: dict[str, Any]) -> dict[str, str]:
    """Map the last words of inner keys to whole keys: `epochs` is short for `recipe.epochs`."""
    methods = plain.get("methods")
    owners = {
        f"hyperparameters.{name}": [parameter.name for parameter in METHODS[name].parameters]
        for name in (methods if isinstance(methods, list) else ())
        if isinstance(name, str) and name in METHODS
    }
    owners |= {part: _known_keys((part, "")) for part in PARTS}
    return {key: f"{owner}.{key}" for owner, keys in owners.items() for key in keys}


def _known_keys(path: KeyPath) -> list[str]:
    """Return the keys that may stand where the last key of a path does."""
    inner = path[:-1]
    if not inner:
        return [*Study.model_fields, "extends", "sources"]
    owners = [owner for key, owner in OWNERS.items() if key in inner]
    owner: Any = owners[0] if owners else Study.model_fields[str(inner[0])].annotation
    if is_dataclass(owner):
        return [field.name for field in fields(owner)]
    return list(owner.model_fields)
