"""From plain values to a `Study`, or to the one fault to show first."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from search_spaces.layers import dotted
from search_spaces.schema import Study
from trainables.errors import FieldError, suggest
from trainables.methods import METHODS
from trainables.parameters import Space
from trainables.schedules import KINDS
from trainables.spec import Recipe

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from search_spaces.yaml_lines import KeyPath

PARTS = ("resources", "confirm", "select", "search", "recipe")
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
    """Validate a study.

    Types are strict, as in JSON: "60" is no integer.

    Raises:
        FieldError: the first fault; its field is the dotted path of the key.
    """
    _check_schedule(plain)
    try:
        return Study.model_validate_json(json.dumps(plain), strict=True)
    except ValidationError as error:
        raise _fault(error.errors(), plain) from error


def _check_schedule(plain: dict[str, Any]) -> None:
    """The kind of schedule decides which keys it has: look at it before them."""
    recipe = plain.get("recipe")
    schedule = recipe.get("schedule") if isinstance(recipe, dict) else None
    if schedule is None:
        return
    if not isinstance(schedule, dict):
        raise FieldError(
            "recipe.schedule", f"must be a mapping like {{kind: constant}}, got {schedule!r}"
        )
    kind = schedule.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        where = "recipe.schedule.kind" if "kind" in schedule else "recipe.schedule"
        said = f"unknown kind of schedule {kind!r}" if kind is not None else "kind is missing"
        raise FieldError(where, f"{said}: {suggest(str(kind), KINDS)}")


def _fault(errors: list[ErrorDetails], plain: dict[str, Any]) -> FieldError:
    located = [(path, e) for e in errors if (path := _path(e["loc"], plain)) is not None]
    # A misspelt key that is also missing is best shown as misspelt.
    located.sort(key=lambda pair: pair[1]["type"] not in _UNKNOWN_KEY)
    path, error = located[0]
    inner = error.get("ctx", {}).get("error")
    if isinstance(inner, FieldError):
        field = ".".join(part for part in (dotted(path), inner.field) if part)
        return FieldError(field, inner.message)
    return FieldError(dotted(path), _message(path, error, plain))


def _path(loc: KeyPath, plain: dict[str, Any]) -> KeyPath | None:
    """Drop the class name that pydantic puts in for a union; None for the kinds not chosen."""
    if loc[:2] != ("recipe", "schedule") or len(loc) < 3:
        return loc
    chosen = KINDS[plain["recipe"]["schedule"]["kind"]].__name__
    return (*loc[:2], *loc[3:]) if loc[2] == chosen else None


def _message(path: KeyPath, error: ErrorDetails, plain: dict[str, Any]) -> str:
    if error["type"] in _UNKNOWN_KEY:
        elsewhere = _inner_keys(plain).get(str(path[-1])) if len(path) == 1 else None
        if elsewhere:
            return f"unknown key '{path[-1]}': did you mean '{elsewhere}'?"
        return f"unknown key '{path[-1]}': {suggest(str(path[-1]), _known_keys(path, plain))}"
    if error["type"] == "missing":
        return "is missing"
    text = error["msg"].partition(", not ")[0]
    for theirs, ours in _WORDS:
        text = text.replace(theirs, ours)
    return f"{text}, got {error['input']!r}"


def _inner_keys(plain: dict[str, Any]) -> dict[str, str]:
    """Map the last words of inner keys to whole keys: `epochs` is short for `recipe.epochs`."""
    methods = plain.get("methods")
    owners = {
        f"hyperparameters.{name}": [parameter.name for parameter in METHODS[name].parameters]
        for name in (methods if isinstance(methods, list) else ())
        if isinstance(name, str) and name in METHODS
    }
    owners |= {part: _known_keys((part, ""), plain) for part in PARTS}
    return {key: f"{owner}.{key}" for owner, keys in owners.items() for key in keys}


def _known_keys(path: KeyPath, plain: dict[str, Any]) -> list[str]:
    owner: Any = Study
    if path[:2] == ("recipe", "schedule") and len(path) > 2:
        owner = KINDS[plain["recipe"]["schedule"]["kind"]]
    elif path[0] == "recipe" and len(path) > 1:
        owner = Recipe
    elif path[:2] == ("search", "space") and len(path) > 2:
        owner = Space
    elif len(path) > 1:
        owner = Study.model_fields[str(path[0])].annotation
    if is_dataclass(owner):
        return [field.name for field in fields(owner)]
    assert issubclass(owner, BaseModel)  # noqa: S101 - the only other kind in the schema
    above = ["extends", "sources"] if owner is Study else []
    return [*owner.model_fields, *above]
