"""Read the search spaces of a study: intervals of numbers and lists of values, with conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any

from pydantic import PlainSerializer

from search_spaces.fields import (
    method_mapping_validator,
    prefix_error_field,
    require_mapping,
    tunable_parameters_of,
)
from trainables.errors import FieldError, suggest
from trainables.run.identity import MAX_INTEGER, identity_of
from trainables.run.parameters import (
    AnySpace,
    ChoiceSpace,
    Prior,
    Scalar,
    Space,
    check_conditions,
)
from trainables.texts import short_value

SPACE_FORM = "a mapping like {low: 0.1, high: 10, log: true} or {choices: [soft, hard]}"
"""Description of a search space for error messages."""


def read_spaces(method: str, yaml_section: object) -> dict[str, AnySpace]:
    """Create the search spaces of a method from their entry in a study.

    Raises:
        FieldError: if a parameter is unknown, a space is not one of the parameter, or a condition
            cannot be met.
    """
    parameters = tunable_parameters_of(method)
    spaces = {}
    mapping = require_mapping(yaml_section, "a mapping like {alpha: {low: 0.5, high: 0.99}}")
    for name, yaml_space in mapping.items():
        if name not in parameters:
            raise FieldError(
                name, f"method {method} has no parameter '{name}': {suggest(name, parameters)}"
            )
        with prefix_error_field(name):
            spaces[name] = parameters[name].fit_space(_read_space(yaml_space))
    check_conditions(spaces)
    return spaces


def spaces_yaml_values(spaces: Mapping[str, AnySpace]) -> dict[str, Any]:
    """Return the YAML values of the spaces of a method, without keys that change nothing."""
    # That values are integers follows from the parameter.
    return {
        name: {key: value for key, value in identity_of(space).items() if key != "integer"}
        for name, space in spaces.items()
    }


def _read_space(yaml_space: object) -> AnySpace:
    keys = require_mapping(yaml_space, SPACE_FORM)
    is_choice = "choices" in keys
    space_class = ChoiceSpace if is_choice else Space
    interval_keys = [key for key in ("low", "high", "log", "prior") if key in keys]
    if is_choice and interval_keys:
        raise FieldError(
            interval_keys[0],
            f"choices and {interval_keys[0]} exclude each other: state a list of choices, or an "
            "interval from low to high",
        )
    known_keys = [field.name for field in fields(space_class) if field.name != "integer"]
    for key in keys:
        if key not in known_keys:
            known = known_keys if is_choice else [*known_keys, "choices"]
            raise FieldError(key, f"unknown key '{key}': {suggest(key, known)}")
    when = _read_conditions(keys["when"]) if keys.get("when") is not None else None
    if is_choice:
        return ChoiceSpace(_read_choices("choices", keys["choices"]), when)
    return Space(
        low=_read_number(keys, "low"),
        high=_read_number(keys, "high"),
        log=_read_flag(keys, "log"),
        when=when,
        prior=_read_prior(keys["prior"]) if keys.get("prior") is not None else None,
    )


def _read_number(keys: Mapping[str, object], key: str) -> float:
    if key not in keys:
        raise FieldError(key, "is missing")
    value = keys[key]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not abs(value) <= MAX_INTEGER:  # type: ignore[arg-type]
        raise FieldError(key, f"must be a number, got {short_value(value)}")
    return value  # type: ignore[return-value]


def _read_flag(keys: Mapping[str, object], key: str) -> bool:
    value = keys.get(key, False)
    if not isinstance(value, bool):
        raise FieldError(key, f"must be true or false, got {short_value(value)}")
    return value


def _read_choices(key: str, value: object) -> tuple[Scalar, ...]:
    if not isinstance(value, list):
        raise FieldError(key, f"must be a list like [soft, hard], got {short_value(value)}")
    for position, choice in enumerate(value):
        if not isinstance(choice, bool | int | float | str):
            raise FieldError(
                f"{key}.{position}", f"must be a text, number or truth value, got {choice!r}"
            )
    return tuple(value)


def _read_conditions(value: object) -> dict[str, tuple[Scalar, ...]]:
    form = "a mapping from searched parameters to values, like {clamps: false}"
    with prefix_error_field("when"):
        return {
            name: _read_choices(name, values if isinstance(values, list) else [values])
            for name, values in require_mapping(value, form).items()
        }


def _read_prior(value: object) -> Prior:
    with prefix_error_field("prior"):
        keys = require_mapping(value, "a mapping like {width: 0.2}")
        for key in keys:
            if key != "width":
                raise FieldError(key, f"unknown key '{key}': {suggest(key, ['width'])}")
        return Prior(_read_number(keys, "width"))


SpacesField = Annotated[
    Mapping[str, Mapping[str, AnySpace]],
    method_mapping_validator(
        read_spaces, "a mapping from methods to spaces, like {nal: {alpha: {low: 0.5, high: 0.99}}}"
    ),
    PlainSerializer(
        lambda spaces: {method: spaces_yaml_values(each) for method, each in spaces.items()},
        return_type=dict[str, Any],
    ),
]
"""Field that maps a method to the search spaces of its hyperparameters."""
