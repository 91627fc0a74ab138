"""Rules of a study that involve several keys, the dataset or the methods.

Each check raises `FieldError` with the dotted key of the faulty value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from search_spaces.fields import (
    RECIPE_VALUES,
    FixedValues,
    errors_at,
    errors_under,
    parameters_of,
    tunable_parameters_of,
)
from search_spaces.layers import format_key
from search_spaces.resolve import (
    ResolvedMethod,
    matched_recipe,
    matched_recipe_layers,
    posterior_recipe,
    protocol_on,
    reference_of,
    resolve,
)
from trainables.backbones import backbone_of
from trainables.datasets import source_of
from trainables.errors import FieldError, suggest
from trainables.methods import method_of
from trainables.methods.published import Selection
from trainables.noise import noise_of
from trainables.run.protocols import HeldOutCycleEnds, HeldOutMean
from trainables.run.seeds import AXES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from search_spaces.schema import Study
    from trainables.datasets.base import Source
    from trainables.run.parameters import Parameter, Space
    from trainables.run.recipe import Recipe

Item = TypeVar("Item")

WILDCARDS = frozenset("*?[")
"""Characters that turn the scenario name of an override into a pattern."""


def check_study(study: Study, *, allow_unused_overrides: bool = False) -> None:
    """Check all rules of a study that is valid under the schema.

    Args:
        study: content of the study file.
        allow_unused_overrides: whether overrides may name scenarios that the study does not have,
            because a flag or a study that extends it selected fewer scenarios.

    Raises:
        FieldError: if a rule is broken; the error describes the first one.
    """
    with errors_at("dataset"):
        source = source_of(study.dataset)
    _check_names(study, source)
    _check_override_scenarios(study, allow_unused=allow_unused_overrides)
    for key, recipe in _recipes(study):
        _check_recipe(study, source, recipe, key)
    _check_search(study)
    for scenario in study.scenarios:
        _check_protocol(study, scenario)
    _check_methods(study, source)
    _check_seeds(study)
    _check_subset(study)
    _check_samples(study, source)


def _check_names(study: Study, source: Source) -> None:
    """Check that all scenarios and methods exist, fit the dataset and are distinct."""
    _check_each("scenarios", study.scenarios, lambda name: noise_of(name).check(source))
    _check_each("methods", study.methods, method_of)


def _check_override_scenarios(study: Study, *, allow_unused: bool) -> None:
    """Check that each override without wildcards names a scenario of the study."""
    for position, override in enumerate(study.overrides):
        name, key = override.scenario, f"overrides.{position}.scenario"
        if WILDCARDS & set(name):
            continue
        with errors_at(key):
            noise_of(name)
        _refuse(
            key,
            f"'{name}' is not among scenarios: {suggest(name, study.scenarios)}",
            when=name not in study.scenarios and not allow_unused,
        )


def _recipes(study: Study) -> Iterator[tuple[str, Recipe]]:
    """Yield the matched recipes with their dotted keys: of the study, posterior and scenarios."""
    yield "recipe", matched_recipe(study)
    if study.posterior.recipe is not None:
        yield "posterior.recipe", posterior_recipe(study)
    for scenario in study.scenarios:
        yield (
            format_key(matched_recipe_layers(study, scenario)[0][0]),
            matched_recipe(study, scenario),
        )


def _check_recipe(study: Study, source: Source, recipe: Recipe, key: str) -> None:
    """Check that `crop_size`, `mean` and `std` of a recipe suit the images of the dataset."""
    _refuse(
        f"{key}.crop_size",
        f"the images of dataset {study.dataset} are seen whole: leave it out",
        when=not source.from_files and recipe.crop_size is not None,
    )
    for name in ("crop_size", "mean"):
        _refuse(
            f"{key}.{name}",
            f"the pictures of dataset {study.dataset} are read as they are needed: "
            f"{name} must be given",
            when=source.from_files and getattr(recipe, name) is None,
        )
    if source.image is not None or source.from_files:  # else the shape is known after reading
        check_shapes(study, recipe.input_shape(source.image), key)


def check_shapes(study: Study, image: tuple[int, int, int], key: str = "recipe") -> None:
    """Check that the backbone and the recipe accept images of a shape.

    Args:
        study: study with the backbone and the recipe.
        image: shape (C, H, W) of the network's input.
        key: dotted key of the recipe.

    Raises:
        FieldError: if the backbone or the recipe does not accept the shape.
    """
    try:
        backbone_of(study.backbone.name).check(image)
    except FieldError as error:
        recipe = matched_recipe(study)
        larger = "" if recipe.crop_size is None else " or a larger recipe.crop_size"
        raise FieldError("backbone.name", f"{error.message}{larger}") from error
    mean = matched_recipe(study).mean
    if mean is not None and len(mean) != image[0]:
        raise FieldError(
            f"{key}.mean",
            f"mean and std must have one value for each of the {image[0]} channels "
            f"of {study.dataset}, got {len(mean)}",
        )


def _check_seeds(study: Study) -> None:
    """Check that the seeds of the phases are disjoint and that the fixed axes exist."""
    phases = {
        "search.seed": (study.search.seed,),
        "select.seeds": study.select.seeds,
        "confirm.seeds": study.confirm.seeds,
    }
    key_of_seed: dict[int, str] = {}
    for key, seeds in phases.items():
        _check_distinct(key, seeds)
        for position, seed in enumerate(seeds):
            _refuse(
                f"{key}.{position}",
                f"seed {seed} is that of {key_of_seed.get(seed)} too: search, select and confirm "
                "need different ones",
                when=seed in key_of_seed,
            )
        key_of_seed |= dict.fromkeys(seeds, key)
    for axis in study.fixed_seeds:
        _refuse(
            f"fixed_seeds.{axis}",
            f"unknown axis '{axis}': {suggest(axis, AXES)}",
            when=axis not in AXES,
        )


def _check_subset(study: Study) -> None:
    """Check that a balanced subset has a size, and that PMD noise has one subset for all seeds."""
    posterior_scenarios = [name for name in study.scenarios if noise_of(name).needs_posterior]
    if posterior_scenarios and study.subset is not None and "subset" not in study.fixed_seeds:
        raise FieldError(
            "fixed_seeds",
            f"{posterior_scenarios[0]} noise is drawn from one network for all seeds: "
            "they must train on one subset (fixed_seeds.subset=0)",
        )
    _refuse(
        "balanced",
        "a balanced subset needs its size: give subset too",
        when=study.balanced and study.subset is None,
    )


def _check_samples(study: Study, source: Source) -> None:
    """Check that the subset is not too large, and that held-out and training parts have samples."""
    size = source.train_size
    if study.subset is not None and size and study.subset > size:
        raise FieldError(
            "subset",
            f"must be from 1 to {size}, the training samples of {study.dataset}, "
            f"got {study.subset}",
        )
    count = study.subset or size
    if not count:
        return
    holds_out = bool(study.tune) or study.confirm.hold_out
    fractions = {"search.hold_out": study.search.hold_out} if holds_out else {}
    fractions |= {
        f"{format_key(resolved.training.key_path)}.hold_out": resolved.training.hold_out
        for resolved in _resolve_all(study)
        if resolved.training.hold_out
    }
    for key, fraction in fractions.items():
        hold_out_size = round(fraction * count)
        _refuse(
            "subset" if study.subset else key,
            f"of {count} samples hold_out {fraction:g} leaves {hold_out_size} to choose by "
            f"and {count - hold_out_size} to train on",
            when=not 0 < hold_out_size < count,
        )


def _resolve_all(study: Study) -> Iterator[ResolvedMethod]:
    """Yield the recipe and hyperparameters of every method on every scenario."""
    for method in study.methods:
        for scenario in study.scenarios:
            yield resolve(study, method, scenario)


def _check_methods(study: Study, source: Source) -> None:
    """Check each method's searched, fixed and varied values, and its recipe."""
    _check_recipe_choices(study)
    _check_true_labels(study, source)
    for method, space in study.search.space.items():
        with errors_under("search.space"):
            _check_space(study, method, space)
    for method in dict.fromkeys([*study.reference, *study.methods]):
        _check_reference(study, method)
    for method, values in study.vary.items():
        _check_varied(study, method, values)
    _check_overrides(study)
    for resolved in _resolve_all(study):
        _check_training(study, resolved, source)
    for resolved in _resolve_all(study):
        _check_trainable(resolved)


def _check_recipe_choices(study: Study) -> None:
    """Check that tuned methods have the matched recipe, and that every method can be resolved."""
    choices = {f"recipes.{method}": (method, choice) for method, choice in study.recipes.items()}
    for position, override in enumerate(study.overrides):
        for method, choice in override.recipes.items():
            choices[f"overrides.{position}.recipes.{method}"] = method, choice
    for key, (method, choice) in choices.items():
        with errors_at(key):
            method_of(method)
        _refuse(
            key,
            "a tuned method is trained under the matched recipe: leave it out of tune",
            when=choice != "matched" and method in study.tune,
        )
    for method, _ in choices.values():
        for scenario in study.scenarios:
            resolve(study, method, scenario)


def _check_true_labels(study: Study, source: Source) -> None:
    """Check that no method needs true labels if the dataset has none."""
    for position, method in enumerate(study.methods):
        _refuse(
            f"methods.{position}",
            f"method {method} needs true labels, dataset {study.dataset} has none: leave it out",
            when=method_of(method).needs_truth and not source.true_labels,
        )


def _check_search(study: Study) -> None:
    """Check the tuned methods and the searched scenario."""
    search = study.search
    for position, method in enumerate(study.tune):
        _refuse(
            f"tune.{position}",
            f"'{method}' is to be searched but is not among methods: "
            f"{suggest(method, study.methods)}",
            when=method not in study.methods,
        )
        _refuse(
            f"tune.{position}",
            f"method {method} has nothing to search: give search.space.{method}, "
            "or leave it out here",
            when=not study.space_of(method),
        )
    _check_distinct("tune", study.tune)
    _refuse(
        "search.scenario",
        f"'{search.scenario}' is not among scenarios: "
        f"{suggest(search.scenario or '', study.scenarios)}",
        when=bool(study.tune) and search.scenario not in (None, *study.scenarios),
    )


def _check_protocol(study: Study, scenario: str) -> None:
    """Check that trainings on a scenario have the cycle ends that the protocol averages.

    The recipe must also evaluate the held-out accuracy in these epochs.
    """
    recipe, protocol = matched_recipe(study, scenario), protocol_on(study, scenario)
    if not isinstance(protocol, HeldOutCycleEnds):
        return
    period, ends = recipe.schedule.cycle, protocol.epochs(recipe)
    _refuse(
        "search.protocol",
        f"{protocol.key} needs a learning rate that restarts, the schedule on {scenario} is "
        f"{recipe.schedule.kind}: use {HeldOutMean.key}",
        when=period is None,
    )
    _refuse(
        "search.protocol",
        f"{protocol.key} needs a whole cycle of {period} epochs, a training on {scenario} has "
        f"{recipe.epochs}: use {HeldOutMean.key}",
        when=not ends,
    )
    skipped = ", ".join(str(epoch) for epoch in ends if not recipe.evaluates(epoch))
    layers = matched_recipe_layers(study, scenario)
    key_paths = [key for key, part in layers if "evaluate_every" in part.names]
    _refuse(
        f"{format_key(key_paths[0] if key_paths else ('recipe',))}.evaluate_every",
        f"evaluate_every {recipe.evaluate_every} skips cycle ends that choose (epochs {skipped}): "
        f"use a divisor of {period}, or search.protocol={HeldOutMean.key}",
        when=bool(skipped),
    )


def _real_number(
    method: str, parameters: Mapping[str, Parameter], name: str, key: str, message: str
) -> Parameter:
    """Return a parameter of a method, and check that it exists and is a real number.

    Args:
        method: name of the method, for messages.
        parameters: parameters of the method by name.
        name: name of the parameter.
        key: dotted key at which the study names the parameter.
        message: message of the error if the parameter is not a real number.
    """
    _refuse(
        key,
        f"method {method} has no parameter '{name}': {suggest(name, parameters)}",
        when=name not in parameters,
    )
    _refuse(key, message, when=not isinstance(parameters[name].default, float))
    return parameters[name]


def _check_space(study: Study, method: str, space: Mapping[str, Space]) -> None:
    """Check the search space that the study states for a method."""
    parameters = tunable_parameters_of(method)
    for name, interval in space.items():
        key = f"{method}.{name}"
        message = (
            f"only real numbers are searched, {name} is not one: "
            f"set it in hyperparameters.{method} instead"
        )
        parameter = _real_number(method, parameters, name, key, message)
        for end in ("low", "high"):
            with errors_at(f"{key}.{end}"):
                parameter.check(getattr(interval, end))
        if method in study.tune:
            _refuse_fixed(study, method, name, key)


def _check_reference(study: Study, method: str) -> None:
    """Check that a method's reference has exactly the searched values, inside their ranges."""
    values, space = reference_of(study, method), study.space_of(method)
    for name in values or ():
        key = f"reference.{method}.{name}"
        _refuse_fixed(study, method, name, key)
        _refuse(
            key,
            f"{name} is not searched: move it to hyperparameters.{method}.{name}",
            when=method in study.tune and name not in space,
        )
    if values is None or method not in study.tune:
        return
    for name in values:
        low, high, value = space[name].low, space[name].high, values.number(name)
        _refuse(
            f"reference.{method}.{name}",
            f"{value:g} is outside the searched range [{low:g}, {high:g}]: "
            f"widen search.space.{method}.{name}",
            when=not low <= value <= high,
        )
    missing = [name for name in space if name not in values]
    _refuse(
        f"reference.{method}",
        f"lacks {', '.join(missing)}, which the study searches",
        when=bool(missing),
    )


def _check_varied(study: Study, method: str, varied: Mapping[str, Sequence[float]]) -> None:
    """Check that varied hyperparameters are real numbers of a method that is not tuned."""
    _refuse(
        f"vary.{method}",
        f"it is not among methods: {suggest(method, study.methods)}",
        when=method not in study.methods,
    )
    _refuse(f"vary.{method}", "it is searched (tune): remove one", when=method in study.tune)
    parameters = parameters_of(method)
    for name, values in varied.items():
        key = f"vary.{method}.{name}"
        message = f"only real numbers are varied, {name} is not one"
        parameter = _real_number(method, parameters, name, key, message)
        _refuse(key, "give at least one value, such as [0.1, 1, 10]", when=not values)
        _check_each(key, values, parameter.check)


def _check_overrides(study: Study) -> None:
    """Check that overrides fix no hyperparameter that is searched or in the reference."""
    for position, override in enumerate(study.overrides):
        if not any(map(override.applies_to, study.scenarios)):
            continue
        for method, fixed in override.hyperparameters.items():
            for name in fixed.values:
                key = f"overrides.{position}.hyperparameters.{method}.{name}"
                _refuse(
                    key,
                    f"{name} is also fixed, by reference.{method}.{name}: remove one",
                    when=name in (reference_of(study, method) or ()),
                )
                _refuse(
                    key,
                    f"{name} is searched: fix it on all scenarios or on none",
                    when=method in study.tune and name in study.space_of(method),
                )


def _check_training(study: Study, resolved: ResolvedMethod, source: Source) -> None:
    """Check the epoch selection and the held-out fraction of a recipe that is not matched."""
    training, method = resolved.training, resolved.method
    if training.kind == "matched":
        return
    key, selection = format_key(training.key_path), training.selection
    _refuse(
        f"{key}.selection",
        "the test split is never looked at while choosing",
        when=selection is Selection.TEST,
    )
    _refuse(
        key,
        f"it takes the {selection}, dataset {study.dataset} has no true labels to validate on: "
        "use matched",
        when=selection is Selection.CLEAN and not source.true_labels,
    )
    has_validation = selection is Selection.CLEAN and source.validation
    _refuse(
        f"{key}.hold_out",
        f"must be above 0 to take the {selection}",
        when=selection is not Selection.LAST and not training.hold_out and not has_validation,
    )
    for name in RECIPE_VALUES:
        _refuse(
            key,
            f"{name} is also given, by reference.{method}.{name}: remove one",
            when=name in (reference_of(study, method) or ()),
        )


def _check_trainable(resolved: ResolvedMethod) -> None:
    """Check that a method and its stages accept their hyperparameters and numbers of epochs."""
    try:
        method_of(resolved.method).check(resolved.hyperparameters, resolved.recipe.epochs)
        for stage in resolved.stages.values():
            method_of(stage.method).check(stage.hyperparameters, stage.recipe.epochs)
    except FieldError as error:
        sourced_value = resolved.values.get(error.field)
        key = (
            sourced_value.key_path
            if sourced_value
            else ("hyperparameters", resolved.method, error.field)
        )
        raise FieldError(format_key(key), error.message) from error


def _refuse_fixed(study: Study, method: str, name: str, key: str) -> None:
    """Refuse the value at a path if the study fixes the same hyperparameter as well."""
    _refuse(
        key,
        f"{name} is also fixed, by hyperparameters.{method}.{name}: remove one",
        when=name in study.hyperparameters.get(method, FixedValues()).values,
    )


def _check_each(key: str, items: Sequence[Item], check: Callable[[Item], object]) -> None:
    """Check each item of a list, and that no item is repeated."""
    for position, item in enumerate(items):
        with errors_at(f"{key}.{position}"):
            check(item)
    _check_distinct(key, items)


def _check_distinct(key: str, items: Sequence[object]) -> None:
    """Check that no item of a list is repeated."""
    for position, item in enumerate(items):
        _refuse(
            f"{key}.{position}",
            f"{item} is given twice: remove one",
            when=item in items[:position],
        )


def _refuse(key: str, message: str, *, when: bool) -> None:
    """Raise `FieldError` for the key at a path if a condition holds."""
    if when:
        raise FieldError(key, message)
