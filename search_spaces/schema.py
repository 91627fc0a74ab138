"""The schema of a study: every key, its type and its range.

`Study` is what the rest of the project sees. What ties keys together is in `checks`; faults come
out of `reading.read_study` as one line each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Field

from search_spaces.fields import ArchitectureField, MethodValues, TunedValues, listed
from search_spaces.phases import Confirm, Count, Phase, Search, Seed, Select
from search_spaces.tunable import RECIPE_VALUES
from trainables.methods import method_of
from trainables.methods.published import Selection, Stage
from trainables.parameters import FrozenMap, Space, Value, complete
from trainables.recipe import Recipe
from trainables.seeds import Seeds
from trainables.spec import Unreadable

NameList: TypeAlias = Annotated[tuple[str, ...], Field(min_length=1)]


class Resources(BaseModel, frozen=True, extra="forbid"):
    """What one training is given.

    Attributes:
        cpus: its CPU threads; part of a run's identity, since sums depend on it.
        gpus: GPUs where the cluster has any: 0 trains on the CPU, a fraction shares a GPU.
    """

    cpus: Count = 1
    gpus: Annotated[float, Field(ge=0, le=1)] = 1.0


class MethodRecipe(BaseModel, frozen=True, extra="forbid"):
    """How a method is trained where not as the others are.

    Attributes:
        recipe: in full.
        kind: "published" by its authors, or the study's "own".
        source: where it comes from.
        hold_out: fraction of the noisy labels that its confirm runs hold out.
        selection: which epoch the number that it reports is from.
        stages: recipes of the runs that it needs, by role; those not named are trained likewise.
    """

    recipe: Recipe
    kind: Literal["published", "own"]
    source: str
    hold_out: Annotated[float, Field(ge=0, lt=1)] = 0.0
    selection: Selection = Selection.LAST
    stages: Mapping[str, Recipe] = {}


class Override(BaseModel, frozen=True, extra="forbid"):
    """What is different on one scenario.

    Attributes:
        scenario: its name (a study file may say a pattern such as asymmetric-*, with part of a
            recipe, presets, and the words for recipes).
        recipe: in its place; None: the study's.
        hyperparameters: fixed values by method, over those of the study.
        recipes: by method, over those of the study.
    """

    scenario: str
    recipe: Recipe | None = None
    hyperparameters: MethodValues = {}
    recipes: Mapping[str, MethodRecipe] = {}


class Posterior(BaseModel, frozen=True, extra="forbid"):
    """The network on clean labels whose class probabilities PMD noise is drawn from.

    Attributes:
        backbone: its architecture; None: the study's.
        recipe: how it is trained; None: the study's (a study file may say part of one).
        seed: of all its axes: one network serves all seeds of the study.
    """

    backbone: ArchitectureField | None = None
    recipe: Recipe | None = None
    seed: Seed = 0


class Diagnostics(BaseModel, frozen=True, extra="forbid"):
    """What runs tell of their training.

    Attributes:
        every: epochs between collections; None: about 20 in a run; 0: none. It changes no bit of a
            run and is no part of its identity.
    """

    every: Annotated[int, Field(ge=0)] | None = None


class Study(BaseModel, frozen=True, extra="forbid"):
    """What is to be found out.

    Attributes:
        title: as tables are headed.
        dataset: name of the dataset.
        backbone: the architecture.
        scenarios: label noise settings, by name.
        recipe: how networks are optimised, whatever the method.
        methods: those that are compared, in the order of the table's rows.
        tune: those whose hyperparameters are searched, all with the same budget; the others run
            with fixed ones.
        hyperparameters: fixed values by method; what is not said has the method's default.
        reference: the paper's point by method: first trial of its search, candidate of select,
            cell of confirm. A method that is not searched runs with it.
        vary: values by method and hyperparameter, one varied at a time while the others are as
            fixed or as in the reference: each is a cell of confirm.
        recipes: by method, where one is not trained as the others are (a study file may say the
            word published).
        overrides: what is different on some scenarios.
        search: see `Search`.
        select: see `Select`.
        confirm: see `Confirm`.
        fixed_seeds: axes that keep one seed while the others vary.
        subset: number of training samples used; None: all.
        balanced: whether the subset has as many samples of each class, by the labels that come with
            the dataset.
        unreadable: what becomes of pictures that cannot be decoded: "fail" ends the run and names
            the file, "skip" leaves the sample out and counts it in the record.
        posterior: see `Posterior`.
        resources: see `Resources`.
        diagnostics: see `Diagnostics`.
        deviations: where the study departs from the paper; printed under its tables.
    """

    title: Annotated[str, Field(min_length=1)]
    dataset: str
    backbone: ArchitectureField
    scenarios: NameList
    recipe: Recipe
    methods: NameList
    tune: tuple[str, ...] = ()
    hyperparameters: MethodValues = {}
    reference: TunedValues = {}
    vary: Mapping[str, Mapping[str, tuple[float, ...]]] = {}
    recipes: Mapping[str, MethodRecipe] = {}
    overrides: tuple[Override, ...] = ()
    search: Search = Search()
    select: Select = Select()
    confirm: Confirm = Confirm()
    fixed_seeds: Mapping[str, Seed] = {"subset": 0}
    subset: Count | None = None
    balanced: bool = False
    unreadable: Unreadable = "fail"
    posterior: Posterior = Posterior()
    resources: Resources = Resources()
    diagnostics: Diagnostics = Diagnostics()
    deviations: tuple[str, ...] = ()

    def space_of(self, method: str) -> dict[str, Space]:
        """Return where a method is searched: the study's space, else what the method declares.

        Raises:
            FieldError: an unknown method.
        """
        if method in self.search.space:
            return dict(self.search.space[method])
        fixed = self.hyperparameters.get(method, FrozenMap())
        kind = method_of(method)
        declared = {p.name: p.space for p in kind.parameters if p.space and p.name not in fixed}
        return {**declared, **kind.recipe_space}

    def reference_of(self, method: str) -> FrozenMap | None:
        """Return the paper's point of a method; None if the study has none."""
        return self.reference.get(method)

    def override_of(self, scenario: str) -> Override:
        """Return what is different on a scenario."""
        found = [override for override in self.overrides if override.scenario == scenario]
        return found[0] if found else Override(scenario=scenario)

    def hyperparameters_of(self, method: str, scenario: str, /, **tuned: Value) -> FrozenMap:
        """Return all values of a method: `tuned`, else reference, else fixed, else defaults.

        Values of the recipe among those that are tuned are left out.

        Raises:
            FieldError: an unknown method or parameter, or a value that is not allowed.
        """
        given = {
            **self.hyperparameters.get(method, FrozenMap()),
            **self.override_of(scenario).hyperparameters.get(method, FrozenMap()),
            **self.reference.get(method, FrozenMap()),
            **tuned,
        }
        own = {name: value for name, value in given.items() if name not in RECIPE_VALUES}
        return complete(f"method {method}", method_of(method).parameters, own)

    def points_of(self, method: str) -> list[dict[str, float]]:
        """Return the points at which a method that is not tuned is confirmed.

        The fixed one, named by no values, unless some are varied; then each of those beside what
        the reference says.
        """
        varied = self.vary.get(method, {})
        given = self.reference.get(method, FrozenMap())
        reference = {name: given.number(name) for name in given}
        points = [{**reference, name: value} for name, values in varied.items() for value in values]
        unique = [point for n, point in enumerate(points) if point not in points[:n]]
        return unique or [{}]

    def training_of(self, method: str, scenario: str) -> MethodRecipe | None:
        """Return how a method is trained on a scenario; None if as the others are (matched)."""
        return self.override_of(scenario).recipes.get(method, self.recipes.get(method))

    def recipe_of(self, method: str, scenario: str, /, **tuned: Value) -> Recipe:
        """Return a method's recipe on a scenario, with what of it is tuned or in the reference."""
        training = self.training_of(method, scenario)
        matched = self.override_of(scenario).recipe or self.recipe
        recipe = matched if training is None else training.recipe
        given = {**self.reference.get(method, FrozenMap()), **tuned}
        changes: Any = {name: given[name] for name in RECIPE_VALUES if name in given}
        return replace(recipe, **changes)

    def stage_recipe_of(self, method: str, stage: Stage, scenario: str) -> Recipe:
        """Return the recipe of a run that a method needs."""
        training = self.training_of(method, scenario)
        if training is None:
            return self.override_of(scenario).recipe or self.recipe
        return training.stages.get(stage.role, training.recipe)

    @property
    def searched(self) -> dict[str, tuple[str, ...]]:
        """The scenarios that are searched, each with those that its result serves."""
        if not self.tune:
            return {}
        if self.search.scope == "scenario":
            return {scenario: (scenario,) for scenario in self.scenarios}
        return {self.search.scenario or self.scenarios[0]: self.scenarios}

    def fraction_held_out(self, phase: Phase, method: str, scenario: str) -> float:
        """Return which fraction of the noisy training labels a method's runs hold out."""
        training = self.training_of(method, scenario)
        if phase == Phase.CONFIRM and training is not None:
            return training.hold_out
        keeps = phase != Phase.CONFIRM or self.confirm.hold_out
        return self.search.hold_out if keeps else 0.0

    def evaluates(
        self, phase: Phase, method: str, scenario: str, *, validated: bool = False
    ) -> tuple[str, ...]:
        """Return the splits that a method's runs evaluate: "test" in confirm alone.

        Args:
            phase: of the sweep.
            method: what is trained.
            scenario: on which label noise.
            validated: whether the dataset has a validation split with checked labels. Nothing is
                chosen by it but a run's epoch, so that it is evaluated in confirm too.
        """
        training = self.training_of(method, scenario)
        held_out = ("val",) if self.fraction_held_out(phase, method, scenario) else ()
        if phase != Phase.CONFIRM:
            return held_out
        clean = validated or (training is not None and training.selection is Selection.CLEAN)
        return (*held_out, *(("clean_val",) if clean else ()), "test")

    def seeds(self, seed: int) -> Seeds:
        """Return the seeds of all axes of a run with this base seed."""
        return Seeds.same(seed, **self.fixed_seeds)

    def to_plain(self) -> dict[str, Any]:
        """Return the study as YAML values with every default written out."""
        plain = self.model_dump(mode="json")
        plain["overrides"] = [_without_empty(override) for override in plain["overrides"]]
        spaces = {name: self.space_of(name) for name in [*self.tune, *self.search.space]}
        plain["search"]["space"] = {
            method: {
                name: {"low": space.low, "high": space.high, "log": space.log}
                for name, space in spaces[method].items()
            }
            for method in spaces
        }
        if self.tune:
            plain["search"]["scenario"] = self.search.scenario or self.scenarios[0]
        fixed = {}
        for method in dict.fromkeys([*self.methods, *self.hyperparameters]):
            searched = self.space_of(method) if method in self.tune else ()
            free = {*self.reference.get(method, ()), *searched}
            given = self.hyperparameters.get(method, FrozenMap())
            values = listed(complete(f"method {method}", method_of(method).parameters, given))
            fixed[method] = {name: value for name, value in values.items() if name not in free}
        plain["hyperparameters"] = {method: values for method, values in fixed.items() if values}
        return plain


def _without_empty(override: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in override.items() if value}
