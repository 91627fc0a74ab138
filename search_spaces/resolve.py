"""What a method is trained with on a scenario: the one resolution of a study.

Layers lie over one another; the first that says a value wins. Of hyperparameters: an override for
the scenario, what the study fixes, its preset, a published setting, the method's default; over all
of them lies the reference. Of recipes: an override for the scenario, the study's; over both of them
a method's own, or in their place its published one. A length of training that is asked for scales
the result.

Every value knows the path at which the study says it, or could say it: a fault is shown there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from search_spaces.fields import RECIPE_VALUES, Fixed, errors_under, tunable_of
from search_spaces.layers import format_key
from search_spaces.scaling import scale_recipe, scale_value
from search_spaces.schema import Phase
from trainables.errors import FieldError
from trainables.methods import Method, method_of
from trainables.methods.published import Published, Selection, matching
from trainables.run.parameters import FrozenMap, Value, complete
from trainables.run.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from search_spaces.partial_recipe import PartialRecipe
    from search_spaces.schema import OwnRecipe, RecipeChoice, Study
    from search_spaces.yaml_lines import KeyPath

LEFT_TO_THE_STUDY = (
    *("crop_size", "mean", "std", "window", "evaluate_every", "precision", "tf32"),
)
"""Of a published recipe: what does not belong to the optimisation, or is not published."""
AS_IN_THE_STUDY = "as in the study"
DEFAULT = "default of the schema"

cached = lru_cache(maxsize=8192)
"""A study is resolved once: every run of a plan asks for its cell."""

Layer = Literal["reference", "override", "fixed", "preset", "setting", "default"]
RecipeLayers = tuple[tuple["KeyPath", "PartialRecipe"], ...]
"""Parts of a recipe with their paths, the nearest to the run first."""


@dataclass(frozen=True, slots=True)
class SourcedValue:
    """A value, and where it comes from.

    Attributes:
        value: the value.
        layer: that says it.
        path: where the study says it, or could.
        source: where it comes from; "" if only the study says.
        whole: the value before it was scaled; None if it was not.
    """

    value: Value
    layer: Layer
    path: KeyPath
    source: str = ""
    whole: Value | None = None


@dataclass(frozen=True, slots=True)
class Training:
    """How a method is trained on a scenario.

    Attributes:
        kind: "matched": as the other methods; "published" by its authors; or the study's "own".
        source: where a recipe that is not matched comes from.
        recipe: in full.
        hold_out: fraction of the noisy labels that confirm runs hold out, where not matched.
        selection: which epoch the number that it reports is from.
        stages: recipes of the runs that the method needs, by role, where they are not this one.
        sources: of single values of a recipe that is not matched, by path below `recipes.METHOD`.
        path: where the study says which it is.
        kept: values of the recipe that flags have set.
    """

    kind: Literal["matched", "published", "own"]
    source: str
    recipe: Recipe
    hold_out: float = 0.0
    selection: Selection = Selection.LAST
    stages: Mapping[str, Recipe] = field(default_factory=dict)
    sources: Mapping[KeyPath, str] = field(default_factory=dict)
    path: KeyPath = field(default=(), compare=False)
    kept: frozenset[str] = field(default=frozenset(), compare=False)


@dataclass(frozen=True, slots=True)
class ResolvedStage:
    """A run that a method's own run needs.

    Attributes:
        method: that it trains.
        hyperparameters: of that method, complete.
        recipe: in full.
        passes: hyperparameters that it takes from the run that needs it.
    """

    method: str
    hyperparameters: FrozenMap
    recipe: Recipe
    passes: tuple[str, ...]

    def passing(self, values: FrozenMap) -> ResolvedStage:
        """Return the stage of a run with these hyperparameters."""
        passed = {**self.hyperparameters, **{name: values[name] for name in self.passes}}
        checked = complete(f"method {self.method}", method_of(self.method).parameters, passed)
        return replace(self, hyperparameters=checked)


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a method is trained with on a scenario.

    Attributes:
        method: what is trained.
        scenario: on which label noise.
        recipe: in full, with what of it is in the reference.
        hyperparameters: complete.
        values: the same by name, each with its source, before searched ones are laid over.
        training: how it is trained.
        stages: the runs that it needs, by role.
        choosing_hold_out: fraction of the noisy labels held out in search and select.
        confirm_hold_out: likewise in confirm.
    """

    method: str
    scenario: str
    recipe: Recipe
    hyperparameters: FrozenMap
    values: Mapping[str, SourcedValue]
    training: Training
    stages: Mapping[str, ResolvedStage]
    choosing_hold_out: float
    confirm_hold_out: float

    @property
    def selection(self) -> Selection:
        """Which epoch the number that it reports is from."""
        return self.training.selection

    def held_out(self, phase: Phase) -> float:
        """Return which fraction of the noisy training labels runs of a phase hold out."""
        return self.confirm_hold_out if phase is Phase.CONFIRM else self.choosing_hold_out

    def evaluates(self, phase: Phase, *, validated: bool = False) -> tuple[str, ...]:
        """Return the splits that runs of a phase evaluate: "test" in confirm alone.

        Args:
            phase: of the sweep.
            validated: whether the dataset has a validation split with checked labels. Nothing is
                chosen by it but a run's epoch, so that it is evaluated in confirm too.
        """
        held_out = ("val",) if self.held_out(phase) else ()
        if phase is not Phase.CONFIRM:
            return held_out
        clean = validated or self.selection is Selection.CLEAN
        return (*held_out, *(("clean_val",) if clean else ()), "test")

    def with_values(self, values: Mapping[str, Value]) -> Resolved:
        """Return the same with searched or varied values laid over, of the recipe too.

        Raises:
            FieldError: an unknown name, or a value that is not allowed.
        """
        own = {name: value for name, value in values.items() if name not in RECIPE_VALUES}
        parameters = method_of(self.method).parameters
        laid = complete(f"method {self.method}", parameters, {**self.hyperparameters, **own})
        return replace(
            self,
            hyperparameters=laid,
            recipe=_with_values(self.recipe, values),
            stages={role: stage.passing(laid) for role, stage in self.stages.items()},
        )


@cached
def resolve(study: Study, method: str, scenario: str) -> Resolved:
    """Resolve what a method is trained with on a scenario.

    Raises:
        FieldError: an unknown method, or what the study asks for cannot be: a preset without values
            for the dataset, an unpublished recipe, a part of a recipe that gives no whole one.
    """
    training = _training(study, method, scenario)
    values = _values(study, method, scenario)
    hyperparameters = _bare(values)
    stages = {
        stage.role: ResolvedStage(
            stage.method,
            _bare(_values(study, stage.method, scenario)),
            training.stages.get(stage.role, training.recipe),
            stage.passes,
        ).passing(hyperparameters)
        for stage in method_of(method).stages
    }
    chosen_by = study.search.hold_out
    return Resolved(
        method=method,
        scenario=scenario,
        recipe=_with_values(training.recipe, _bare(reference_values(study, method))),
        hyperparameters=hyperparameters,
        values=values,
        training=training,
        stages=stages,
        choosing_hold_out=chosen_by,
        confirm_hold_out=training.hold_out
        if training.kind != "matched"
        else (chosen_by if study.confirm.hold_out else 0.0),
    )


def _bare(values: Mapping[str, SourcedValue]) -> FrozenMap:
    return FrozenMap({name: one.value for name, one in values.items()})


def _with_values(recipe: Recipe, values: Mapping[str, Value]) -> Recipe:
    changes: Any = {name: values[name] for name in RECIPE_VALUES if name in values}
    return replace(recipe, **changes)


# --- recipes


@cached
def matched_recipe(study: Study, scenario: str | None = None) -> Recipe:
    """Return the recipe of all methods that have none of their own.

    Args:
        study: the study.
        scenario: on which label noise; None: where no override speaks of it.

    Raises:
        FieldError: it lacks a key, or a value is not allowed.
    """
    layers = recipe_layers(study, scenario)
    epochs = study.length.epochs if study.length and not has_own_recipe(study, scenario) else None
    return _lasting(study, _completed(layers), _kept(study, layers), epochs)


def has_own_recipe(study: Study, scenario: str | None) -> bool:
    """Tell whether overrides change the matched recipe on a scenario."""
    return _completed(recipe_layers(study, scenario)) != _completed(recipe_layers(study, None))


def posterior_recipe(study: Study) -> Recipe:
    """Return the recipe of the network that PMD noise is drawn from.

    Raises:
        FieldError: it lacks a key, or a value is not allowed.
    """
    if study.posterior.recipe is None:
        return matched_recipe(study)
    own = (("posterior", "recipe"), study.posterior.recipe)
    return _completed((own, *recipe_layers(study, None)))


@cached
def shared_training(study: Study, method: str) -> Training | None:
    """Return how a method is trained on all scenarios alike, if that is not matched."""
    first, *others = (_whole_training(study, method, scenario) for scenario in study.scenarios)
    alike = first.kind != "matched" and all(other == first for other in others)
    return _training(study, method, study.scenarios[0]) if alike else None


@cached
def _training(study: Study, method: str, scenario: str) -> Training:
    whole = _whole_training(study, method, scenario)
    if whole.kind == "matched":
        return replace(whole, recipe=matched_recipe(study, scenario))
    stages = {role: _lasting(study, one) for role, one in whole.stages.items()}
    return replace(whole, recipe=_lasting(study, whole.recipe, whole.kept), stages=stages)


@cached
def _whole_training(study: Study, method: str, scenario: str) -> Training:
    """Return how a method is trained, as long as it is written."""
    path, choice = _choice(study, method, scenario)
    layers = recipe_layers(study, scenario)
    if choice == "matched":
        return Training("matched", "", _completed(layers), path=path)
    if choice != "published":
        own: RecipeLayers = (((*path, "recipe"), choice.recipe), *layers)
        return Training(
            choice.kind,
            choice.source,
            _completed(own),
            hold_out=choice.hold_out,
            selection=choice.selection,
            stages={
                role: _completed((((*path, "stages", role), part),))
                for role, part in choice.stages.items()
            },
            sources=_sources_of_own(choice),
            path=path,
            kept=_kept(study, own),
        )
    published = _published(method_of(method), study.dataset, scenario, path)
    base = _merged(layers).values
    recipe, open_names = _published_recipe(published, base)
    stages, sources = {}, {(): published.source, **_as_in_the_study(("recipe",), open_names)}
    for stage in method_of(method).stages:
        of_stage = matching(method_of(stage.method).published, study.dataset, scenario) or published
        stages[stage.role], left = _published_recipe(of_stage, base)
        at = ("stages", stage.role)
        sources |= {at: of_stage.source, **_as_in_the_study(at, left)}
    return Training(
        "published",
        published.source,
        recipe,
        hold_out=published.hold_out,
        selection=published.selection,
        stages=stages,
        sources=sources,
        path=path,
        kept=_kept(study, layers).intersection(open_names),
    )


def _choice(study: Study, method: str, scenario: str) -> tuple[KeyPath, RecipeChoice | OwnRecipe]:
    for position, override in study.overrides_for(scenario):
        if method in override.recipes:
            return ("overrides", position, "recipes", method), override.recipes[method]
    return ("recipes", method), study.recipes.get(method, "matched")


def recipe_layers(study: Study, scenario: str | None) -> RecipeLayers:
    """Return what the study says of the matched recipe on a scenario; None: on no single one."""
    nearer = [
        (("overrides", position, "recipe"), override.recipe)
        for position, override in (study.overrides_for(scenario) if scenario else ())
        if override.recipe.values
    ]
    return (*nearer, (("recipe",), study.recipe))


def _merged(layers: RecipeLayers) -> PartialRecipe:
    (_, part), *below = layers
    return part.over(_merged(tuple(below))) if below else part


def _completed(layers: RecipeLayers) -> Recipe:
    with errors_under(format_key(layers[0][0])):
        return _merged(layers).complete()


def _published_recipe(
    published: Published, base: Mapping[str, Any]
) -> tuple[Recipe, tuple[str, ...]]:
    """Return a published recipe in full, and which of its values are the study's."""
    values = {one.name: getattr(published.recipe, one.name) for one in fields(Recipe)}
    open_names = tuple(
        name for name in LEFT_TO_THE_STUDY if name not in ("mean", "std") or values[name] is None
    )
    values |= {name: base[name] for name in open_names if base.get(name) is not None}
    return Recipe(**values), open_names


def _published(method: type[Method], dataset: str, scenario: str, path: KeyPath) -> Published:
    published = matching(method.published, dataset, scenario)
    if published is None:
        known = ", ".join(f"{entry.dataset} {entry.noise}" for entry in method.published)
        raise FieldError(
            format_key(path),
            f"no recipe of {method.name} is published for {dataset} with {scenario}"
            + (f", only for {known}" if known else "")
            + ": use matched, or write it out",
        )
    if published.selection is Selection.TEST:
        raise FieldError(
            format_key(path),
            f"the published recipe of {method.name} on {dataset} takes the epoch with the best "
            "test accuracy: the test split is never looked at while choosing; use matched",
        )
    return published


def _sources_of_own(own: OwnRecipe) -> dict[KeyPath, str]:
    unsaid = type(own).model_fields.keys() - own.model_fields_set - {"recipe"}
    others = [one.name for one in fields(Recipe) if one.name not in own.recipe.values]
    stated: dict[KeyPath, str] = {(): own.source} if "source" in own.model_fields_set else {}
    return {
        **stated,
        **{(name,): DEFAULT for name in unsaid},
        **_as_in_the_study(("recipe",), others),
    }


def _as_in_the_study(at: KeyPath, names: Iterable[str]) -> dict[KeyPath, str]:
    return {(*at, name): AS_IN_THE_STUDY for name in names}


def _lasting(
    study: Study, recipe: Recipe, kept: Collection[str] = (), epochs: int | None = None
) -> Recipe:
    """Return a recipe at the length of training that is asked for."""
    if study.length is None:
        return recipe
    whole = _completed(recipe_layers(study, None))
    return scale_recipe(recipe, study.length.epochs / whole.epochs, kept, epochs)


def _kept(study: Study, layers: RecipeLayers) -> frozenset[str]:
    """Return the values of a recipe that flags have set, and that nothing nearer says anew."""
    flagged = study.length.flag_keys - {("recipe", "epochs")} if study.length else frozenset()
    kept: set[str] = set()
    for path, part in reversed(layers):
        if "schedule.kind" in part.names:
            kept = {name for name in kept if not name.startswith("schedule.")}
        set_here = {name for name in part.names if (*path, *name.split(".")) in flagged}
        kept = (kept - part.names) | set_here
    return frozenset(kept)


# --- hyperparameters


def reference_of(study: Study, method: str) -> FrozenMap | None:
    """Return the paper's point of a method; None if the study has none."""
    values = _bare(reference_values(study, method))
    return values if values or method in study.reference else None


def points_of(study: Study, method: str) -> list[dict[str, float]]:
    """Return the points at which a method that is not tuned is confirmed.

    The fixed one, named by no values, unless some are varied; then each of those beside what the
    reference says.
    """
    reference = reference_of(study, method) or FrozenMap()
    numbers = {name: reference.number(name) for name in reference}
    points = [
        {**numbers, name: value}
        for name, values in study.vary.get(method, {}).items()
        for value in values
    ]
    unique = [point for n, point in enumerate(points) if point not in points[:n]]
    return unique or [{}]


@cached
def reference_values(study: Study, method: str) -> Mapping[str, SourcedValue]:
    """Return the paper's point of a method with its sources; empty if the study has none.

    A published setting that gives all that is searched, on all scenarios, is a tuned method's
    reference where the study says none.
    """
    point, source = study.reference.get(method), ""
    if point is None and method in study.tune:
        settings = [
            matching(method_of(method).settings, study.dataset, scenario)
            for scenario in study.scenarios
        ]
        setting, searched = settings[0], study.space_of(method)
        shared = setting is not None and settings.count(setting) == len(settings)
        if setting is not None and shared and searched.keys() <= setting.values.keys():
            point = FrozenMap({name: setting.values[name] for name in searched})
            source = setting.source
    known = tunable_of(method)
    checked = {name: known[name].check(value) for name, value in (point or {}).items()}
    values = _sourced(checked, "reference", ("reference", method), source)
    return _scaled(study, method, None, values)


@cached
def shared_names(study: Study, method: str) -> frozenset[str]:
    """Return the hyperparameters for which the same value is published on all scenarios."""
    cells = [_whole_values(study, method, scenario) for scenario in study.scenarios]
    return frozenset(
        name
        for name, first in cells[0].items()
        if all(
            cell[name].layer in ("preset", "setting") and cell[name].value == first.value
            for cell in cells
        )
    )


def is_shared(study: Study, method: str, name: str, one: SourcedValue) -> bool:
    """Tell whether a value is the study's, rather than that of one scenario."""
    published = one.layer in ("preset", "setting")
    return one.layer != "override" and (not published or name in shared_names(study, method))


@cached
def _values(study: Study, method: str, scenario: str) -> Mapping[str, SourcedValue]:
    values = _scaled(study, method, scenario, _whole_values(study, method, scenario))
    return values | {
        name: one for name, one in reference_values(study, method).items() if name in values
    }


@cached
def study_values(study: Study, method: str) -> Mapping[str, SourcedValue]:
    """Return the values of a method that are not those of single scenarios."""
    scenario = study.scenarios[0]
    layers = list(_study_layers(study, method, scenario))
    values = {
        name: one if is_shared(study, method, name, one) else layers[-1][name]
        for name, one in _nearest(layers).items()
    }
    return _scaled(study, method, None, values)


def _nearest(layers: Sequence[Mapping[str, SourcedValue]]) -> dict[str, SourcedValue]:
    """Return each value as the nearest layer says it; the last says all."""
    return {name: next(layer[name] for layer in layers if name in layer) for name in layers[-1]}


@cached
def _whole_values(study: Study, method: str, scenario: str) -> dict[str, SourcedValue]:
    """Return the values under the reference, as they are written."""
    layers = [*_override_layers(study, method, scenario), *_study_layers(study, method, scenario)]
    return _nearest(layers)


def _override_layers(study: Study, method: str, scenario: str) -> Iterator[dict[str, SourcedValue]]:
    """Yield what overrides say of a method's values on a scenario, the last entry first."""
    for position, override in study.overrides_for(scenario):
        if method in override.hyperparameters:
            at = ("overrides", position, "hyperparameters", method)
            fixed = override.hyperparameters[method]
            yield _sourced(fixed.values, "override", at, override.source)
            yield _preset(study, method, scenario, fixed, at, "override")


def _study_layers(study: Study, method: str, scenario: str) -> Iterator[dict[str, SourcedValue]]:
    """Yield what else says values of a method on a scenario, the nearest first, all of it last."""
    kind, at = method_of(method), ("hyperparameters", method)
    fixed = study.hyperparameters.get(method, Fixed())
    yield _sourced(fixed.values, "fixed", at)
    yield _preset(study, method, scenario, fixed, at, "preset")
    setting = matching(kind.settings, study.dataset, scenario)
    if setting is not None:
        yield _taken(study, method, setting.values, "setting", at, setting.source)
    defaults = {parameter.name: parameter.default for parameter in kind.parameters}
    yield _sourced(defaults, "default", at, f"default of method {method}")


def _sourced(
    values: Mapping[str, Value], layer: Layer, at: KeyPath, source: str = ""
) -> dict[str, SourcedValue]:
    return {name: SourcedValue(value, layer, (*at, name), source) for name, value in values.items()}


def _preset(
    study: Study, method: str, scenario: str, fixed: Fixed, at: KeyPath, layer: Layer
) -> dict[str, SourcedValue]:
    if fixed.preset is None:
        return {}
    entries = method_of(method).presets[fixed.preset]
    entry = matching(entries, study.dataset, scenario)
    if entry is None:
        known = ", ".join(entry.dataset for entry in entries)
        raise FieldError(
            format_key((*at, "preset")),
            f"preset {fixed.preset} of {method} has no values for dataset {study.dataset}, only "
            f"for {known}: write them out",
        )
    return _taken(study, method, entry.values, layer, at, f"preset {fixed.preset}: {entry.source}")


def _taken(
    study: Study,
    method: str,
    values: Mapping[str, Value],
    layer: Layer,
    at: KeyPath,
    source: str,
) -> dict[str, SourcedValue]:
    """Return published values, but for those that are searched or in the reference."""
    free = study.unfixed_names(method)
    known = tunable_of(method)
    checked = {name: known[name].check(value) for name, value in values.items() if name not in free}
    return _sourced(checked, layer, at, source)


def _scaled(
    study: Study, method: str, scenario: str | None, values: dict[str, SourcedValue]
) -> dict[str, SourcedValue]:
    """Return values in trainings of the length asked for, but for those that flags have set.

    What is said for the study is scaled with the training that its scenarios share, what is said
    for one scenario with that one's.
    """
    if study.length is None:
        return values
    known, scaled = tunable_of(method), {}
    for name, one in values.items():
        of_study = scenario is None or is_shared(study, method, name, one)
        before, after = _lengths(study, method, None if of_study else scenario)
        value = scale_value(known[name], one.value, before, after)
        moved = value != one.value and one.path not in study.length.flag_keys
        scaled[name] = replace(one, value=value, whole=one.value) if moved else one
    return scaled


def _lengths(study: Study, method: str, scenario: str | None) -> tuple[Recipe, Recipe]:
    """Return a method's recipe before and after it was scaled; on no scenario the shared one."""
    if scenario is None:
        if shared_training(study, method) is None:
            return _completed(recipe_layers(study, None)), matched_recipe(study)
        scenario = study.scenarios[0]
    before = _whole_training(study, method, scenario).recipe
    return before, _training(study, method, scenario).recipe
