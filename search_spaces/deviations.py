"""Deviations of a study from the paper and from public code, each where its condition holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from search_spaces.common_deviations import COMMON_DEVIATIONS
from search_spaces.fields import parameters_of, prefix_error_field
from search_spaces.layers import split_key
from search_spaces.resolve import matched_recipe, posterior_recipe, resolve
from trainables.errors import FieldError, suggest
from trainables.methods import METHODS
from trainables.run.parameters import ChoiceSpace

if TYPE_CHECKING:
    from search_spaces.fields import Deviation
    from search_spaces.schema import Study

SCENARIO_KEY, METHOD_KEY = "scenario", "method"
"""Keys of a condition that stand for the name of one scenario and of one method.

All other keys are those of a study.
"""
SAME_METHOD = "*"
"""In `hyperparameters.*.NAME`, stands for the method that `METHOD_KEY` is compared with."""


def applicable_deviations(study: Study) -> tuple[str, ...]:
    """Return the sentences of the deviations that hold, each once.

    They are those of the study, followed by those that are common to all studies. A deviation holds
    if its condition does for at least one method on at least one scenario. In a condition, a text
    matches as a glob pattern, a list in the study if one of its items does, and None a value that
    is missing. No condition holds on a hyperparameter whose choices are searched, since tables have
    the choice.
    """
    return tuple(
        dict.fromkeys(
            deviation.text
            for deviation in (*study.deviations, *COMMON_DEVIATIONS)
            if any(_applies(deviation, case) for case in _iter_cases(study))
        )
    )


def check_deviations(study: Study) -> None:
    """Check that every condition of the study's deviations names keys that a study can have.

    Raises:
        FieldError: if a key, or the method or hyperparameter in it, is unknown.
    """
    known_keys = {*type(study).model_fields, SCENARIO_KEY, METHOD_KEY}
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
        methods = METHODS if method == SAME_METHOD else (method,)
        parameters = {name for method in methods for name in parameters_of(method)}
        if name not in parameters:
            raise FieldError("", f"unknown key '{dotted_key}': {suggest(name, parameters)}")


@dataclass(frozen=True, slots=True)
class _Case:
    """Method of a study on a scenario, with which a condition is compared."""

    study: Study
    scenario: str
    method: str

    def has_all(self, values: Mapping[str, Any]) -> bool:
        """Return whether the value at each dotted key is the expected one."""
        return all(
            _matches(expected, self._value_at(dotted_key))
            for dotted_key, expected in values.items()
        )

    def _value_at(self, dotted_key: str) -> object:
        """Return the value at a dotted key; None if there is none."""
        study = self.study
        root, *keys = split_key(dotted_key)
        value: object
        if root == SCENARIO_KEY:
            value = self.scenario
        elif root == METHOD_KEY:
            value = self.method
        elif root == "recipe":
            value = matched_recipe(study, self.scenario)
        elif root == "hyperparameters":
            method, *keys = keys
            method = self.method if method == SAME_METHOD else method
            is_compared = method in study.methods
            value = _certain_values(study, method, self.scenario) if is_compared else None
        elif root == "backbone":
            value = study.backbone.to_yaml_values()
        elif dotted_key.startswith("posterior.recipe."):
            value = {"recipe": posterior_recipe(study)}
        else:
            value = getattr(study, root)
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)
        return value


def _certain_values(study: Study, method: str, scenario: str) -> dict[str, object]:
    """Return the hyperparameters of a method, without those whose choices are searched."""
    spaces = study.space_of(method) if method in study.tune else {}
    values = resolve(study, method, scenario).hyperparameters
    return {
        name: value
        for name, value in values.items()
        if not isinstance(spaces.get(name), ChoiceSpace)
    }


def _iter_cases(study: Study) -> Iterator[_Case]:
    for scenario in study.scenarios:
        for method in study.methods:
            yield _Case(study, scenario, method)


def _applies(deviation: Deviation, case: _Case) -> bool:
    """Return whether a case has all values of `when` and not all values of `unless`."""
    is_excluded = bool(deviation.unless) and case.has_all(deviation.unless)
    return case.has_all(deviation.when) and not is_excluded


def _matches(expected: object, value: object) -> bool:
    """Return whether a value, or an item of a list, is the expected one or fits a glob pattern."""
    if isinstance(value, list | tuple):
        return any(_matches(expected, item) for item in value)
    if isinstance(expected, str) and value is not None:
        return fnmatchcase(str(value), expected)
    return expected == value
