"""Check the rules of a study that involve several keys, the dataset or the methods.

Each check raises `FieldError` with the dotted key of the faulty value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from search_spaces.deviations import check_deviations
from search_spaces.fields import (
    RECIPE_PARAMETERS,
    FixedValues,
    parameters_of,
    prefix_error_field,
    replace_error_field,
)
from search_spaces.grid import check_grid
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
from search_spaces.rungs import grace_on, least_seed_count
from search_spaces.schedulers import THRESHOLD
from search_spaces.schema import MAX_SEED_COUNT
from trainables.backbones import backbone_of
from trainables.datasets import source_of
from trainables.errors import FieldError, suggest
from trainables.methods import method_of
from trainables.methods.published import EpochSelection
from trainables.noise import noise_of
from trainables.run.parameters import (
    ChoiceSpace,
    FrozenMap,
    Space,
    active_spaces,
    check_conditions,
    format_value,
)
from trainables.run.protocols import DEFAULT_CYCLE_COUNT, HeldOutCycleEnds, HeldOutMean
from trainables.run.seeds import RANDOM_AXES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from search_spaces.schema import CrossSettings, Study
    from trainables.datasets.base import Source
    from trainables.run.parameters import AnySpace, Parameter, Scalar
    from trainables.run.recipe import Recipe

Item = TypeVar("Item")

GLOB_CHARACTERS = frozenset("*?[")
"""Characters by which the scenario of an override is a glob pattern instead of a name."""


def check_study(study: Study, *, allow_unused_overrides: bool = False) -> None:
    """Check all rules of a study that has passed validation against the schema.

    Args:
        study: content of the study file.
        allow_unused_overrides: whether overrides may name scenarios that the study does not have,
            because a flag or a later file selected fewer scenarios.

    Raises:
        FieldError: if a rule is broken; the error describes the first violation.
    """
    with replace_error_field("dataset"):
        source = source_of(study.dataset)
    _check_names(study, source)
    _check_override_scenarios(study, allow_unused=allow_unused_overrides)
    for key, recipe in _matched_recipes(study):
        _check_recipe(study, source, recipe, key)
    _check_search(study)
    for scenario in study.scenarios:
        _check_protocol(study, scenario)
    _check_cycles(study)
    _check_methods(study, source)
    check_grid(study)
    _check_seeds(study)
    _check_scheduler(study)
    _check_resources(study)
    _check_distinct("budget.shrink", study.budget.shrink)
    _check_subset(study)
    _check_samples(study, source)
    check_deviations(study)


def _check_names(study: Study, source: Source) -> None:
    """Check that the scenarios and methods exist, are distinct and suit the dataset."""
    _check_each("scenarios", study.scenarios, lambda name: noise_of(name).check(source))
    _check_each("methods", study.methods, method_of)


def _check_resources(study: Study) -> None:
    """Check that a GPU is shared by one rule only."""
    resources = study.resources
    _refuse(
        "resources.runs_per_gpu",
        f"runs_per_gpu: {resources.runs_per_gpu} needs gpus: 1, not {resources.gpus:g}: how many "
        "runs share a GPU then follows from their memory",
        when=resources.runs_per_gpu > 1 and resources.gpus != 1,
    )


def _check_override_scenarios(study: Study, *, allow_unused: bool) -> None:
    """Check that the scenario of each override, unless a glob pattern, is one of the study."""
    for position, override in enumerate(study.overrides):
        name, key = override.scenario, f"overrides.{position}.scenario"
        if GLOB_CHARACTERS & set(name):
            continue
        with replace_error_field(key):
            noise_of(name)
        _refuse(
            key,
            f"'{name}' is not among the scenarios of the study: {suggest(name, study.scenarios)}",
            when=name not in study.scenarios and not allow_unused,
        )


def _matched_recipes(study: Study) -> Iterator[tuple[str, Recipe]]:
    """Yield dotted key and recipe of the study, of the posterior network and of each scenario."""
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
        f"crop_size applies only to datasets of image files, unlike {study.dataset}: "
        "leave crop_size out",
        when=not source.has_picture_files and recipe.crop_size is not None,
    )
    for name in ("crop_size", "mean"):
        _refuse(
            f"{key}.{name}",
            f"{name} must be set for a dataset of image files such as {study.dataset}",
            when=source.has_picture_files and getattr(recipe, name) is None,
        )
    if (
        source.image_shape is not None or source.has_picture_files
    ):  # else the shape is known after reading
        check_image_shape(study, recipe.input_shape(source.image_shape), key)


def check_image_shape(
    study: Study, image_shape: tuple[int, int, int], recipe_key: str = "recipe"
) -> None:
    """Check that the backbone and the recipe accept images of a shape.

    Args:
        study: study with the backbone and the recipe.
        image_shape: shape (channels, height, width) of the network's input.
        recipe_key: dotted key of the recipe.

    Raises:
        FieldError: if the backbone or the recipe does not accept the shape.
    """
    try:
        backbone_of(study.backbone.name).check(image_shape)
    except FieldError as error:
        recipe = matched_recipe(study)
        crop_hint = "" if recipe.crop_size is None else " or a larger recipe.crop_size"
        raise FieldError("backbone.name", f"{error.message}{crop_hint}") from error
    mean = matched_recipe(study).mean
    if mean is not None and len(mean) != image_shape[0]:
        raise FieldError(
            f"{recipe_key}.mean",
            f"mean and std must have one value for each of the {image_shape[0]} channels "
            f"of {study.dataset}, got {len(mean)}",
        )


def _check_seeds(study: Study) -> None:
    """Check that no seed belongs to two phases, and that `fixed_seeds` names known random axes."""
    seeds_by_key = {
        "search.seeds": study.search.seeds,
        "select.seeds": study.select.seeds,
        "confirm.seeds": study.confirm.seeds,
    }
    key_of_seed: dict[int, str] = {}
    for key, seeds in seeds_by_key.items():
        _check_distinct(key, seeds)
        for position, seed in enumerate(seeds):
            _refuse(
                f"{key}.{position}",
                f"seed {seed} is also in {key_of_seed.get(seed)}: search, select and confirm must "
                "have different seeds",
                when=seed in key_of_seed,
            )
        key_of_seed |= dict.fromkeys(seeds, key)
    for axis in study.fixed_seeds:
        _check_axis(f"fixed_seeds.{axis}", axis)
    _refuse(
        "fixed_seeds",
        "all random axes are held fixed, so that the runs of all seeds would be the same: leave "
        "out at least one axis",
        when=study.fixed_seeds.keys() >= set(RANDOM_AXES),
    )
    if study.confirm.cross is not None:
        _check_cross(study, study.confirm.cross)


def _check_cross(study: Study, cross: CrossSettings) -> None:
    """Check that the crossed random axes exist and vary, and that they have distinct seeds."""
    _check_distinct("confirm.cross.axes", cross.axes)
    _check_distinct("confirm.cross.seeds", cross.seeds)
    for position, axis in enumerate(cross.axes):
        key = f"confirm.cross.axes.{position}"
        _check_axis(key, axis)
        _refuse(
            key,
            f"{axis} is held fixed by fixed_seeds: remove it there or here",
            when=axis in study.fixed_seeds,
        )
    choosing_seeds = {*study.search.seeds, *study.select.seeds}
    for position, seed in enumerate(cross.seeds):
        _refuse(
            f"confirm.cross.seeds.{position}",
            f"seed {seed} also belongs to search or select, which must have other seeds",
            when=seed in choosing_seeds,
        )
    run_count = len(cross.seeds) ** len(cross.axes)
    _refuse(
        "confirm.cross",
        f"{len(cross.seeds)} seeds of {len(cross.axes)} axes have {run_count:,} combinations: at "
        f"most {MAX_SEED_COUNT:,} are possible",
        when=run_count > MAX_SEED_COUNT,
    )


def _check_scheduler(study: Study) -> None:
    """Check that trials can be compared early: after epochs of one run, or after seeds."""
    scheduler, seed_count = study.search.scheduler, len(study.search.seeds)
    if not study.tune or scheduler.kind == "none":
        return
    if scheduler.compares_epochs:
        _refuse(
            "search.scheduler",
            f"{scheduler.kind} stops the run of a trial, and with {seed_count} seeds in "
            "search.seeds a trial has several: use wilcoxon, which compares seeds, or one seed",
            when=seed_count > 1,
        )
        for method in study.tune:
            for scenario in study.search_scenarios:
                grace_on(study, method, scenario)
        return
    threshold = scheduler.settings.number(THRESHOLD)
    least_count = least_seed_count(threshold)
    _refuse(
        "search.scheduler",
        f"wilcoxon compares trials on the same seeds, and with threshold {threshold:g} it needs "
        f"{least_count} of them before it can leave one out: search.seeds has {seed_count}",
        when=seed_count < least_count,
    )


def _check_axis(key: str, axis: str) -> None:
    _refuse(
        key,
        f"unknown random axis '{axis}': {suggest(axis, RANDOM_AXES)}",
        when=axis not in RANDOM_AXES,
    )


def _check_subset(study: Study) -> None:
    """Check that a balanced subset has a size, and that with PMD noise all seeds share a subset."""
    posterior_scenarios = [name for name in study.scenarios if noise_of(name).needs_posterior]
    if posterior_scenarios and study.subset is not None and "subset" not in study.fixed_seeds:
        raise FieldError(
            "fixed_seeds",
            f"{posterior_scenarios[0]} noise is drawn from one network for all seeds, so all seeds "
            "must train on the same subset: set fixed_seeds.subset=0",
        )
    _refuse(
        "balanced",
        "a balanced subset must have a size: set subset too",
        when=study.balanced and study.subset is None,
    )


def _check_samples(study: Study, source: Source) -> None:
    """Check the size of the subset, and that the held-out and training parts have samples."""
    train_size = source.train_size
    if study.subset is not None and train_size and study.subset > train_size:
        raise FieldError(
            "subset",
            f"must be from 1 to {train_size}, the number of training samples of {study.dataset}, "
            f"got {study.subset}",
        )
    sample_count = study.subset or train_size
    if not sample_count:
        return
    holds_out = bool(study.tune) or study.confirm.hold_out
    fractions = {"search.hold_out": study.search.hold_out} if holds_out else {}
    fractions |= {
        f"{format_key(resolved.training.key_path)}.hold_out": resolved.training.hold_out
        for resolved in _resolve_all(study)
        if resolved.training.hold_out
    }
    for key, fraction in fractions.items():
        hold_out_size = round(fraction * sample_count)
        _refuse(
            "subset" if study.subset else key,
            f"with hold_out {fraction:g} of {sample_count} samples, {hold_out_size} are held out "
            f"and {sample_count - hold_out_size} are left to train on: neither may be 0",
            when=not 0 < hold_out_size < sample_count,
        )


def _resolve_all(study: Study) -> Iterator[ResolvedMethod]:
    """Yield the recipe and hyperparameters of every method on every scenario."""
    for method in study.methods:
        for scenario in study.scenarios:
            yield resolve(study, method, scenario)


def _check_methods(study: Study, source: Source) -> None:
    """Check the recipe and the searched, fixed and varied hyperparameters of each method."""
    _check_recipe_choices(study)
    _check_true_labels(study, source)
    for method in dict.fromkeys([*study.search.space, *study.tune]):
        with prefix_error_field(f"search.space.{method}"):
            _check_spaces(study, method, study.space_of(method))
    for method in dict.fromkeys([*study.reference, *study.methods]):
        _check_reference(study, method)
    for method, values in study.vary.items():
        _check_varied_values(study, method, values)
    _check_overrides(study)
    for resolved in _resolve_all(study):
        _check_own_or_published_recipe(study, resolved, source)
    for resolved in _resolve_all(study):
        _check_hyperparameters(resolved)
        if resolved.method in study.tune:
            _check_searched_values(study, resolved)


def _check_recipe_choices(study: Study) -> None:
    """Check that tuned methods have the matched recipe, and that every method can be resolved."""
    choices = {f"recipes.{method}": (method, choice) for method, choice in study.recipes.items()}
    for position, override in enumerate(study.overrides):
        for method, choice in override.recipes.items():
            choices[f"overrides.{position}.recipes.{method}"] = method, choice
    for key, (method, choice) in choices.items():
        with replace_error_field(key):
            method_of(method)
        _refuse(
            key,
            "a tuned method must have the recipe 'matched': set 'matched' here, or remove the "
            "method from 'tune'",
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
            f"method {method} needs true labels, but dataset {study.dataset} has none: leave the "
            "method out",
            when=method_of(method).needs_truth and not source.has_true_labels,
        )


def _check_search(study: Study) -> None:
    """Check that the tuned methods and the searched scenario belong to the study."""
    search = study.search
    for position, method in enumerate(study.tune):
        _refuse(
            f"tune.{position}",
            f"'{method}' is not among the methods of the study: {suggest(method, study.methods)}",
            when=method not in study.methods,
        )
        _refuse(
            f"tune.{position}",
            f"method {method} has no search space: set search.space.{method}, or remove the method "
            "from tune",
            when=not study.space_of(method),
        )
    _check_distinct("tune", study.tune)
    _refuse(
        "search.scenario",
        f"'{search.scenario}' is not among the scenarios of the study: "
        f"{suggest(search.scenario or '', study.scenarios)}",
        when=bool(study.tune) and search.scenario not in (None, *study.scenarios),
    )


def _check_protocol(study: Study, scenario: str) -> None:
    """Check that runs on a scenario evaluate all cycle ends that the protocol averages."""
    recipe, protocol = matched_recipe(study, scenario), protocol_on(study, scenario)
    if not isinstance(protocol, HeldOutCycleEnds):
        return
    period, cycle_ends = recipe.schedule.cycle_length, protocol.averaged_epochs(recipe)
    _refuse(
        "search.protocol",
        f"{protocol.key} needs a learning rate that restarts, but the schedule on {scenario} is "
        f"{recipe.schedule.kind}: use {HeldOutMean.key}",
        when=period is None,
    )
    _refuse(
        "search.protocol",
        f"{protocol.key} needs a whole cycle of {period} epochs, but a run on {scenario} has only "
        f"{recipe.epochs} epochs: use {HeldOutMean.key}",
        when=not cycle_ends,
    )
    skipped_epochs = ", ".join(str(epoch) for epoch in cycle_ends if not recipe.evaluates(epoch))
    layers = matched_recipe_layers(study, scenario)
    key_paths = [path for path, partial in layers if "evaluate_every" in partial.stated_keys]
    _refuse(
        f"{format_key(key_paths[0] if key_paths else ('recipe',))}.evaluate_every",
        f"evaluate_every {recipe.evaluate_every} skips cycle ends whose accuracy chooses "
        f"hyperparameters (epochs {skipped_epochs}): use a divisor of {period}, "
        f"or search.protocol={HeldOutMean.key}",
        when=bool(skipped_epochs),
    )


def _check_cycles(study: Study) -> None:
    """Check that a number of averaged cycle ends is used: that some scenario averages them."""
    protocols = [protocol_on(study, scenario) for scenario in study.scenarios]
    _refuse(
        "search.cycles",
        f"{study.search.cycles} has no effect, since no scenario has the protocol "
        f"{HeldOutCycleEnds.key}: leave it out, or choose a schedule that restarts",
        when=study.search.cycles != DEFAULT_CYCLE_COUNT
        and not any(isinstance(protocol, HeldOutCycleEnds) for protocol in protocols),
    )


def _require_real_parameter(
    method: str, parameters: Mapping[str, Parameter], name: str, key: str, message: str
) -> Parameter:
    """Return a parameter of a method after checking that it exists and is a real number.

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


def _check_spaces(study: Study, method: str, spaces: Mapping[str, AnySpace]) -> None:
    """Check the conditions, priors and fixed values of a method's searched hyperparameters."""
    if method not in study.tune:
        return
    check_conditions(spaces)  # also those that the class of the method declares
    reference = reference_of(study, method) or FrozenMap()
    for name, space in spaces.items():
        if space.when is None:
            _refuse_fixed(study, method, name, name)
        _refuse(
            f"{name}.prior",
            f"a prior lies around the reference value, of which there is none for {name}: set "
            f"reference.{method}.{name}, or remove the prior",
            when=isinstance(space, Space) and space.prior is not None and name not in reference,
        )


def _check_reference(study: Study, method: str) -> None:
    """Check that the reference of a tuned method is a point of its search space.

    For any method, the reference must not contain a hyperparameter that the study fixes.
    """
    values, space = reference_of(study, method), study.space_of(method)
    for name in values or ():
        key = f"reference.{method}.{name}"
        _refuse_fixed(study, method, name, key)
        _refuse(
            key,
            f"{name} is not searched: set hyperparameters.{method}.{name} instead",
            when=method in study.tune and name not in space,
        )
    if values is None or method not in study.tune:
        return
    active = active_spaces(space, values)
    for name in values:
        value = values.scalar(name)
        _refuse(
            f"reference.{method}.{name}",
            f"{format_value(value)} is outside the searched range {space[name]}: "
            f"widen search.space.{method}.{name}",
            when=value not in space[name],
        )
        _refuse(
            f"reference.{method}.{name}",
            f"{name} is not searched at the other values of the reference, by "
            f"search.space.{method}.{name}.when: remove it here",
            when=name not in active,
        )
    missing_names = [name for name in active if name not in values]
    for name in missing_names:
        _refuse(
            f"search.space.{method}.{name}",
            f"{name} is searched, but reference.{method} lacks it: add reference.{method}.{name}",
            when=name in study.search.space.get(method, {}),
        )
    _refuse(
        f"reference.{method}",
        f"lacks {', '.join(missing_names)}, which the method searches: add the missing values",
        when=bool(missing_names),
    )


def _check_varied_values(
    study: Study, method: str, values_by_name: Mapping[str, Sequence[float]]
) -> None:
    """Check that varied hyperparameters are real numbers of a method that is not tuned."""
    _refuse(
        f"vary.{method}",
        f"'{method}' is not among the methods of the study: {suggest(method, study.methods)}",
        when=method not in study.methods,
    )
    _refuse(
        f"vary.{method}",
        f"{method} is also in tune, so its values are searched: remove one",
        when=method in study.tune,
    )
    parameters = parameters_of(method)
    for name, values in values_by_name.items():
        key = f"vary.{method}.{name}"
        message = f"only real numbers can be varied, and {name} is not a real number"
        parameter = _require_real_parameter(method, parameters, name, key, message)
        _refuse(key, "must have at least one value, such as [0.1, 1, 10]", when=not values)
        _check_each(key, values, parameter.check)


def _check_overrides(study: Study) -> None:
    """Check that overrides fix no hyperparameter that is searched or in the reference."""
    for position, override in enumerate(study.overrides):
        if not any(map(override.applies_to, study.scenarios)):
            continue
        for method, fixed_values in override.hyperparameters.items():
            for name in fixed_values.values:
                key = f"overrides.{position}.hyperparameters.{method}.{name}"
                _refuse(
                    key,
                    f"{name} is also fixed, by reference.{method}.{name}: remove one",
                    when=name in (reference_of(study, method) or ()),
                )
                _refuse(
                    key,
                    f"{name} is searched, so it cannot be fixed on some scenarios only: fix it in "
                    f"hyperparameters.{method}, or remove it here",
                    when=method in study.tune and name in study.space_of(method),
                )


def _check_own_or_published_recipe(study: Study, resolved: ResolvedMethod, source: Source) -> None:
    """Check the epoch selection and the held-out fraction of a recipe that is not matched."""
    training, method = resolved.training, resolved.method
    if training.kind == "matched":
        return
    key, selection = format_key(training.key_path), training.selection
    _refuse(
        f"{key}.selection",
        "no choice may depend on the test split",
        when=selection is EpochSelection.TEST,
    )
    _refuse(
        key,
        f"this recipe reports the {selection}, but dataset {study.dataset} has no true labels to "
        "validate on: use matched",
        when=selection is EpochSelection.CLEAN and not source.has_true_labels,
    )
    has_validation = selection is EpochSelection.CLEAN and source.has_validation
    _refuse(
        f"{key}.hold_out",
        f"must be above 0, since the recipe reports the {selection}",
        when=selection is not EpochSelection.LAST and not training.hold_out and not has_validation,
    )
    for name in RECIPE_PARAMETERS:
        _refuse(
            key,
            f"{name} is also set, by reference.{method}.{name}: remove one",
            when=name in (reference_of(study, method) or ()),
        )


def _check_searched_values(study: Study, resolved: ResolvedMethod) -> None:
    """Check that a tuned method accepts the ends of each searched integer, and each choice.

    The other hyperparameters have their values without a search, but those of conditions.
    """
    spaces = study.space_of(resolved.method)
    for name, space in spaces.items():
        if isinstance(space, Space) and not space.integer:
            continue
        for value in space.choices if isinstance(space, ChoiceSpace) else space.ends:
            values = {**_values_of_conditions(spaces, name), name: value}
            with replace_error_field(f"search.space.{resolved.method}.{name}"):
                _check_accepted(resolved.with_values(values))


def _values_of_conditions(spaces: Mapping[str, AnySpace], name: str) -> dict[str, Scalar]:
    """Return values of other hyperparameters under which a hyperparameter is searched."""
    values: dict[str, Scalar] = {}
    for other, allowed in (spaces[name].when or {}).items():
        values |= {**_values_of_conditions(spaces, other), other: allowed[0]}
    return values


def _check_accepted(resolved: ResolvedMethod) -> None:
    """Check that a method and its stages accept their hyperparameters and numbers of epochs."""
    method_of(resolved.method).check(resolved.hyperparameters, resolved.recipe.epochs)
    for stage in resolved.stages.values():
        method_of(stage.method).check(stage.hyperparameters, stage.recipe.epochs)


def _check_hyperparameters(resolved: ResolvedMethod) -> None:
    """Check the hyperparameters and numbers of epochs of a method without a search."""
    try:
        _check_accepted(resolved)
    except FieldError as error:
        sourced_value = resolved.sourced_hyperparameters.get(error.field)
        key = (
            sourced_value.key_path
            if sourced_value
            else ("hyperparameters", resolved.method, error.field)
        )
        raise FieldError(format_key(key), error.message) from error


def _refuse_fixed(study: Study, method: str, name: str, key: str) -> None:
    """Raise `FieldError` for `key` if the study also fixes the hyperparameter of this name."""
    _refuse(
        key,
        f"{name} is also fixed, by hyperparameters.{method}.{name}: remove one; where the value is "
        "inherited, null removes it",
        when=name in study.hyperparameters.get(method, FixedValues()).values,
    )


def _check_each(key: str, items: Sequence[Item], check: Callable[[Item], object]) -> None:
    """Check each item of the list at a key with a function, and that no item is repeated."""
    for position, item in enumerate(items):
        with replace_error_field(f"{key}.{position}"):
            check(item)
    _check_distinct(key, items)


def _check_distinct(key: str, items: Sequence[object]) -> None:
    """Check that no item of the list at a key is repeated."""
    earlier_items: set[object] = set()
    for position, item in enumerate(items):
        _refuse(
            f"{key}.{position}",
            f"{item} is given twice: remove one",
            when=item in earlier_items,
        )
        earlier_items.add(item)


def _refuse(key: str, message: str, *, when: bool) -> None:
    """Raise `FieldError` for a dotted key if the condition `when` holds."""
    if when:
        raise FieldError(key, message)
