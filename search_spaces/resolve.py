"""Resolution of a study: the recipe and hyperparameters of each method on each scenario.

Values are taken from the first layer that has them. The layers of hyperparameters are the
reference, an override for the scenario, the study's fixed values, its preset, a published setting
and the method's default. The layers of a recipe are the method's own recipe, an override for the
scenario and the study's recipe; a published recipe replaces all of them. A requested length of
training scales the result.

Every value has the path at which the study sets it, or could set it, for error messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from search_spaces.fields import RECIPE_VALUES, FixedValues, errors_under, tunable_parameters_of
from search_spaces.layers import format_key
from search_spaces.scaling import scale_recipe, scale_value
from search_spaces.schema import Phase
from trainables.errors import FieldError
from trainables.methods import Method, method_of
from trainables.methods.published import PublishedRecipe, Selection, first_match
from trainables.run.parameters import FrozenMap, Value, complete
from trainables.run.protocols import Protocol, protocol_of
from trainables.run.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from search_spaces.partial_recipe import PartialRecipe
    from search_spaces.schema import OwnRecipe, RecipeChoice, Study
    from search_spaces.yaml_lines import KeyPath

KEYS_FROM_THE_STUDY = (
    *("crop_size", "mean", "std", "window", "evaluate_every", "precision", "tf32"),
)
"""Keys that a published recipe takes from the study's recipe.

Their values are not published, or do not concern the optimisation.
"""

AS_IN_THE_STUDY = "as in the study"
"""Source text of values that a recipe takes from the study's recipe."""

SCHEMA_DEFAULT = "default of the schema"
"""Source text of values that have the default of the schema."""

study_cache = lru_cache(maxsize=8192)
"""Decorator that caches a function of a study, since it is called for every run of a plan."""

ValueLayer = Literal["reference", "override", "fixed", "preset", "setting", "default"]
RecipeLayers = tuple[tuple["KeyPath", "PartialRecipe"], ...]
"""Parts of a recipe with their key paths, the one with the highest precedence first."""


@dataclass(frozen=True, slots=True)
class SourcedValue:
    """Value of a hyperparameter with its source.

    Attributes:
        value: the value.
        layer: kind of entry that the value is taken from, such as an override or a preset.
        key_path: path at which the study sets the value, or could set it.
        source: source of the value; "" if only the study states it.
        unscaled: value before it was scaled; None if it was not scaled.
    """

    value: Value
    layer: ValueLayer
    key_path: KeyPath
    source: str = ""
    unscaled: Value | None = None


@dataclass(frozen=True, slots=True)
class Training:
    """Recipe of a method on a scenario, with its held-out fraction and epoch selection.

    Attributes:
        kind: "matched" for the recipe of the study, "published" for that of the method's authors,
            "own" for one that the study writes for the method.
        source: source of a recipe that is not matched.
        recipe: complete recipe.
        hold_out: fraction of the noisy labels that confirm runs hold out, unless matched.
        selection: rule for the epoch whose accuracy is reported.
        stages: recipes of the method's stages by role, where they differ from `recipe`.
        sources: sources of values of a recipe that is not matched, by path below
            `recipes.METHOD`.
        key_path: path at which the study chooses the recipe, or could choose it.
        flag_names: names of the recipe's values that flags set, which are not scaled.
    """

    kind: Literal["matched", "published", "own"]
    source: str
    recipe: Recipe
    hold_out: float = 0.0
    selection: Selection = Selection.LAST
    stages: Mapping[str, Recipe] = field(default_factory=dict)
    sources: Mapping[KeyPath, str] = field(default_factory=dict)
    key_path: KeyPath = field(default=(), compare=False)
    flag_names: frozenset[str] = field(default=frozenset(), compare=False)


@dataclass(frozen=True, slots=True)
class ResolvedStage:
    """Stage of a method: a run that the method's own run needs.

    Attributes:
        method: method that the stage trains.
        hyperparameters: all hyperparameters of that method.
        recipe: complete recipe.
        passes: names of hyperparameters that the stage takes from the run that needs it.
    """

    method: str
    hyperparameters: FrozenMap
    recipe: Recipe
    passes: tuple[str, ...]

    def with_values(self, values: FrozenMap) -> ResolvedStage:
        """Return a copy of the stage for a run with other hyperparameters.

        Only those named in `passes` are taken from that run.
        """
        merged = {**self.hyperparameters, **{name: values[name] for name in self.passes}}
        checked = complete(f"method {self.method}", method_of(self.method).parameters, merged)
        return replace(self, hyperparameters=checked)


@dataclass(frozen=True, slots=True)
class ResolvedMethod:
    """Recipe and hyperparameters of a method on a scenario.

    Attributes:
        method: name of the method.
        scenario: name of the scenario.
        recipe: complete recipe, including values of the reference.
        hyperparameters: all hyperparameters of the method.
        values: hyperparameters with their sources, before searched values replace them.
        training: recipe as the study chooses it, with its held-out fraction and epoch rule.
        stages: stages of the method by role.
        search_hold_out: fraction of the noisy labels held out in search and select.
        confirm_hold_out: fraction of the noisy labels held out in confirm.
        protocol: rule that names the epochs whose accuracies are averaged: the study's for a
            matched recipe; for any other recipe, the default for its schedule.
    """

    method: str
    scenario: str
    recipe: Recipe
    hyperparameters: FrozenMap
    values: Mapping[str, SourcedValue]
    training: Training
    stages: Mapping[str, ResolvedStage]
    search_hold_out: float
    confirm_hold_out: float
    protocol: Protocol

    @property
    def selection(self) -> Selection:
        """Rule for the epoch whose accuracy is reported."""
        return self.training.selection

    def hold_out(self, phase: Phase) -> float:
        """Return the fraction of the noisy training labels that runs of a phase hold out."""
        return self.confirm_hold_out if phase is Phase.CONFIRM else self.search_hold_out

    def evaluated_splits(self, phase: Phase, *, has_validation: bool = False) -> tuple[str, ...]:
        """Return the splits that runs of a phase evaluate: "test" in confirm only.

        Args:
            phase: phase of the sweep.
            has_validation: whether the dataset has a validation split with checked labels. It
                chooses only the epoch of a run, and is therefore evaluated in confirm only.
        """
        noisy_val = ("val",) if self.hold_out(phase) else ()
        if phase is not Phase.CONFIRM:
            return noisy_val
        has_clean_val = has_validation or self.selection is Selection.CLEAN
        return (*noisy_val, *(("clean_val",) if has_clean_val else ()), "test")

    def with_values(self, values: Mapping[str, Value]) -> ResolvedMethod:
        """Return a copy with searched or varied values, which may be values of the recipe.

        Raises:
            FieldError: if a name is unknown or a value is not allowed.
        """
        changes = {name: value for name, value in values.items() if name not in RECIPE_VALUES}
        parameters = method_of(self.method).parameters
        merged = {**self.hyperparameters, **changes}
        hyperparameters = complete(f"method {self.method}", parameters, merged)
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
    training = _scaled_training(study, method, scenario)
    values = _scaled_hyperparameters(study, method, scenario)
    hyperparameters = _without_sources(values)
    stages = {
        stage.role: ResolvedStage(
            stage.method,
            _without_sources(_scaled_hyperparameters(study, stage.method, scenario)),
            training.stages.get(stage.role, training.recipe),
            stage.passes,
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
            training.recipe, _without_sources(reference_values(study, method))
        ),
        hyperparameters=hyperparameters,
        values=values,
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
    """Return a recipe with those values that belong to a recipe."""
    changes: Any = {name: values[name] for name in RECIPE_VALUES if name in values}
    return replace(recipe, **changes)


# --- recipes


@study_cache
def matched_recipe(study: Study, scenario: str | None = None) -> Recipe:
    """Return the recipe of all methods that have none of their own.

    Args:
        study: the study.
        scenario: name of the scenario; None for the recipe without overrides.

    Raises:
        FieldError: if the recipe lacks a key, or a value is not allowed.
    """
    layers = matched_recipe_layers(study, scenario)
    epochs = (
        study.length.epochs if study.length and not is_recipe_overridden(study, scenario) else None
    )
    return _scale_to_length(study, _complete_recipe(layers), _flag_names(study, layers), epochs)


def protocol_on(study: Study, scenario: str) -> Protocol:
    """Return the protocol that chooses hyperparameters on a scenario."""
    recipe = matched_recipe(study, scenario)
    return protocol_of(recipe, study.search.protocol, study.search.cycles)


def is_recipe_overridden(study: Study, scenario: str | None) -> bool:
    """Return whether overrides change the matched recipe on a scenario."""
    return _complete_recipe(matched_recipe_layers(study, scenario)) != _complete_recipe(
        matched_recipe_layers(study, None)
    )


def posterior_recipe(study: Study) -> Recipe:
    """Return the recipe of the network that PMD noise is drawn from.

    Raises:
        FieldError: if the recipe lacks a key, or a value is not allowed.
    """
    if study.posterior.recipe is None:
        return matched_recipe(study)
    own = (("posterior", "recipe"), study.posterior.recipe)
    return _complete_recipe((own, *matched_recipe_layers(study, None)))


@study_cache
def shared_training(study: Study, method: str) -> Training | None:
    """Return the training of a method that all scenarios share.

    None if scenarios differ, or if the method has the matched recipe.
    """
    first_training, *other_trainings = (
        _unscaled_training(study, method, scenario) for scenario in study.scenarios
    )
    is_shared_recipe = first_training.kind != "matched" and all(
        training == first_training for training in other_trainings
    )
    return _scaled_training(study, method, study.scenarios[0]) if is_shared_recipe else None


@study_cache
def _scaled_training(study: Study, method: str, scenario: str) -> Training:
    """Return the training of a method at the requested length."""
    unscaled = _unscaled_training(study, method, scenario)
    if unscaled.kind == "matched":
        return replace(unscaled, recipe=matched_recipe(study, scenario))
    recipe = _scale_to_length(study, unscaled.recipe, unscaled.flag_names)
    stages = {role: _scale_to_length(study, stage) for role, stage in unscaled.stages.items()}
    return replace(unscaled, recipe=recipe, stages=stages)


@study_cache
def _unscaled_training(study: Study, method: str, scenario: str) -> Training:
    """Return the training of a method at the length that the study states."""
    key_path, choice = _recipe_choice(study, method, scenario)
    layers = matched_recipe_layers(study, scenario)
    if choice == "matched":
        return Training("matched", "", _complete_recipe(layers), key_path=key_path)
    if choice != "published":
        own: RecipeLayers = (((*key_path, "recipe"), choice.recipe), *layers)
        return Training(
            choice.kind,
            choice.source,
            _complete_recipe(own),
            hold_out=choice.hold_out,
            selection=choice.selection,
            stages={
                role: _complete_recipe((((*key_path, "stages", role), part),))
                for role, part in choice.stages.items()
            },
            sources=_own_sources(choice),
            key_path=key_path,
            flag_names=_flag_names(study, own),
        )
    published = _find_published(method_of(method), study.dataset, scenario, key_path)
    study_recipe = _merge_recipes(layers).values
    recipe, study_names = _published_recipe(published, study_recipe)
    stages, sources = {}, {(): published.source, **_study_sources(("recipe",), study_names)}
    for stage in method_of(method).stages:
        published_entry = (
            first_match(method_of(stage.method).published_recipes, study.dataset, scenario)
            or published
        )
        stages[stage.role], stage_names = _published_recipe(published_entry, study_recipe)
        stage_key_path = ("stages", stage.role)
        sources |= {
            stage_key_path: published_entry.source,
            **_study_sources(stage_key_path, stage_names),
        }
    return Training(
        "published",
        published.source,
        recipe,
        hold_out=published.hold_out,
        selection=published.selection,
        stages=stages,
        sources=sources,
        key_path=key_path,
        flag_names=_flag_names(study, layers).intersection(study_names),
    )


def _recipe_choice(
    study: Study, method: str, scenario: str
) -> tuple[KeyPath, RecipeChoice | OwnRecipe]:
    """Return the recipe that the study chooses for a method, and the path of the choice."""
    for position, override in study.overrides_for(scenario):
        if method in override.recipes:
            return ("overrides", position, "recipes", method), override.recipes[method]
    return ("recipes", method), study.recipes.get(method, "matched")


def matched_recipe_layers(study: Study, scenario: str | None) -> RecipeLayers:
    """Return the parts of the matched recipe on a scenario; None for those without overrides."""
    overrides = [
        (("overrides", position, "recipe"), override.recipe)
        for position, override in (study.overrides_for(scenario) if scenario else ())
        if override.recipe.values
    ]
    return (*overrides, (("recipe",), study.recipe))


def _merge_recipes(layers: RecipeLayers) -> PartialRecipe:
    (_, part), *below = layers
    return part.over(_merge_recipes(tuple(below))) if below else part


def _complete_recipe(layers: RecipeLayers) -> Recipe:
    """Merge parts of a recipe into a complete one.

    Errors name the key in the part of highest precedence.
    """
    with errors_under(format_key(layers[0][0])):
        return _merge_recipes(layers).complete()


def _published_recipe(
    published: PublishedRecipe, study_recipe: Mapping[str, Any]
) -> tuple[Recipe, tuple[str, ...]]:
    """Return a complete published recipe, and the names of the values taken from the study.

    Args:
        published: entry of the method's published recipes.
        study_recipe: values of the study's recipe on the scenario.
    """
    values = {key.name: getattr(published.recipe, key.name) for key in fields(Recipe)}
    study_names = tuple(
        name for name in KEYS_FROM_THE_STUDY if name not in ("mean", "std") or values[name] is None
    )
    values |= {
        name: study_recipe[name] for name in study_names if study_recipe.get(name) is not None
    }
    return Recipe(**values), study_names


def _find_published(
    method: type[Method], dataset: str, scenario: str, key_path: KeyPath
) -> PublishedRecipe:
    """Return the published recipe of a method, or raise `FieldError` for the key at a path."""
    published = first_match(method.published_recipes, dataset, scenario)
    if published is None:
        known = ", ".join(
            f"{published_entry.dataset} {published_entry.noise}"
            for published_entry in method.published_recipes
        )
        raise FieldError(
            format_key(key_path),
            f"no recipe of {method.name} is published for {dataset} with {scenario}"
            + (f", only for {known}" if known else "")
            + ": use matched, or write it out",
        )
    if published.selection is Selection.TEST:
        raise FieldError(
            format_key(key_path),
            f"the published recipe of {method.name} on {dataset} takes the epoch with the best "
            "test accuracy: the test split is never looked at while choosing; use matched",
        )
    return published


def _own_sources(own: OwnRecipe) -> dict[KeyPath, str]:
    """Return the sources of a recipe written by the study, by path below `recipes.METHOD`."""
    defaults = type(own).model_fields.keys() - own.model_fields_set - {"recipe"}
    inherited = [key.name for key in fields(Recipe) if key.name not in own.recipe.values]
    stated: dict[KeyPath, str] = {(): own.source} if "source" in own.model_fields_set else {}
    return {
        **stated,
        **{(name,): SCHEMA_DEFAULT for name in defaults},
        **_study_sources(("recipe",), inherited),
    }


def _study_sources(key_path: KeyPath, names: Iterable[str]) -> dict[KeyPath, str]:
    return {(*key_path, name): AS_IN_THE_STUDY for name in names}


def _scale_to_length(
    study: Study, recipe: Recipe, unscaled: Collection[str] = (), epochs: int | None = None
) -> Recipe:
    """Return a recipe at the requested length of training.

    Args:
        study: study with the requested length.
        recipe: recipe as it is written.
        unscaled: names of the values that are not scaled.
        epochs: number of epochs of the new recipe; None scales the old number.
    """
    if study.length is None:
        return recipe
    study_epochs = _complete_recipe(matched_recipe_layers(study, None)).epochs
    return scale_recipe(recipe, study.length.epochs / study_epochs, unscaled, epochs)


def _flag_names(study: Study, layers: RecipeLayers) -> frozenset[str]:
    """Return the names of a recipe's values that are set by flags.

    A value that a layer of higher precedence sets again is left out.
    """
    flag_keys = study.length.flag_keys - {("recipe", "epochs")} if study.length else frozenset()
    names: set[str] = set()
    for key_path, part in reversed(layers):
        if "schedule.kind" in part.names:
            names = {name for name in names if not name.startswith("schedule.")}
        own_names = {name for name in part.names if (*key_path, *name.split(".")) in flag_keys}
        names = (names - part.names) | own_names
    return frozenset(names)


# --- hyperparameters


def reference_of(study: Study, method: str) -> FrozenMap | None:
    """Return the reference of a method; None if the study has none."""
    values = _without_sources(reference_values(study, method))
    return values if values or method in study.reference else None


def confirm_cell_values(study: Study, method: str) -> list[dict[str, float]]:
    """Return the values of each cell of a method that is not tuned.

    With `vary`, there is one cell for each varied value, completed by the reference. Without it,
    there is a single cell, whose mapping is empty since all of its values are fixed.
    """
    reference = reference_of(study, method) or FrozenMap()
    reference_numbers = {name: reference.number(name) for name in reference}
    cell_values = [
        {**reference_numbers, name: value}
        for name, values in study.vary.get(method, {}).items()
        for value in values
    ]
    unique_cells = [cell for n, cell in enumerate(cell_values) if cell not in cell_values[:n]]
    return unique_cells or [{}]


@study_cache
def reference_values(study: Study, method: str) -> Mapping[str, SourcedValue]:
    """Return the reference of a method with its sources; empty if the study has none.

    A tuned method without a reference in the study has a published setting as its reference, if
    that setting holds on all scenarios and has all searched hyperparameters.
    """
    reference, source = study.reference.get(method), ""
    if reference is None and method in study.tune:
        settings = [
            first_match(method_of(method).settings, study.dataset, scenario)
            for scenario in study.scenarios
        ]
        setting, space = settings[0], study.space_of(method)
        holds_everywhere = settings.count(setting) == len(settings)
        if setting is not None and holds_everywhere and space.keys() <= setting.values.keys():
            reference = FrozenMap({name: setting.values[name] for name in space})
            source = setting.source
    parameters = tunable_parameters_of(method)
    checked = {name: parameters[name].check(value) for name, value in (reference or {}).items()}
    values = _with_sources(checked, "reference", ("reference", method), source)
    return _scale_values(study, method, None, values)


@study_cache
def shared_names(study: Study, method: str) -> frozenset[str]:
    """Return the names of the hyperparameters with the same published value on all scenarios."""
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
    """Return whether a value holds for all scenarios of the study."""
    is_published = value.layer in ("preset", "setting")
    holds_everywhere = not is_published or name in shared_names(study, method)
    return value.layer != "override" and holds_everywhere


@study_cache
def _scaled_hyperparameters(study: Study, method: str, scenario: str) -> Mapping[str, SourcedValue]:
    """Return the hyperparameters of a method on a scenario at the requested length of training."""
    values = _scale_values(
        study, method, scenario, _unscaled_hyperparameters(study, method, scenario)
    )
    reference = reference_values(study, method)
    return values | {name: value for name, value in reference.items() if name in values}


@study_cache
def study_hyperparameters(study: Study, method: str) -> Mapping[str, SourcedValue]:
    """Return the hyperparameters of a method, ignoring values that hold on some scenarios only."""
    scenario = study.scenarios[0]
    layers = list(_study_layers(study, method, scenario))
    values = {
        name: value if is_shared_value(study, method, name, value) else layers[-1][name]
        for name, value in _merge_values(layers).items()
    }
    return _scale_values(study, method, None, values)


def _merge_values(layers: Sequence[Mapping[str, SourcedValue]]) -> dict[str, SourcedValue]:
    """Return each value from the first layer that has it; the last layer has all values."""
    return {name: next(layer[name] for layer in layers if name in layer) for name in layers[-1]}


@study_cache
def _unscaled_hyperparameters(study: Study, method: str, scenario: str) -> dict[str, SourcedValue]:
    """Return the hyperparameters of a method before scaling and without reference values."""
    layers = [*_override_layers(study, method, scenario), *_study_layers(study, method, scenario)]
    return _merge_values(layers)


def _override_layers(study: Study, method: str, scenario: str) -> Iterator[dict[str, SourcedValue]]:
    """Yield the values that overrides give a method on a scenario, the last override first."""
    for position, override in study.overrides_for(scenario):
        if method in override.hyperparameters:
            key_path = ("overrides", position, "hyperparameters", method)
            fixed = override.hyperparameters[method]
            yield _with_sources(fixed.values, "override", key_path, override.source)
            yield _preset_values(study, method, scenario, fixed, key_path, "override")


def _study_layers(study: Study, method: str, scenario: str) -> Iterator[dict[str, SourcedValue]]:
    """Yield the values of a method that do not come from overrides, in order of precedence.

    The last item has the default of every hyperparameter.
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
    """Return the values of the preset that a method has, if any, for the dataset and scenario."""
    if fixed.preset is None:
        return {}
    entries = method_of(method).presets[fixed.preset]
    published_entry = first_match(entries, study.dataset, scenario)
    if published_entry is None:
        known = ", ".join(published_entry.dataset for published_entry in entries)
        raise FieldError(
            format_key((*key_path, "preset")),
            f"preset {fixed.preset} of {method} has no values for dataset {study.dataset}, only "
            f"for {known}: write them out",
        )
    source = f"preset {fixed.preset}: {published_entry.source}"
    return _published_values(study, method, published_entry.values, layer, key_path, source)


def _published_values(
    study: Study,
    method: str,
    values: Mapping[str, Value],
    layer: ValueLayer,
    key_path: KeyPath,
    source: str,
) -> dict[str, SourcedValue]:
    """Return published values except those that are searched or in the reference."""
    unfixed, parameters = study.unfixed_names(method), tunable_parameters_of(method)
    checked = {
        name: parameters[name].check(value) for name, value in values.items() if name not in unfixed
    }
    return _with_sources(checked, layer, key_path, source)


def _scale_values(
    study: Study, method: str, scenario: str | None, values: dict[str, SourcedValue]
) -> dict[str, SourcedValue]:
    """Return values at the requested length of training; those set by flags stay unscaled.

    A value that holds for all scenarios is scaled with the recipe that they share, any other with
    the recipe of its scenario.
    """
    if study.length is None:
        return values
    parameters, scaled = tunable_parameters_of(method), {}
    for name, sourced_value in values.items():
        holds_everywhere = scenario is None or is_shared_value(study, method, name, sourced_value)
        before, after = _recipes_of_lengths(study, method, None if holds_everywhere else scenario)
        value = scale_value(parameters[name], sourced_value.value, before, after)
        if value != sourced_value.value and sourced_value.key_path not in study.length.flag_keys:
            scaled[name] = replace(sourced_value, value=value, unscaled=sourced_value.value)
        else:
            scaled[name] = sourced_value
    return scaled


def _recipes_of_lengths(study: Study, method: str, scenario: str | None) -> tuple[Recipe, Recipe]:
    """Return a method's recipe before and after scaling to the requested length.

    Without a scenario, it is the recipe that all scenarios share.
    """
    if scenario is None:
        if shared_training(study, method) is None:
            return _complete_recipe(matched_recipe_layers(study, None)), matched_recipe(study)
        scenario = study.scenarios[0]
    before = _unscaled_training(study, method, scenario).recipe
    return before, _scaled_training(study, method, scenario).recipe
