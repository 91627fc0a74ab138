"""From plain values to a `Study`, or to the one fault to show first."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from search_spaces.checks import check_study
from search_spaces.layers import dotted
from search_spaces.schema import MethodRecipe, Override, Study
from trainables.errors import FieldError, suggest
from trainables.methods import METHODS
from trainables.parameters import Space
from trainables.recipe import Recipe
from trainables.schedules import KINDS

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
    _check_schedules(plain)
    try:
        study = Study.model_validate_json(json.dumps(plain), strict=True)
    except ValidationError as error:
        raise _fault(error.errors(), plain) from error
    check_study(study)
    return study


def _check_schedules(plain: Any, path: KeyPath = ()) -> None:  # noqa: ANN401 - any YAML value
    """The kind of a schedule decides which keys it has: look at it before them."""
    if isinstance(plain, list):
        for position, item in enumerate(plain):
            _check_schedules(item, (*path, position))
    elif isinstance(plain, dict):
        for key, value in plain.items():
            if key == "schedule" and path and value is not None:
                _check_schedule(value, dotted((*path, key)))
            else:
                _check_schedules(value, (*path, key))


def _check_schedule(schedule: object, where: str) -> None:
    if not isinstance(schedule, dict):
        raise FieldError(where, f"must be a mapping like {{kind: constant}}, got {schedule!r}")
    kind = schedule.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        said = f"unknown kind of schedule {kind!r}" if kind is not None else "kind is missing"
        where = f"{where}.kind" if "kind" in schedule else where
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
    if "schedule" not in loc[:-1]:
        return loc
    at = loc.index("schedule") + 1
    schedule: Any = plain
    for key in loc[:at]:
        schedule = schedule[key]
    return (*loc[:at], *loc[at + 1 :]) if loc[at] == KINDS[schedule["kind"]].__name__ else None


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
    inner = path[:-1]
    owner: Any = Study
    if "schedule" in inner:
        schedule: Any = plain
        for key in path[: path.index("schedule") + 1]:
            schedule = schedule[key]
        owner = KINDS[schedule["kind"]]
    elif "recipe" in inner or "stages" in inner:
        owner = Recipe
    elif inner[:2] == ("search", "space"):
        owner = Space
    elif inner[:1] == ("overrides",):
        owner = MethodRecipe if "recipes" in inner else Override
    elif inner[:1] == ("recipes",):
        owner = MethodRecipe
    elif inner:
        owner = Study.model_fields[str(inner[0])].annotation
    if is_dataclass(owner):
        return [field.name for field in fields(owner)]
    assert issubclass(owner, BaseModel)  # noqa: S101 - the only other kind in the schema
    above = ["extends", "sources"] if owner is Study else []
    return [*owner.model_fields, *above]
