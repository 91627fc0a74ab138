"""What must hold between the keys of a study, checked before a second is spent on it.

Each check raises `FieldError` with the dotted path of the key that is at fault.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from trainables.backbones import backbone_of
from trainables.errors import FieldError, suggest
from trainables.methods import method_of
from trainables.methods.published import Selection
from trainables.noise import noise_of
from trainables.parameters import Parameter
from trainables.seeds import AXES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from search_spaces.schema import Study
    from trainables.datasets.base import Source
    from trainables.parameters import Space


def check_study(study: Study) -> None:
    """Check everything about a study whose keys have the right types.

    Raises:
        FieldError: the first thing that cannot be.
    """
    source = _source(study)
    _check_names(study)
    _check_truth(study, source)
    _check_images(study, source)
    _check_search(study)
    for method, space in study.search.space.items():
        with under("search.space"):
            _check_space(study, method, space)
    for method in study.reference:
        _check_reference(study, method)
    _check_recipes(study)
    for method in study.methods:
        for scenario in study.scenarios:
            _check_method(study, method, scenario)
    _check_seeds(study)
    _check_samples(study, source)


@contextmanager
def under(path: str) -> Iterator[None]:
    """Put a path before that of the faults inside."""
    try:
        yield
    except FieldError as error:
        raise FieldError(f"{path}.{error.field}".rstrip("."), error.message) from error


def parameters_of(method: str) -> dict[str, Parameter]:
    """Return a method's parameters by name.

    Raises:
        FieldError: an unknown method; its path is the name, as where methods are keys.
    """
    try:
        return {parameter.name: parameter for parameter in method_of(method).parameters}
    except FieldError as error:
        raise FieldError(method, error.message) from error


RECIPE_VALUES: dict[str, Parameter] = {
    "learning_rate": Parameter(
        "learning_rate", default=0.1, low=0, low_open=True, help="base rate of the schedule"
    ),
    "weight_decay": Parameter("weight_decay", default=0.0, low=0, help="of the optimiser"),
}
"""Values of the recipe that can be searched with a method."""


def tunable_of(method: str) -> dict[str, Parameter]:
    """Return all that can be searched for a method, by name.

    Raises:
        FieldError: an unknown method.
    """
    return {**parameters_of(method), **RECIPE_VALUES}


def _source(study: Study) -> Source:
    # Its readers are imported only when a study is read, not with this module.
    from trainables.datasets import source_of

    try:
        return source_of(study.dataset)
    except FieldError as error:
        raise FieldError("dataset", error.message) from error


def _check_distinct(path: str, items: Sequence[object]) -> None:
    for position, item in enumerate(items):
        if item in items[:position]:
            raise FieldError(f"{path}.{position}", f"{item} is given twice: remove one")


def _check_names(study: Study) -> None:
    for position, scenario in enumerate(study.scenarios):
        try:
            noise_of(scenario)
        except FieldError as error:
            raise FieldError(f"scenarios.{position}", error.message) from error
    _check_distinct("scenarios", study.scenarios)
    for position, method in enumerate(study.methods):
        try:
            method_of(method)
        except FieldError as error:
            raise FieldError(f"methods.{position}", error.message) from error
    _check_distinct("methods", study.methods)


def _check_truth(study: Study, source: Source) -> None:
    """See that no method asks for true labels where there are none."""
    if source.true_labels:
        return
    for position, method in enumerate(study.methods):
        if method_of(method).needs_truth:
            raise FieldError(
                f"methods.{position}",
                f"method {method} needs true labels, dataset {study.dataset} has none: "
                "leave it out",
            )
        for scenario in study.scenarios:
            training = study.training_of(method, scenario)
            if training is not None and training.selection is Selection.CLEAN:
                raise FieldError(
                    f"recipes.{method}",
                    f"it takes the {training.selection}, dataset {study.dataset} has no true "
                    "labels to validate on: use matched",
                )


def _shape(image: Sequence[int]) -> str:
    return "×".join(map(str, image))


def _check_images(study: Study, source: Source) -> None:
    backbone = backbone_of(study.backbone.name)
    image = source.image
    if not image:  # known once the data are read
        return
    if backbone.image and tuple(image) != backbone.image:
        raise FieldError(
            "backbone.name",
            f"backbone {backbone.name} takes images of {_shape(backbone.image)}, "
            f"dataset {study.dataset} has {_shape(image)}: choose another backbone",
        )
    mean = study.recipe.mean
    if mean is not None and len(mean) != image[0]:
        raise FieldError(
            "recipe.mean",
            f"mean and std must have one value for each of the {image[0]} channels "
            f"of {study.dataset}, got {len(mean)}",
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
        if name in study.hyperparameters.get(method, ()):
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
            if training is None:
                continue
            path = f"recipes.{method}"
            if training.selection is Selection.TEST:
                message = "the test split is never looked at while choosing"
                raise FieldError(f"{path}.selection", message)
            if training.selection is not Selection.LAST and not training.hold_out:
                message = f"must be above 0 to take the {training.selection}"
                raise FieldError(f"{path}.hold_out", message)
            if method in study.tune:
                message = "a tuned method is trained under the matched recipe"
                raise FieldError(path, message)


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


def _check_samples(study: Study, source: Source) -> None:
    size = source.train_size
    if study.subset is not None and size and study.subset > size:
        raise FieldError(
            "subset",
            f"must be from 1 to {size}, the training samples of {study.dataset}, "
            f"got {study.subset}",
        )
    count = study.subset or size
    if count and (study.tune or study.confirm.hold_out):
        held = round(study.search.hold_out * count)
        if not 0 < held < count:
            raise FieldError(
                "subset" if study.subset else "search.hold_out",
                f"of {count} samples hold_out {study.search.hold_out:g} leaves {held} to choose by "
                f"and {count - held} to train on",
            )
