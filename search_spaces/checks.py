"""What must hold between the keys of a study, checked before a second is spent on it.

Each check raises `FieldError` with the dotted path of the key that is at fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from search_spaces.fields import RECIPE_VALUES, Fixed, at, parameters_of, tunable_of, under
from search_spaces.layers import dotted
from search_spaces.resolve import (
    Resolved,
    matched_recipe,
    posterior_recipe,
    recipe_layers,
    reference_of,
    resolve,
)
from trainables.backbones import backbone_of
from trainables.datasets import source_of
from trainables.errors import FieldError, suggest
from trainables.methods import method_of
from trainables.methods.published import Selection
from trainables.noise import noise_of
from trainables.run.seeds import AXES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from search_spaces.schema import Study
    from trainables.datasets.base import Source
    from trainables.run.parameters import Parameter, Space
    from trainables.run.recipe import Recipe

Item = TypeVar("Item")

WILD = frozenset("*?[")
"""What makes a pattern of a scenario's name."""


def check_study(study: Study, *, narrowed: bool = False) -> None:
    """Check everything about a study whose keys have the right types.

    Args:
        study: as it is written.
        narrowed: whether the scenarios were said after the overrides: those for others are idle.

    Raises:
        FieldError: the first thing that cannot be.
    """
    with at("dataset"):
        source = source_of(study.dataset)
    _check_names(study, source)
    _check_patterns(study, narrowed=narrowed)
    for path, recipe in _recipes(study):
        _check_recipe(study, source, recipe, path)
    _check_search(study)
    _check_methods(study, source)
    _check_seeds(study)
    _check_posterior(study)
    _check_samples(study, source)


def _check_names(study: Study, source: Source) -> None:
    _check_each("scenarios", study.scenarios, lambda name: noise_of(name).check(source))
    _check_each("methods", study.methods, method_of)


def _check_patterns(study: Study, *, narrowed: bool) -> None:
    """Refuse an override for what is no scenario, or for none of the study's."""
    for position, override in enumerate(study.overrides):
        name, path = override.scenario, f"overrides.{position}.scenario"
        if WILD & set(name):
            continue
        with at(path):
            noise_of(name)
        _refuse(
            path,
            f"'{name}' is not among scenarios: {suggest(name, study.scenarios)}",
            when=name not in study.scenarios and not narrowed,
        )


def _recipes(study: Study) -> Iterator[tuple[str, Recipe]]:
    yield "recipe", matched_recipe(study)
    if study.posterior.recipe is not None:
        yield "posterior.recipe", posterior_recipe(study)
    for scenario in study.scenarios:
        yield dotted(recipe_layers(study, scenario)[0][0]), matched_recipe(study, scenario)


def _check_recipe(study: Study, source: Source, recipe: Recipe, path: str) -> None:
    """See that a recipe says what of the dataset's pictures a network sees."""
    _refuse(
        f"{path}.crop_size",
        f"the images of dataset {study.dataset} are seen whole: leave it out",
        when=not source.from_files and recipe.crop_size is not None,
    )
    for name in ("crop_size", "mean"):
        _refuse(
            f"{path}.{name}",
            f"the pictures of dataset {study.dataset} are read as they are needed: "
            f"{name} must be given",
            when=source.from_files and getattr(recipe, name) is None,
        )
    if source.image is not None or source.from_files:  # else known once the data are read
        check_shapes(study, recipe.input_shape(source.image), path)


def check_shapes(study: Study, image: tuple[int, int, int], path: str = "recipe") -> None:
    """See that backbone and recipe take images of a shape.

    Args:
        study: with both.
        image: shape (C, H, W) of what the network sees.
        path: of the recipe.

    Raises:
        FieldError: one of them does not.
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
            f"{path}.mean",
            f"mean and std must have one value for each of the {image[0]} channels "
            f"of {study.dataset}, got {len(mean)}",
        )


def _check_seeds(study: Study) -> None:
    phases = {
        "search.seed": (study.search.seed,),
        "select.seeds": study.select.seeds,
        "confirm.seeds": study.confirm.seeds,
    }
    used: dict[int, str] = {}
    for path, seeds in phases.items():
        _check_distinct(path, seeds)
        for position, seed in enumerate(seeds):
            _refuse(
                f"{path}.{position}",
                f"seed {seed} is that of {used.get(seed)} too: search, select and confirm "
                "need different ones",
                when=seed in used,
            )
        used |= dict.fromkeys(seeds, path)
    for axis in study.fixed_seeds:
        _refuse(
            f"fixed_seeds.{axis}",
            f"unknown axis '{axis}': {suggest(axis, AXES)}",
            when=axis not in AXES,
        )


def _check_posterior(study: Study) -> None:
    asks = [name for name in study.scenarios if noise_of(name).needs_posterior]
    if asks and study.subset is not None and "subset" not in study.fixed_seeds:
        raise FieldError(
            "fixed_seeds",
            f"{asks[0]} noise is drawn from one network for all seeds: they must train on one "
            "subset (fixed_seeds.subset=0)",
        )
    _refuse(
        "balanced",
        "a balanced subset needs its size: give subset too",
        when=study.balanced and study.subset is None,
    )


def _check_samples(study: Study, source: Source) -> None:
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
    chooses = bool(study.tune) or study.confirm.hold_out
    fractions = {"search.hold_out": study.search.hold_out} if chooses else {}
    fractions |= {
        f"{dotted(one.training.path)}.hold_out": one.training.hold_out
        for one in _cells(study)
        if one.training.hold_out
    }
    for path, fraction in fractions.items():
        held = round(fraction * count)
        _refuse(
            "subset" if study.subset else path,
            f"of {count} samples hold_out {fraction:g} leaves {held} to choose by "
            f"and {count - held} to train on",
            when=not 0 < held < count,
        )


def _cells(study: Study) -> Iterator[Resolved]:
    for method in study.methods:
        for scenario in study.scenarios:
            yield resolve(study, method, scenario)


def _check_methods(study: Study, source: Source) -> None:
    """Check what is searched and fixed of each method, and how each is trained."""
    _check_choices(study)
    _check_truth(study, source)
    for method, space in study.search.space.items():
        with under("search.space"):
            _check_space(study, method, space)
    for method in dict.fromkeys([*study.reference, *study.methods]):
        _check_reference(study, method)
    for method, values in study.vary.items():
        _check_varied(study, method, values)
    _check_overrides(study)
    for resolved in _cells(study):
        _check_training(study, resolved, source)
    for resolved in _cells(study):
        _check_cell(resolved)


def _check_choices(study: Study) -> None:
    """See that tuned methods are trained as the others are, and that each choice can be made."""
    choices = {f"recipes.{method}": (method, one) for method, one in study.recipes.items()}
    for position, override in enumerate(study.overrides):
        for method, one in override.recipes.items():
            choices[f"overrides.{position}.recipes.{method}"] = method, one
    for path, (method, choice) in choices.items():
        with at(path):
            method_of(method)
        _refuse(
            path,
            "a tuned method is trained under the matched recipe: leave it out of tune",
            when=choice != "matched" and method in study.tune,
        )
    for method, _ in choices.values():
        for scenario in study.scenarios:
            resolve(study, method, scenario)


def _check_truth(study: Study, source: Source) -> None:
    """See that no method asks for true labels where there are none."""
    for position, method in enumerate(study.methods):
        _refuse(
            f"methods.{position}",
            f"method {method} needs true labels, dataset {study.dataset} has none: leave it out",
            when=method_of(method).needs_truth and not source.true_labels,
        )


def _check_search(study: Study) -> None:
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


def _real_number(
    method: str, known: Mapping[str, Parameter], name: str, path: str, refusal: str
) -> Parameter:
    """Return a parameter of a method that is a real number."""
    _refuse(
        path,
        f"method {method} has no parameter '{name}': {suggest(name, known)}",
        when=name not in known,
    )
    _refuse(path, refusal, when=not isinstance(known[name].default, float))
    return known[name]


def _check_space(study: Study, method: str, space: Mapping[str, Space]) -> None:
    known = tunable_of(method)
    for name, interval in space.items():
        path = f"{method}.{name}"
        refusal = f"only real numbers are searched, {name} is not one: fix it"
        parameter = _real_number(method, known, name, path, refusal)
        for end in ("low", "high"):
            with at(f"{path}.{end}"):
                parameter.check(getattr(interval, end))
        if method in study.tune:
            _refuse_fixed(study, method, name, path)


def _check_reference(study: Study, method: str) -> None:
    values, space = reference_of(study, method), study.space_of(method)
    for name in values or ():
        path = f"reference.{method}.{name}"
        _refuse_fixed(study, method, name, path)
        _refuse(
            path,
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
    lacking = [name for name in space if name not in values]
    _refuse(
        f"reference.{method}",
        f"lacks {', '.join(lacking)}, which the study searches",
        when=bool(lacking),
    )


def _check_varied(study: Study, method: str, varied: Mapping[str, Sequence[float]]) -> None:
    """See that what is varied can be, and is not searched too."""
    _refuse(
        f"vary.{method}",
        f"it is not among methods: {suggest(method, study.methods)}",
        when=method not in study.methods,
    )
    _refuse(f"vary.{method}", "it is searched (tune): remove one", when=method in study.tune)
    known = parameters_of(method)
    for name, values in varied.items():
        path = f"vary.{method}.{name}"
        refusal = f"only real numbers are varied, {name} is not one"
        parameter = _real_number(method, known, name, path, refusal)
        _refuse(path, "give at least one value, such as [0.1, 1, 10]", when=not values)
        _check_each(path, values, parameter.check)


def _check_overrides(study: Study) -> None:
    """Refuse to fix on a scenario what is searched, or what the reference fixes."""
    for position, override in enumerate(study.overrides):
        if not any(map(override.applies_to, study.scenarios)):
            continue
        for method, fixed in override.hyperparameters.items():
            for name in fixed.values:
                path = f"overrides.{position}.hyperparameters.{method}.{name}"
                _refuse(
                    path,
                    f"{name} is also fixed, by reference.{method}.{name}: remove one",
                    when=name in (reference_of(study, method) or ()),
                )
                _refuse(
                    path,
                    f"{name} is searched: fix it on all scenarios or on none",
                    when=method in study.tune and name in study.space_of(method),
                )


def _check_training(study: Study, resolved: Resolved, source: Source) -> None:
    training, method = resolved.training, resolved.method
    if training.kind == "matched":
        return
    path, selection = dotted(training.path), training.selection
    _refuse(
        f"{path}.selection",
        "the test split is never looked at while choosing",
        when=selection is Selection.TEST,
    )
    _refuse(
        path,
        f"it takes the {selection}, dataset {study.dataset} has no true labels to validate on: "
        "use matched",
        when=selection is Selection.CLEAN and not source.true_labels,
    )
    has_own = selection is Selection.CLEAN and source.validation
    _refuse(
        f"{path}.hold_out",
        f"must be above 0 to take the {selection}",
        when=selection is not Selection.LAST and not training.hold_out and not has_own,
    )
    for name in RECIPE_VALUES:
        _refuse(
            path,
            f"{name} is also given, by reference.{method}.{name}: remove one",
            when=name in (reference_of(study, method) or ()),
        )


def _check_cell(resolved: Resolved) -> None:
    """See that a method, and the runs it needs, can be trained with what the study says."""
    try:
        method_of(resolved.method).check(resolved.hyperparameters, resolved.recipe.epochs)
        for stage in resolved.stages.values():
            method_of(stage.method).check(stage.hyperparameters, stage.recipe.epochs)
    except FieldError as error:
        sourced = resolved.values.get(error.field)
        path = sourced.path if sourced else ("hyperparameters", resolved.method, error.field)
        raise FieldError(dotted(path), error.message) from error


def _refuse_fixed(study: Study, method: str, name: str, path: str) -> None:
    """Refuse a value at a path that the study fixes, too."""
    _refuse(
        path,
        f"{name} is also fixed, by hyperparameters.{method}.{name}: remove one",
        when=name in study.hyperparameters.get(method, Fixed()).values,
    )


def _check_each(path: str, items: Sequence[Item], check: Callable[[Item], object]) -> None:
    """Check each item of a list, and refuse one that stands in it twice."""
    for position, item in enumerate(items):
        with at(f"{path}.{position}"):
            check(item)
    _check_distinct(path, items)


def _check_distinct(path: str, items: Sequence[object]) -> None:
    """Refuse a list with an item that stands in it twice."""
    for position, item in enumerate(items):
        _refuse(
            f"{path}.{position}",
            f"{item} is given twice: remove one",
            when=item in items[:position],
        )


def _refuse(path: str, message: str, *, when: bool) -> None:
    """Refuse the study, the key at a path being at fault."""
    if when:
        raise FieldError(path, message)
