"""What must hold between what a study says of its methods: search, reference, values, recipes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from search_spaces.tunable import (
    RECIPE_VALUES,
    check_distinct,
    parameters_of,
    tunable_of,
    under,
)
from trainables.datasets import source_of
from trainables.errors import FieldError, suggest
from trainables.methods import method_of
from trainables.methods.published import Selection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from search_spaces.schema import MethodRecipe, Study
    from trainables.parameters import Space


def check_methods(study: Study) -> None:
    """Check what is searched and fixed of each method, and how each is trained.

    Raises:
        FieldError: the first thing that cannot be.
    """
    _check_search(study)
    for method, space in study.search.space.items():
        with under("search.space"):
            _check_space(study, method, space)
    for method in study.reference:
        _check_reference(study, method)
    for method, values in study.vary.items():
        _check_varied(study, method, values)
    _check_overrides(study)
    _check_recipes(study)
    for method in study.methods:
        for scenario in study.scenarios:
            _check_method(study, method, scenario)


def _check_search(study: Study) -> None:
    search = study.search
    for position, method in enumerate(study.tune):
        if method not in study.methods:
            raise FieldError(
                f"tune.{position}",
                f"'{method}' is to be searched but is not among methods: "
                f"{suggest(method, study.methods)}",
            )
        if not study.space_of(method):
            raise FieldError(
                f"tune.{position}",
                f"method {method} has nothing to search: give search.space.{method}, "
                "or leave it out here",
            )
    check_distinct("tune", study.tune)
    if study.tune and search.scenario not in (None, *study.scenarios):
        raise FieldError(
            "search.scenario",
            f"'{search.scenario}' is not among scenarios: "
            f"{suggest(search.scenario or '', study.scenarios)}",
        )


def _check_space(study: Study, method: str, space: Mapping[str, Space]) -> None:
    known = tunable_of(method)
    for name, interval in space.items():
        path = f"{method}.{name}"
        if name not in known:
            tail = suggest(name, known)
            raise FieldError(path, f"method {method} has no parameter '{name}': {tail}")
        if not isinstance(known[name].default, float):
            raise FieldError(path, f"only real numbers are searched, {name} is not one: fix it")
        for end in ("low", "high"):
            try:
                known[name].check(getattr(interval, end))
            except FieldError as error:
                raise FieldError(f"{path}.{end}", error.message) from error
        if method in study.tune and name in study.hyperparameters.get(method, ()):
            raise FieldError(
                path, f"{name} is also fixed, by hyperparameters.{method}.{name}: remove one"
            )


def _check_reference(study: Study, method: str) -> None:
    values, space = study.reference[method], study.space_of(method)
    searched = method in study.tune
    for name in values:
        path = f"reference.{method}.{name}"
        if name in study.hyperparameters.get(method, ()):
            raise FieldError(
                path, f"{name} is also fixed, by hyperparameters.{method}.{name}: remove one"
            )
        if searched and name not in space:
            raise FieldError(
                path, f"{name} is not searched: move it to hyperparameters.{method}.{name}"
            )
        if searched and not space[name].low <= values.number(name) <= space[name].high:
            raise FieldError(
                path,
                f"{values.number(name):g} is outside the searched range "
                f"[{space[name].low:g}, {space[name].high:g}]: widen search.space.{method}.{name}",
            )
    lacking = [name for name in space if name not in values]
    if searched and lacking:
        raise FieldError(
            f"reference.{method}", f"lacks {', '.join(lacking)}, which the study searches"
        )


def _check_varied(study: Study, method: str, varied: Mapping[str, Sequence[float]]) -> None:
    """See that what is varied can be, and is not searched too."""
    if method not in study.methods:
        raise FieldError(
            f"vary.{method}", f"it is not among methods: {suggest(method, study.methods)}"
        )
    if method in study.tune:
        raise FieldError(f"vary.{method}", "it is searched (tune): remove one")
    known = parameters_of(method)
    for name, values in varied.items():
        path = f"vary.{method}.{name}"
        if name not in known:
            tail = suggest(name, known)
            raise FieldError(path, f"method {method} has no parameter '{name}': {tail}")
        if not isinstance(known[name].default, float):
            raise FieldError(path, f"only real numbers are varied, {name} is not one")
        if not values:
            raise FieldError(path, "give at least one value, such as [0.1, 1, 10]")
        for position, value in enumerate(values):
            try:
                known[name].check(value)
            except FieldError as error:
                raise FieldError(f"{path}.{position}", error.message) from error
        check_distinct(path, values)


def _check_overrides(study: Study) -> None:
    """Refuse to fix on a scenario what is searched, or what the reference fixes."""
    for position, override in enumerate(study.overrides):
        for method, values in override.hyperparameters.items():
            path = f"overrides.{position}.hyperparameters.{method}"
            for name in values:
                if name in study.reference.get(method, ()):
                    message = f"{name} is also fixed, by reference.{method}.{name}: remove one"
                    raise FieldError(f"{path}.{name}", message)
                if method in study.tune and name in study.space_of(method):
                    raise FieldError(
                        f"{path}.{name}", f"{name} is searched: fix it on all scenarios or on none"
                    )


def _check_method(study: Study, method: str, scenario: str) -> None:
    """See that a method, and the runs it needs, can be trained with what the study says."""
    values = study.hyperparameters_of(method, scenario)
    try:
        method_of(method).check(values, study.recipe_of(method, scenario).epochs)
        for stage in method_of(method).stages:
            passed = {name: values[name] for name in stage.passes}
            taken = study.hyperparameters_of(stage.method, scenario, **passed)
            epochs = study.stage_recipe_of(method, stage, scenario).epochs
            method_of(stage.method).check(taken, epochs)
    except FieldError as error:
        path = f"{method}.{error.field}"
        if error.field in study.reference.get(method, ()):
            raise FieldError(f"reference.{path}", error.message) from error
        for position, override in enumerate(study.overrides):
            if override.scenario == scenario and error.field in override.hyperparameters.get(
                method, ()
            ):
                path = f"overrides.{position}.hyperparameters.{path}"
                raise FieldError(path, error.message) from error
        raise FieldError(f"hyperparameters.{path}", error.message) from error


def _check_recipes(study: Study) -> None:
    for method in study.methods:
        for scenario in study.scenarios:
            training = study.training_of(method, scenario)
            path = f"recipes.{method}"
            for position, override in enumerate(study.overrides):
                if override.scenario == scenario and method in override.recipes:
                    path = f"overrides.{position}.{path}"
            if training is not None:
                _check_training(study, method, training, path)


def _check_training(study: Study, method: str, training: MethodRecipe, path: str) -> None:
    if training.selection is Selection.TEST:
        message = "the test split is never looked at while choosing"
        raise FieldError(f"{path}.selection", message)
    has_own = training.selection is Selection.CLEAN and source_of(study.dataset).validation
    if training.selection is not Selection.LAST and not training.hold_out and not has_own:
        message = f"must be above 0 to take the {training.selection}"
        raise FieldError(f"{path}.hold_out", message)
    if method in study.tune:
        raise FieldError(path, "a tuned method is trained under the matched recipe")
    for name in RECIPE_VALUES:
        if name in study.reference.get(method, ()):
            message = f"{name} is also given, by reference.{method}.{name}: remove one"
            raise FieldError(path, message)
