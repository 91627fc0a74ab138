"""Resolve a study: derive the recipe and hyperparameters of each method on each scenario.

A hyperparameter is taken from the first of these layers that has a value: the reference, an
override for the scenario, the study's fixed values, the preset that the study names, a published
setting, the method's default. A value of a recipe is taken from the method's own recipe, an
override for the scenario or the study's recipe; a published recipe replaces all three. If a flag
requests another length of training, the result is scaled.

For error messages, every value has the key path at which the study sets it, or could set it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from search_spaces.fields import (
    RECIPE_PARAMETERS,
    FixedValues,
    prefix_error_field,
    tunable_parameters_of,
)
from search_spaces.layers import format_key
from search_spaces.scaling import scale_recipe, scale_value
from search_spaces.schema import Phase
from trainables.errors import FieldError
from trainables.methods import Method, method_of
from trainables.methods.published import EpochSelection, PublishedRecipe, first_match
from trainables.run.parameters import (
    AnySpace,
    ChoiceSpace,
    FrozenMap,
    Scalar,
    Value,
    active_spaces,
    complete_parameters,
)
from trainables.run.protocols import Protocol, protocol_of
from trainables.run.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from search_spaces.partial_recipe import PartialRecipe
    from search_spaces.schema import OwnRecipe, RecipeChoice, Study
    from search_spaces.yaml_lines import KeyPath

RECIPE_KEYS_FROM_STUDY = (
    *("crop_size", "mean", "std", "window", "evaluate_every", "precision", "tf32"),
)
"""Keys of a published recipe whose values come from the study's recipe.

Their values are either not published or do not concern the optimisation.
"""

STUDY_SOURCE = "as in the study"
"""Source text of values that a recipe takes from the study's recipe."""

SCHEMA_DEFAULT_SOURCE = "default of the schema"
"""Source text of values that have the default of the schema."""

study_cache = lru_cache(maxsize=8192)
"""Decorator that caches results of functions of a study, which are called for every run."""

ValueLayer = Literal["reference", "override", "fixed", "preset", "setting", "default"]
"""Layer that a hyperparameter is taken from; earlier names take precedence."""

RecipeLayers = tuple[tuple["KeyPath", "PartialRecipe"], ...]
"""Partial recipes with their key paths in the study, in order of precedence."""


@dataclass(frozen=True, slots=True)
class SourcedValue:
    """Value of a hyperparameter with its source.

    Attributes:
        value: value that runs use.
        layer: kind of entry that the value is taken from, such as "override" or "preset".
        key_path: path at which the study sets the value, or could set it.
        source: text that names the source of the value; "" if the source is the study itself.
        unscaled_value: value before scaling to another length of training; None if not scaled.
        preset: name of the preset that the value is taken from; "" if it is not from a preset.
        preset_note: text that names the preset whose value this one replaces, such as "preset paper
            has 1"; "" if it contradicts no preset.
    """

    value: Value
    layer: ValueLayer
    key_path: KeyPath
    source: str = ""
    unscaled_value: Value | None = None
    preset: str = ""
    preset_note: str = ""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Recipe of a method on a scenario, with the held-out fraction and the epoch that is reported.

    Attributes:
        kind: "matched" for the recipe of the study, "published" for that of the method's authors,
            "own" for one that the study writes for the method.
        source: text that names the source of a recipe that is not matched.
        recipe: complete recipe.
        hold_out: fraction of the training samples held out in confirm; unused if the recipe is
            matched.
        selection: rule for the epoch whose accuracy is reported.
        stages: recipes of the method's stages (earlier training runs) that differ from `recipe`, by
            role.
        sources: sources of the values of a recipe that is not matched, by key path relative to
            `recipes.METHOD`.
        key_path: path at which the study chooses the recipe, or could choose it.
        names_set_by_flags: names of the recipe's values that flags set, which are not scaled.
    """

    kind: Literal["matched", "published", "own"]
    source: str
    recipe: Recipe
    hold_out: float = 0.0
    selection: EpochSelection = EpochSelection.LAST
    stages: Mapping[str, Recipe] = field(default_factory=dict)
    sources: Mapping[KeyPath, str] = field(default_factory=dict)
    key_path: KeyPath = field(default=(), compare=False)
    names_set_by_flags: frozenset[str] = field(default=frozenset(), compare=False)


@dataclass(frozen=True, slots=True)
class ResolvedStage:
    """Stage of a method: an earlier training run whose result the method's own run uses.

    Attributes:
        method: name of the method that the stage is trained with.
        hyperparameters: all hyperparameters of the stage.
        recipe: complete recipe of the stage.
        passes: names of the hyperparameters whose values are taken from the method's own run.
    """

    method: str
    hyperparameters: FrozenMap
    recipe: Recipe
    passes: tuple[str, ...]

    def with_values(self, run_values: FrozenMap) -> ResolvedStage:
        """Return a copy whose hyperparameters named in `passes` have the values of another run.

        Args:
            run_values: hyperparameters of the method's own run.
        """
        merged = {**self.hyperparameters, **{name: run_values[name] for name in self.passes}}
        hyperparameters = complete_parameters(
            f"method {self.method}", method_of(self.method).parameters, merged
        )
        return replace(self, hyperparameters=hyperparameters)


@dataclass(frozen=True, slots=True)
class ResolvedMethod:
    """Recipe and hyperparameters of a method on a scenario.

    Attributes:
        method: name of the method.
        scenario: name of the scenario.
        recipe: complete recipe, including recipe values that the reference sets.
        hyperparameters: all hyperparameters of the method.
        sourced_hyperparameters: hyperparameters with their sources, before searched values replace
            them.
        training: settings that the study chooses: recipe, held-out fraction and the rule for the
            reported epoch.
        stages: stages of the method (earlier training runs whose results it uses) by role.
        search_hold_out: fraction of the training samples held out in search and select.
        confirm_hold_out: fraction of the training samples held out in confirm.
        protocol: rule for the epochs whose accuracies are averaged: that of the study under the
            matched recipe, otherwise the default for the recipe's schedule.
    """

    method: str
    scenario: str
    recipe: Recipe
    hyperparameters: FrozenMap
    sourced_hyperparameters: Mapping[str, SourcedValue]
    training: TrainingSettings
    stages: Mapping[str, ResolvedStage]
    search_hold_out: float
    confirm_hold_out: float
    protocol: Protocol

    @property
    def selection(self) -> EpochSelection:
        """Rule for the epoch whose accuracy is reported."""
        return self.training.selection

    def hold_out(self, phase: Phase) -> float:
        """Return the fraction of the training samples that runs of a phase hold out."""
        return self.confirm_hold_out if phase is Phase.CONFIRM else self.search_hold_out

    def evaluated_splits(self, phase: Phase, *, has_validation: bool = False) -> tuple[str, ...]:
        """Return the names of the splits that runs of a phase evaluate; "test" only in confirm.

        Args:
            phase: phase of the sweep.
            has_validation: whether the dataset has a validation split with clean labels. This split
                chooses no hyperparameters, and is therefore evaluated only in confirm.
        """
        noisy_val = ("val",) if self.hold_out(phase) else ()
        if phase is not Phase.CONFIRM:
            return noisy_val
        has_clean_val = has_validation or self.selection is EpochSelection.CLEAN
        return (*noisy_val, *(("clean_val",) if has_clean_val else ()), "test")

    def with_values(self, values: Mapping[str, Value]) -> ResolvedMethod:
        """Return a copy with other values of hyperparameters.

        Args:
            values: searched or varied values by name, including values of the recipe.

        Raises:
            FieldError: if a name is unknown or a value is not allowed.
        """
        changes = {name: value for name, value in values.items() if name not in RECIPE_PARAMETERS}
        parameters = method_of(self.method).parameters
        merged = {**self.hyperparameters, **changes}
        hyperparameters = complete_parameters(f"method {self.method}", parameters, merged)
        return replace(
            self,
            hyperparameters=hyperparameters,
            recipe=_recipe_with_values(self.recipe, values),
            stages={
                role: stage.with_values(hyperparameters) for role, stage in self.stages.items()
            },
        )


@study_cache
def resolve(study: Study, method: str, scenario: str) -> ResolvedMethod:
    """Return the recipe and hyperparameters of a method on a scenario.

    Raises:
        FieldError: if the method is unknown, its preset has no values for the dataset, its recipe
            is not published for the scenario, or its recipe lacks a key.
    """
    training = _scaled_training_settings(study, method, scenario)
    sourced_hyperparameters = _scaled_hyperparameters(study, method, scenario)
    hyperparameters = _without_sources(sourced_hyperparameters)
    stages = {
        stage.role: ResolvedStage(
            stage.method,
            _without_sources(_scaled_hyperparameters(study, stage.method, scenario)),
            training.stages.get(stage.role, training.recipe),
            stage.shared_hyperparameters,
        ).with_values(hyperparameters)
        for stage in method_of(method).stages
    }
    search_hold_out = study.search.hold_out
    if training.kind != "matched":
        confirm_hold_out = training.hold_out
    else:
        confirm_hold_out = search_hold_out if study.confirm.hold_out else 0.0
    return ResolvedMethod(
        method=method,
        scenario=scenario,
        recipe=_recipe_with_values(
            training.recipe, _without_sources(reference_with_sources(study, method))
        ),
        hyperparameters=hyperparameters,
        sourced_hyperparameters=sourced_hyperparameters,
        training=training,
        stages=stages,
        search_hold_out=search_hold_out,
        confirm_hold_out=confirm_hold_out,
        protocol=protocol_on(study, scenario)
        if training.kind == "matched"
        else protocol_of(training.recipe),
    )


def _without_sources(values: Mapping[str, SourcedValue]) -> FrozenMap:
    return FrozenMap({name: sourced_value.value for name, sourced_value in values.items()})


def _recipe_with_values(recipe: Recipe, values: Mapping[str, Value]) -> Recipe:
    """Return a copy of a recipe with those of the given values that are recipe parameters."""
    changes: Any = {name: values[name] for name in RECIPE_PARAMETERS if name in values}
    return replace(recipe, **changes)


# --- recipes


@study_cache
def matched_recipe(study: Study, scenario: str | None = None) -> Recipe:
    """Return the matched recipe: that of the study, used by all methods without another one.

    Args:
        study: study, with a length of training that a flag may have requested.
        scenario: name of the scenario; None for the recipe without overrides.

    Raises:
        FieldError: if the recipe lacks a key, or a value is not allowed.
    """
    layers = matched_recipe_layers(study, scenario)
    epochs = (
        study.training_length.epochs
        if study.training_length and not is_recipe_overridden(study, scenario)
        else None
    )
    return _scale_to_length(
        study, _complete_recipe(layers), _find_names_set_by_flags(study, layers), epochs
    )


def protocol_on(study: Study, scenario: str) -> Protocol:
    """Return the rule for the epochs whose held-out accuracy chooses hyperparameters."""
    recipe = matched_recipe(study, scenario)
    return protocol_of(recipe, study.search.protocol, study.search.cycles)


def is_recipe_overridden(study: Study, scenario: str | None) -> bool:
    """Return whether an override changes the matched recipe on a scenario."""
    return _complete_recipe(matched_recipe_layers(study, scenario)) != _complete_recipe(
        matched_recipe_layers(study, None)
    )


def posterior_recipe(study: Study) -> Recipe:
    """Return the recipe of the network from whose class probabilities PMD noise is drawn.

    Raises:
        FieldError: if the recipe lacks a key, or a value is not allowed.
    """
    if study.posterior.recipe is None:
        return matched_recipe(study)
    posterior_layer = (("posterior", "recipe"), study.posterior.recipe)
    return _complete_recipe((posterior_layer, *matched_recipe_layers(study, None)))


@study_cache
def shared_training_settings(study: Study, method: str) -> TrainingSettings | None:
    """Return the training settings of a method if all scenarios share them, else None.

    The matched recipe does not count as shared.
    """
    first_training, *other_trainings = (
        _unscaled_training_settings(study, method, scenario) for scenario in study.scenarios
    )
    is_shared_recipe = first_training.kind != "matched" and all(
        training == first_training for training in other_trainings
    )
    return (
        _scaled_training_settings(study, method, study.scenarios[0]) if is_shared_recipe else None
    )


@study_cache
def _scaled_training_settings(study: Study, method: str, scenario: str) -> TrainingSettings:
    """Return the training settings of a method, scaled to the requested length of training."""
    unscaled_settings = _unscaled_training_settings(study, method, scenario)
    if unscaled_settings.kind == "matched":
        return replace(unscaled_settings, recipe=matched_recipe(study, scenario))
    recipe = _scale_to_length(study, unscaled_settings.recipe, unscaled_settings.names_set_by_flags)
    stages = {
        role: _scale_to_length(study, stage) for role, stage in unscaled_settings.stages.items()
    }
    return replace(unscaled_settings, recipe=recipe, stages=stages)


@study_cache
def _unscaled_training_settings(study: Study, method: str, scenario: str) -> TrainingSettings:
    """Return the training settings of a method at the length that the study states."""
    key_path, choice = _recipe_choice(study, method, scenario)
    layers = matched_recipe_layers(study, scenario)
    if choice == "matched":
        return TrainingSettings("matched", "", _complete_recipe(layers), key_path=key_path)
    if choice != "published":
        own_layers: RecipeLayers = (((*key_path, "recipe"), choice.recipe), *layers)
        return TrainingSettings(
            choice.kind,
            choice.source,
            _complete_recipe(own_layers),
            hold_out=choice.hold_out,
            selection=choice.selection,
            stages={
                role: _complete_recipe((((*key_path, "stages", role), part),))
                for role, part in choice.stages.items()
            },
            sources=_sources_of_own_recipe(choice),
            key_path=key_path,
            names_set_by_flags=_find_names_set_by_flags(study, own_layers),
        )
    published = _find_published_recipe(method_of(method), study.dataset, scenario, key_path)
    study_recipe = _merge_recipes(layers).stated_values
    recipe, study_names = _complete_published_recipe(published, study_recipe)
    stages, sources = {}, {(): published.source, **_study_sources(("recipe",), study_names)}
    for stage in method_of(method).stages:
        published_entry = (
            first_match(method_of(stage.method).published_recipes, study.dataset, scenario)
            or published
        )
        stages[stage.role], stage_names = _complete_published_recipe(published_entry, study_recipe)
        stage_key_path = ("stages", stage.role)
        sources |= {
            stage_key_path: published_entry.source,
            **_study_sources(stage_key_path, stage_names),
        }
    return TrainingSettings(
        "published",
        published.source,
        recipe,
        hold_out=published.hold_out,
        selection=published.selection,
        stages=stages,
        sources=sources,
        key_path=key_path,
        names_set_by_flags=_find_names_set_by_flags(study, layers).intersection(study_names),
    )


def _recipe_choice(
    study: Study, method: str, scenario: str
) -> tuple[KeyPath, RecipeChoice | OwnRecipe]:
    """Return the key path and value of the study's choice of a recipe for a method."""
    for position, override in study.overrides_for(scenario):
        if method in override.recipes:
            return ("overrides", position, "recipes", method), override.recipes[method]
    return ("recipes", method), study.recipes.get(method, "matched")


def matched_recipe_layers(study: Study, scenario: str | None) -> RecipeLayers:
    """Return the partial recipes that form the matched recipe, in order of precedence.

    Args:
        study: study with its overrides.
        scenario: name of the scenario; None to leave overrides out.
    """
    overrides = [
        (("overrides", position, "recipe"), override.recipe)
        for position, override in (study.overrides_for(scenario) if scenario else ())
        if override.recipe.stated_values
    ]
    return (*overrides, (("recipe",), study.recipe))


def _merge_recipes(layers: RecipeLayers) -> PartialRecipe:
    (_, recipe), *lower_layers = layers
    return recipe.merged_over(_merge_recipes(tuple(lower_layers))) if lower_layers else recipe


def _complete_recipe(layers: RecipeLayers) -> Recipe:
    """Merge partial recipes into a complete one; errors name the key path of the first."""
    with prefix_error_field(format_key(layers[0][0])):
        return _merge_recipes(layers).complete()


def _complete_published_recipe(
    published: PublishedRecipe, study_recipe: Mapping[str, Any]
) -> tuple[Recipe, tuple[str, ...]]:
    """Return a complete published recipe, and the names of the values taken from the study.

    Args:
        published: entry of the method's published recipes.
        study_recipe: values of the matched recipe on the scenario.
    """
    values = {key.name: getattr(published.recipe, key.name) for key in fields(Recipe)}
    study_names = tuple(
        name
        for name in RECIPE_KEYS_FROM_STUDY
        if name not in ("mean", "std") or values[name] is None
    )
    values |= {
        name: study_recipe[name] for name in study_names if study_recipe.get(name) is not None
    }
    return Recipe(**values), study_names


def _find_published_recipe(
    method: type[Method], dataset: str, scenario: str, key_path: KeyPath
) -> PublishedRecipe:
    """Return the published recipe of a method, or raise `FieldError` for the key at `key_path`."""
    published = first_match(method.published_recipes, dataset, scenario)
    if published is None:
        known = ", ".join(
            f"{entry.dataset} with {entry.noise}" for entry in method.published_recipes
        )
        raise FieldError(
            format_key(key_path),
            f"no recipe of {method.name} is published for {dataset} with {scenario}"
            + (f", only for {known}" if known else "")
            + ": use matched, or write the recipe out",
        )
    if published.selection is EpochSelection.TEST:
        raise FieldError(
            format_key(key_path),
            f"the published recipe of {method.name} on {dataset} takes the epoch with the best "
            "test accuracy, but no choice may depend on the test split: use matched",
        )
    return published


def _sources_of_own_recipe(own: OwnRecipe) -> dict[KeyPath, str]:
    """Return the sources of a method's own recipe by key path relative to `recipes.METHOD`."""
    default_names = type(own).model_fields.keys() - own.model_fields_set - {"recipe"}
    inherited_names = [
        key.name for key in fields(Recipe) if key.name not in own.recipe.stated_values
    ]
    stated_sources: dict[KeyPath, str] = (
        {(): own.source} if "source" in own.model_fields_set else {}
    )
    return {
        **stated_sources,
        **{(name,): SCHEMA_DEFAULT_SOURCE for name in default_names},
        **_study_sources(("recipe",), inherited_names),
    }


def _study_sources(key_path: KeyPath, names: Iterable[str]) -> dict[KeyPath, str]:
    return {(*key_path, name): STUDY_SOURCE for name in names}


def _scale_to_length(
    study: Study, recipe: Recipe, unscaled_names: Collection[str] = (), epochs: int | None = None
) -> Recipe:
    """Return a recipe scaled to the length of training that a flag requests, if any.

    Args:
        study: study with the requested length.
        recipe: recipe before scaling.
        unscaled_names: names of the values that are not scaled.
        epochs: number of epochs of the new recipe; None scales the old number.
    """
    if study.training_length is None:
        return recipe
    study_epochs = _complete_recipe(matched_recipe_layers(study, None)).epochs
    return scale_recipe(recipe, study.training_length.epochs / study_epochs, unscaled_names, epochs)


def _find_names_set_by_flags(study: Study, layers: RecipeLayers) -> frozenset[str]:
    """Return the names of the recipe values whose command-line flags take effect."""
    flag_key_paths = (
        study.training_length.flag_key_paths - {("recipe", "epochs")}
        if study.training_length
        else frozenset()
    )
    names: set[str] = set()
    for key_path, part in reversed(layers):
        if "schedule.kind" in part.stated_keys:
            names = {name for name in names if not name.startswith("schedule.")}
        own_names = {
            name for name in part.stated_keys if (*key_path, *name.split(".")) in flag_key_paths
        }
        names = (names - part.stated_keys) | own_names
    return frozenset(names)


# --- hyperparameters


def reference_of(study: Study, method: str) -> FrozenMap | None:
    """Return the paper's values of a method's searched hyperparameters; None if there are none."""
    values = _without_sources(reference_with_sources(study, method))
    return values if values or method in study.reference else None


def confirm_cell_values(study: Study, method: str) -> list[dict[str, Scalar]]:
    """Return the hyperparameters of each row (cell) of the confirm table for an untuned method.

    With the key `vary` there is one cell for each varied value, completed by the reference. Without
    this key there is a single cell; its mapping is empty, since all values are fixed.
    """
    reference = reference_of(study, method) or FrozenMap()
    reference_values = {name: reference.scalar(name) for name in reference}
    cell_values: list[dict[str, Scalar]] = [
        {**reference_values, name: value}
        for name, values in study.vary.get(method, {}).items()
        for value in values
    ]
    unique_values = [cell for n, cell in enumerate(cell_values) if cell not in cell_values[:n]]
    return unique_values or [{}]


@study_cache
def reference_with_sources(study: Study, method: str) -> Mapping[str, SourcedValue]:
    """Return the reference values of a method with their sources; empty without a reference.

    If the study states no reference for a tuned method, a published setting takes its place if it
    holds on all scenarios and has all searched hyperparameters.
    """
    reference, source = study.reference.get(method), ""
    if reference is None and method in study.tune:
        settings = [
            first_match(method_of(method).settings, study.dataset, scenario)
            for scenario in study.scenarios
        ]
        setting = settings[0]
        if setting is not None and settings.count(setting) == len(settings):
            space = active_spaces(study.space_of(method), setting.values)
            if space.keys() <= setting.values.keys():
                reference = FrozenMap({name: setting.values[name] for name in space})
                source = setting.source
    parameters = tunable_parameters_of(method)
    checked = {name: parameters[name].check(value) for name, value in (reference or {}).items()}
    values = _with_sources(checked, "reference", ("reference", method), source)
    return _scale_values(study, method, None, values)


@study_cache
def shared_hyperparameter_names(study: Study, method: str) -> frozenset[str]:
    """Return the names of a method's hyperparameters with one published value on all scenarios."""
    values_by_scenario = [
        _unscaled_hyperparameters(study, method, scenario) for scenario in study.scenarios
    ]
    return frozenset(
        name
        for name, first_value in values_by_scenario[0].items()
        if all(
            scenario_values[name].layer in ("preset", "setting")
            and scenario_values[name].value == first_value.value
            for scenario_values in values_by_scenario
        )
    )


def is_shared_value(study: Study, method: str, name: str, value: SourcedValue) -> bool:
    """Return whether the value of a hyperparameter holds for all scenarios of the study."""
    is_published = value.layer in ("preset", "setting")
    holds_everywhere = not is_published or name in shared_hyperparameter_names(study, method)
    return value.layer != "override" and holds_everywhere


@study_cache
def _scaled_hyperparameters(study: Study, method: str, scenario: str) -> Mapping[str, SourcedValue]:
    """Return the hyperparameters of a method, scaled to the requested length of training."""
    values = _scale_values(
        study, method, scenario, _unscaled_hyperparameters(study, method, scenario)
    )
    reference = reference_with_sources(study, method)
    return values | {name: value for name, value in reference.items() if name in values}


@study_cache
def study_hyperparameters(study: Study, method: str) -> Mapping[str, SourcedValue]:
    """Return a method's hyperparameters that hold for all scenarios; others have their default."""
    scenario = study.scenarios[0]
    layers = list(_study_layers(study, method, scenario))
    values = {
        name: value if is_shared_value(study, method, name, value) else layers[-1][name]
        for name, value in _merge_values(layers).items()
    }
    return _scale_values(study, method, None, values)


def _merge_values(layers: Sequence[Mapping[str, SourcedValue]]) -> dict[str, SourcedValue]:
    """Return each hyperparameter from the first layer that has it; the last layer has all.

    A value that replaces a different value of a preset has a `preset_note`.
    """
    merged = {}
    for name in layers[-1]:
        value, *lower_values = (layer[name] for layer in layers if name in layer)
        preset_value = next((lower for lower in lower_values if lower.preset), None)
        if preset_value and not value.preset and preset_value.value != value.value:
            note = f"preset {preset_value.preset} has {json.dumps(preset_value.value)}"
            value = replace(value, preset_note=note)
        merged[name] = value
    return merged


@study_cache
def _unscaled_hyperparameters(study: Study, method: str, scenario: str) -> dict[str, SourcedValue]:
    """Return the hyperparameters of a method before scaling and without reference values."""
    layers = [*_override_layers(study, method, scenario), *_study_layers(study, method, scenario)]
    return _merge_values(layers)


def _override_layers(study: Study, method: str, scenario: str) -> Iterator[dict[str, SourcedValue]]:
    """Yield the hyperparameters that overrides set for a method, in order of precedence."""
    for position, override in study.overrides_for(scenario):
        if method in override.hyperparameters:
            key_path = ("overrides", position, "hyperparameters", method)
            fixed = override.hyperparameters[method]
            yield _with_sources(fixed.values, "override", key_path, override.source)
            yield _preset_values(study, method, scenario, fixed, key_path, "override")


def _study_layers(study: Study, method: str, scenario: str) -> Iterator[dict[str, SourcedValue]]:
    """Yield the hyperparameters of a method from layers other than overrides, by precedence.

    The last layer has the default of every hyperparameter.
    """
    method_class, key_path = method_of(method), ("hyperparameters", method)
    fixed = study.hyperparameters.get(method, FixedValues())
    yield _with_sources(fixed.values, "fixed", key_path)
    yield _preset_values(study, method, scenario, fixed, key_path, "preset")
    setting = first_match(method_class.settings, study.dataset, scenario)
    if setting is not None:
        yield _published_values(study, method, setting.values, "setting", key_path, setting.source)
    defaults = {parameter.name: parameter.default for parameter in method_class.parameters}
    yield _with_sources(defaults, "default", key_path, f"default of method {method}")


def _with_sources(
    values: Mapping[str, Value], layer: ValueLayer, key_path: KeyPath, source: str = ""
) -> dict[str, SourcedValue]:
    return {
        name: SourcedValue(value, layer, (*key_path, name), source)
        for name, value in values.items()
    }


def _preset_values(
    study: Study,
    method: str,
    scenario: str,
    fixed: FixedValues,
    key_path: KeyPath,
    layer: ValueLayer,
) -> dict[str, SourcedValue]:
    """Return the values of the preset that `fixed` names; none if it names no preset."""
    if fixed.preset is None:
        return {}
    entries = method_of(method).presets[fixed.preset]
    published_entry = first_match(entries, study.dataset, scenario)
    if published_entry is None:
        known = ", ".join(published_entry.dataset for published_entry in entries)
        raise FieldError(
            format_key((*key_path, "preset")),
            f"preset {fixed.preset} of {method} has no values for dataset {study.dataset}, only "
            f"for {known}: remove the preset and write the values out",
        )
    source = f"preset {fixed.preset}: {published_entry.source}"
    values = _published_values(study, method, published_entry.values, layer, key_path, source)
    return {name: replace(value, preset=fixed.preset) for name, value in values.items()}


def _published_values(
    study: Study,
    method: str,
    values: Mapping[str, Value],
    layer: ValueLayer,
    key_path: KeyPath,
    source: str,
) -> dict[str, SourcedValue]:
    """Return published hyperparameters, without those that are searched or in the reference."""
    excluded_names, parameters = (
        study.searched_or_reference_names(method),
        tunable_parameters_of(method),
    )
    checked = {
        name: parameters[name].check(value)
        for name, value in values.items()
        if name not in excluded_names
    }
    return _with_sources(checked, layer, key_path, source)


def _scale_values(
    study: Study, method: str, scenario: str | None, values: dict[str, SourcedValue]
) -> dict[str, SourcedValue]:
    """Scale hyperparameters to the requested length of training, except those set by flags.

    A value that holds for all scenarios is scaled with the recipe that all scenarios share, any
    other value with the recipe of its scenario.
    """
    if study.training_length is None:
        return values
    parameters, scaled_values = tunable_parameters_of(method), {}
    for name, sourced_value in values.items():
        holds_everywhere = scenario is None or is_shared_value(study, method, name, sourced_value)
        old_recipe, new_recipe = _recipes_around_scaling(
            study, method, None if holds_everywhere else scenario
        )
        scenarios = study.scenarios if scenario is None or holds_everywhere else (scenario,)
        shortest_epochs = min(
            _scaled_training_settings(study, method, used_scenario).recipe.epochs
            for used_scenario in scenarios
        )
        value = scale_value(
            parameters[name], sourced_value.value, old_recipe, new_recipe, shortest_epochs
        )
        if (
            value != sourced_value.value
            and sourced_value.key_path not in study.training_length.flag_key_paths
        ):
            scaled_values[name] = replace(
                sourced_value, value=value, unscaled_value=sourced_value.value
            )
        else:
            scaled_values[name] = sourced_value
    return scaled_values


def scale_spaces(study: Study) -> dict[str, dict[str, AnySpace]]:
    """Return the search spaces of a study, scaled to the requested length of training.

    Spaces and conditions of hyperparameters that count epochs are scaled, except spaces that flags
    set.

    Returns:
        Search spaces by method and hyperparameter.

    Raises:
        FieldError: if two values of a scaled space are the same.
    """
    return {
        method: {
            name: _scale_space(study, method, name, space)
            for name, space in study.space_of(method).items()
        }
        for method in dict.fromkeys([*study.search.space, *study.tune])
    }


def _scale_space(study: Study, method: str, name: str, space: AnySpace) -> AnySpace:
    """Return the search space of a hyperparameter at the requested length of training."""
    if space.when is not None:
        conditions = {
            other: tuple(dict.fromkeys(_scale_searched(study, method, other, allowed)))
            for other, allowed in space.when.items()
        }
        space = replace(space, when=conditions)
    try:
        if isinstance(space, ChoiceSpace):
            return replace(space, choices=_scale_searched(study, method, name, space.choices))
        low, high = _scale_searched(study, method, name, space.ends)
        return replace(space, low=float(low), high=float(high))
    except FieldError as error:
        raise FieldError(
            f"search.space.{method}.{name}",
            f"the search space {space} of {name} has no two values at this length: set "
            f"hyperparameters.{method}.{name}, or train longer",
        ) from error


def _scale_searched(
    study: Study, method: str, name: str, values: tuple[Scalar, ...]
) -> tuple[Scalar, ...]:
    """Return values of a searched hyperparameter at the requested length of training."""
    parameter, length = tunable_parameters_of(method)[name], study.training_length
    key_path = ("search", "space", method, name)
    is_set_by_flag = length is not None and any(
        path[: len(key_path)] == key_path for path in length.flag_key_paths
    )
    if not parameter.in_epochs or is_set_by_flag:
        return values
    old_recipe, new_recipe = _recipes_around_scaling(study, method, None)
    shortest_epochs = min(
        _scaled_training_settings(study, method, scenario).recipe.epochs
        for scenario in study.scenarios
    )
    return tuple(
        scale_value(parameter, value, old_recipe, new_recipe, shortest_epochs) for value in values
    )


def _recipes_around_scaling(
    study: Study, method: str, scenario: str | None
) -> tuple[Recipe, Recipe]:
    """Return a method's recipe before and after scaling to the requested length of training.

    Args:
        study: study with the requested length.
        method: name of the method.
        scenario: name of the scenario; None for the recipe that all scenarios share.
    """
    if scenario is None:
        if shared_training_settings(study, method) is None:
            return _complete_recipe(matched_recipe_layers(study, None)), matched_recipe(study)
        scenario = study.scenarios[0]
    old_recipe = _unscaled_training_settings(study, method, scenario).recipe
    return old_recipe, _scaled_training_settings(study, method, scenario).recipe
