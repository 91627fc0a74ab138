"""What must hold between the keys of a study, checked before a second is spent on it.

Each check raises `FieldError` with the dotted path of the key that is at fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from search_spaces.fields import RECIPE_VALUES, Fixed, at, parameters_of, tunable_of, under
from search_spaces.layers import dotted
from search_spaces.resolve import Resolved, matched_recipe, posterior_recipe, reference_of, resolve
from trainables.backbones import backbone_of
from trainables.datasets import source_of
from trainables.errors import FieldError, suggest
from trainables.methods import method_of
from trainables.methods.published import Selection
from trainables.noise import noise_of
from trainables.seeds import AXES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from search_spaces.schema import Study
    from trainables.datasets.base import Source
    from trainables.parameters import FrozenMap, Parameter, Space
    from trainables.recipe import Recipe

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
    for position, scenario in enumerate(study.scenarios):
        with at(f"scenarios.{position}"):
            noise_of(scenario).check(source)
    _check_distinct("scenarios", study.scenarios)
    for position, method in enumerate(study.methods):
        with at(f"methods.{position}"):
            method_of(method)
    _check_distinct("methods", study.methods)


def _check_patterns(study: Study, *, narrowed: bool) -> None:
    """Refuse an override for what is no scenario, or for none of the study's."""
    for position, override in enumerate(study.overrides):
        name, path = override.scenario, f"overrides.{position}.scenario"
        if WILD & set(name):
            continue
        with at(path):
            noise_of(name)
        if name not in study.scenarios and not narrowed:
            tail = suggest(name, study.scenarios)
            raise FieldError(path, f"'{name}' is not among scenarios: {tail}")


def _shape(image: Sequence[int]) -> str:
    return "×".join(map(str, image))


def _recipes(study: Study) -> Iterator[tuple[str, Recipe]]:
    yield "recipe", matched_recipe(study)
    if study.posterior.recipe is not None:
        yield "posterior.recipe", posterior_recipe(study)
    for scenario in study.scenarios:
        for position, override in study.overrides_on(scenario):
            if override.recipe.values:
                yield f"overrides.{position}.recipe", matched_recipe(study, scenario)
                break


def _check_recipe(study: Study, source: Source, recipe: Recipe, path: str) -> None:
    """See that a recipe says what of the dataset's pictures a network sees."""
    if not source.from_files and recipe.crop_size is not None:
        raise FieldError(
            f"{path}.crop_size",
            f"the images of dataset {study.dataset} are seen whole: leave it out",
        )
    if source.from_files:
        for name in ("crop_size", "mean"):
            if getattr(recipe, name) is None:
                raise FieldError(
                    f"{path}.{name}",
                    f"the pictures of dataset {study.dataset} are read as they are needed: "
                    f"{name} must be given",
                )
    if source.image is None and not source.from_files:  # known once the data are read
        return
    image = recipe.input_shape(source.image)
    check_shapes(study, image, path)


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
    _check_distinct("select.seeds", study.select.seeds)
    _check_distinct("confirm.seeds", study.confirm.seeds)
    used = {study.search.seed: "search.seed"}
    for path, seeds in (
        ("select.seeds", study.select.seeds),
        ("confirm.seeds", study.confirm.seeds),
    ):
        for position, seed in enumerate(seeds):
            if seed in used:
                raise FieldError(
                    f"{path}.{position}",
                    f"seed {seed} is that of {used[seed]} too: search, select and confirm "
                    "need different ones",
                )
        used |= dict.fromkeys(seeds, path)
    for axis in study.fixed_seeds:
        if axis not in AXES:
            raise FieldError(f"fixed_seeds.{axis}", f"unknown axis '{axis}': {suggest(axis, AXES)}")


def _check_posterior(study: Study) -> None:
    asks = [name for name in study.scenarios if noise_of(name).needs_posterior]
    if asks and study.subset is not None and "subset" not in study.fixed_seeds:
        raise FieldError(
            "fixed_seeds",
            f"{asks[0]} noise is drawn from one network for all seeds: they must train on one "
            "subset (fixed_seeds.subset=0)",
        )
    if study.balanced and study.subset is None:
        raise FieldError("balanced", "a balanced subset needs its size: give subset too")


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
    trainings = [resolved.training for resolved in _cells(study)]
    fractions |= {f"{dotted(one.path)}.hold_out": one.hold_out for one in trainings if one.hold_out}
    for path, fraction in fractions.items():
        held = round(fraction * count)
        if not 0 < held < count:
            raise FieldError(
                "subset" if study.subset else path,
                f"of {count} samples hold_out {fraction:g} leaves {held} to choose by "
                f"and {count - held} to train on",
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
        if choice != "matched" and method in study.tune:
            raise FieldError(
                path, "a tuned method is trained under the matched recipe: leave it out of tune"
            )
    for method, _ in choices.values():
        for scenario in study.scenarios:
            resolve(study, method, scenario)


def _check_truth(study: Study, source: Source) -> None:
    """See that no method asks for true labels where there are none."""
    for position, method in enumerate(study.methods):
        if method_of(method).needs_truth and not source.true_labels:
            raise FieldError(
                f"methods.{position}",
                f"method {method} needs true labels, dataset {study.dataset} has none: "
                "leave it out",
            )


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
    _check_distinct("tune", study.tune)
    if study.tune and search.scenario not in (None, *study.scenarios):
        raise FieldError(
            "search.scenario",
            f"'{search.scenario}' is not among scenarios: "
            f"{suggest(search.scenario or '', study.scenarios)}",
        )


def _real_number(
    method: str, known: Mapping[str, Parameter], name: str, path: str, refusal: str
) -> Parameter:
    """Return a parameter of a method that is a real number."""
    if name not in known:
        tail = suggest(name, known)
        raise FieldError(path, f"method {method} has no parameter '{name}': {tail}")
    if not isinstance(known[name].default, float):
        raise FieldError(path, refusal)
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
        if method in study.tune and name in _fixed(study, method):
            raise FieldError(
                path, f"{name} is also fixed, by hyperparameters.{method}.{name}: remove one"
            )


def _check_reference(study: Study, method: str) -> None:
    values, space = reference_of(study, method), study.space_of(method)
    searched = method in study.tune
    if values is None:
        return
    for name in values:
        path = f"reference.{method}.{name}"
        if name in _fixed(study, method):
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
        refusal = f"only real numbers are varied, {name} is not one"
        parameter = _real_number(method, known, name, path, refusal)
        if not values:
            raise FieldError(path, "give at least one value, such as [0.1, 1, 10]")
        for position, value in enumerate(values):
            with at(f"{path}.{position}"):
                parameter.check(value)
        _check_distinct(path, values)


def _check_overrides(study: Study) -> None:
    """Refuse to fix on a scenario what is searched, or what the reference fixes."""
    for position, override in enumerate(study.overrides):
        if not any(map(override.applies_to, study.scenarios)):
            continue
        for method, fixed in override.hyperparameters.items():
            path = f"overrides.{position}.hyperparameters.{method}"
            for name in fixed.values:
                if name in (reference_of(study, method) or ()):
                    message = f"{name} is also fixed, by reference.{method}.{name}: remove one"
                    raise FieldError(f"{path}.{name}", message)
                if method in study.tune and name in study.space_of(method):
                    raise FieldError(
                        f"{path}.{name}", f"{name} is searched: fix it on all scenarios or on none"
                    )


def _check_training(study: Study, resolved: Resolved, source: Source) -> None:
    training = resolved.training
    if training.kind == "matched":
        return
    path = dotted(training.path)
    if training.selection is Selection.TEST:
        message = "the test split is never looked at while choosing"
        raise FieldError(f"{path}.selection", message)
    if training.selection is Selection.CLEAN and not source.true_labels:
        raise FieldError(
            path,
            f"it takes the {training.selection}, dataset {study.dataset} has no true "
            "labels to validate on: use matched",
        )
    has_own = training.selection is Selection.CLEAN and source.validation
    if training.selection is not Selection.LAST and not training.hold_out and not has_own:
        message = f"must be above 0 to take the {training.selection}"
        raise FieldError(f"{path}.hold_out", message)
    for name in RECIPE_VALUES:
        if name in (reference_of(study, resolved.method) or ()):
            message = f"{name} is also given, by reference.{resolved.method}.{name}: remove one"
            raise FieldError(path, message)


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


def _fixed(study: Study, method: str) -> FrozenMap:
    return study.hyperparameters.get(method, Fixed()).values


def _check_distinct(path: str, items: Sequence[object]) -> None:
    """Refuse a list with an item that stands in it twice."""
    for position, item in enumerate(items):
        if item in items[:position]:
            raise FieldError(f"{path}.{position}", f"{item} is given twice: remove one")
