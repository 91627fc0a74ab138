"""What must hold between the keys of a study, checked before a second is spent on it.

Each check raises `FieldError` with the dotted path of the key that is at fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from search_spaces.method_checks import check_methods
from search_spaces.tunable import check_distinct
from trainables.backbones import backbone_of
from trainables.datasets import source_of
from trainables.errors import FieldError, suggest
from trainables.methods import method_of
from trainables.methods.published import Selection
from trainables.noise import noise_of
from trainables.seeds import AXES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from search_spaces.schema import Study
    from trainables.datasets.base import Source
    from trainables.recipe import Recipe


def check_study(study: Study) -> None:
    """Check everything about a study whose keys have the right types.

    Raises:
        FieldError: the first thing that cannot be.
    """
    source = _source(study)
    _check_names(study, source)
    _check_truth(study, source)
    _check_images(study, source)
    check_methods(study)
    _check_seeds(study)
    _check_posterior(study)
    _check_samples(study, source)


def _source(study: Study) -> Source:
    try:
        return source_of(study.dataset)
    except FieldError as error:
        raise FieldError("dataset", error.message) from error


def _check_names(study: Study, source: Source) -> None:
    for position, scenario in enumerate(study.scenarios):
        try:
            noise_of(scenario).check(source)
        except FieldError as error:
            raise FieldError(f"scenarios.{position}", error.message) from error
    check_distinct("scenarios", study.scenarios)
    for position, method in enumerate(study.methods):
        try:
            method_of(method)
        except FieldError as error:
            raise FieldError(f"methods.{position}", error.message) from error
    check_distinct("methods", study.methods)


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
    for path, recipe in _recipes(study):
        _check_recipe(study, source, recipe, path)


def _recipes(study: Study) -> Iterator[tuple[str, Recipe]]:
    yield "recipe", study.recipe
    if study.posterior.recipe is not None:
        yield "posterior.recipe", study.posterior.recipe
    for position, override in enumerate(study.overrides):
        if override.recipe is not None:
            yield f"overrides.{position}.recipe", override.recipe


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
        larger = "" if study.recipe.crop_size is None else " or a larger recipe.crop_size"
        raise FieldError("backbone.name", f"{error.message}{larger}") from error
    mean = study.recipe.mean
    if mean is not None and len(mean) != image[0]:
        raise FieldError(
            f"{path}.mean",
            f"mean and std must have one value for each of the {image[0]} channels "
            f"of {study.dataset}, got {len(mean)}",
        )


def _check_seeds(study: Study) -> None:
    check_distinct("select.seeds", study.select.seeds)
    check_distinct("confirm.seeds", study.confirm.seeds)
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
    fractions = {"search.hold_out": study.search.hold_out} if _holds_out(study) else {}
    for scenario in study.scenarios:
        for method in study.methods:
            training = study.training_of(method, scenario)
            if training is not None and training.hold_out:
                fractions[f"recipes.{method}.hold_out"] = training.hold_out
    for path, fraction in fractions.items():
        held = round(fraction * count)
        if not 0 < held < count:
            raise FieldError(
                "subset" if study.subset else path,
                f"of {count} samples hold_out {fraction:g} leaves {held} to choose by "
                f"and {count - held} to train on",
            )


def _holds_out(study: Study) -> bool:
    return bool(study.tune) or study.confirm.hold_out
