"""Deviations of a study from the paper and from public code, each where its condition holds."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from search_spaces.fields import parameters_of, prefix_error_field
from search_spaces.layers import split_key
from search_spaces.resolve import matched_recipe, preset_settings, resolve
from trainables.errors import FieldError, suggest

if TYPE_CHECKING:
    from search_spaces.schema import Study
    from trainables.methods.published import Deviation

SCENARIO_KEY = "scenario"
"""Key of a condition that stands for the name of the scenario; all others are keys of a study."""


def applicable_deviations(study: Study) -> tuple[str, ...]:
    """Return the sentences of the deviations that hold on at least one scenario, each once.

    They are those of the study, followed by those of the presets that it names.
    """
    deviations = [
        (deviation, scenario) for deviation in study.deviations for scenario in study.scenarios
    ]
    deviations += [
        (deviation, scenario)
        for method in study.methods
        for scenario in study.scenarios
        for setting in preset_settings(study, method, scenario)
        for deviation in setting.deviations
    ]
    return tuple(
        dict.fromkeys(
            deviation.text
            for deviation, scenario in deviations
            if _applies(deviation, study, scenario)
        )
    )


def check_deviations(study: Study) -> None:
    """Check that every condition of the study's deviations names keys that a study can have.

    Raises:
        FieldError: if a key, or the method or hyperparameter in it, is unknown.
    """
    known_keys = {*type(study).model_fields, SCENARIO_KEY}
    for position, deviation in enumerate(study.deviations):
        for condition in ("when", "unless"):
            for dotted_key in getattr(deviation, condition):
                with prefix_error_field(f"deviations.{position}.{condition}"):
                    _check_key(dotted_key, known_keys)


def _check_key(dotted_key: str, known_keys: set[str]) -> None:
    root, *keys = split_key(dotted_key)
    if root not in known_keys:
        raise FieldError("", f"unknown key '{dotted_key}': {suggest(root, known_keys)}")
    if root == "hyperparameters":
        method, name = (*keys, "", "")[:2]
        parameters = parameters_of(method)
        if name not in parameters:
            raise FieldError("", f"unknown key '{dotted_key}': {suggest(name, parameters)}")


def _applies(deviation: Deviation, study: Study, scenario: str) -> bool:
    """Return whether a scenario has all values of `when` and not all values of `unless`."""

    def has_all(values: Mapping[str, Any]) -> bool:
        return all(
            _matches(expected, _value_at(dotted_key, study, scenario))
            for dotted_key, expected in values.items()
        )

    is_excluded = bool(deviation.unless) and has_all(deviation.unless)
    return has_all(deviation.when) and not is_excluded


def _value_at(dotted_key: str, study: Study, scenario: str) -> object:
    """Return the value that a study has at a key on a scenario; None if there is none."""
    root, *keys = split_key(dotted_key)
    value: object
    if root == SCENARIO_KEY:
        value = scenario
    elif root == "recipe":
        value = matched_recipe(study, scenario)
    elif root == "hyperparameters":
        methods = [method for method in study.methods if method in keys]
        value = {method: resolve(study, method, scenario).hyperparameters for method in methods}
    elif root == "backbone":
        value = study.backbone.to_yaml_values()
    else:
        value = getattr(study, root)
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)
    return value


def _matches(expected: object, value: object) -> bool:
    """Return whether a value, or an item of a list, is the expected one or fits a glob pattern."""
    if isinstance(value, list | tuple):
        return any(_matches(expected, item) for item in value)
    if isinstance(expected, str) and value is not None:
        return fnmatchcase(str(value), expected)
    return expected == value
