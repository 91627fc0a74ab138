"""Schema of a study file: every key with its type and range.

`validation.validate_study` turns violations of the schema into one-line errors, `checks` contains
the rules that involve several keys, and `resolve` derives the recipe and hyperparameters of each
method.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from itertools import product
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, Discriminator, Field, PrivateAttr, Tag

from search_spaces.fields import (
    ArchitectureField,
    DeviationField,
    FixedValues,
    FixedValuesField,
    GridAxisField,
    OverrideFixedValuesField,
    ReferenceField,
    field_added_later,
)
from search_spaces.partial_recipe import PartialRecipe, RecipeField
from search_spaces.scaling import TrainingLength
from search_spaces.schedulers import Scheduler, SchedulerField
from search_spaces.spaces import SpacesField
from trainables.methods import method_of
from trainables.methods.published import EpochSelection
from trainables.run.identity import MAX_INTEGER
from trainables.run.parameters import AnySpace
from trainables.run.protocols import DEFAULT_CYCLE_COUNT, ProtocolKey
from trainables.run.seeds import Seeds
from trainables.run.spec import UnreadablePolicy

MAX_COUNT = 2**31 - 1
"""Largest number of anything that a study counts, which every library can represent."""
MAX_SEED_COUNT = 10_000
"""Largest number of seeds of a phase."""
MAX_BUDGET_HOURS = 100_000.0
"""Longest time budget of a sweep, in hours."""
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
Seed = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
SeedList = Annotated[tuple[Seed, ...], Field(min_length=1, max_length=MAX_SEED_COUNT)]
NameList: TypeAlias = Annotated[tuple[str, ...], Field(min_length=1)]

RecipeChoice: TypeAlias = Literal["matched", "published"]
"""Recipe of a method: the study's ("matched") or the one of the method's authors ("published")."""

SamplerName: TypeAlias = Literal["tpe", "gp", "random", "qmc", "grid"]
"""Rule that proposes the values of a trial."""
SAMPLER_TITLES: Mapping[SamplerName, str] = {
    "tpe": "TPE",
    "gp": "a Gaussian process",
    "random": "random draws",
    "qmc": "a Sobol sequence",
    "grid": "a grid",
}
"""Title of each sampler; TPE is a tree-structured Parzen estimator."""
LEARNING_SAMPLERS: frozenset[SamplerName] = frozenset({"tpe", "gp"})
"""Samplers whose proposals depend on the results of trials."""


class Phase(StrEnum):
    """Phase of a sweep: search, then select (among the best trials), then confirm.

    The seeds of the phases are disjoint. Only confirm runs evaluate the test split.
    """

    SEARCH = "search"
    SELECT = "select"
    CONFIRM = "confirm"


class Resources(BaseModel, frozen=True, extra="forbid"):
    """Computing resources of one run.

    Attributes:
        cpus: number of CPU threads. It is part of a run's identity, since the rounding of sums
            depends on it.
        gpus: number of GPUs on a machine that has any. With 0 the run is trained on the CPU; with a
            fraction, several runs share a GPU.
        runs_per_gpu: largest number of runs that share a GPU. How many do depends on the memory
            that the first run of a network has used, which has the GPU to itself.
    """

    cpus: Count = 1
    gpus: Annotated[float, Field(ge=0, le=1)] = 1.0
    runs_per_gpu: Count = 1


class OwnRecipe(BaseModel, frozen=True, extra="forbid"):
    """Recipe that the study itself writes for one method.

    Attributes:
        recipe: values that differ from the matched recipe.
        kind: "own", or "published" for the recipe of the method's authors in a study that the
            command `show` wrote out.
        source: text that names the source of the recipe, such as a publication.
        hold_out: fraction of the noisy labels held out in the method's confirm runs.
        selection: rule for the epoch whose accuracy is reported.
        stages: complete recipes of the method's stages (training runs that precede its own run), by
            role; a stage that is not named is trained with `recipe`.
    """

    recipe: RecipeField = PartialRecipe()
    kind: Literal["published", "own"] = "own"
    source: str = "the study"
    hold_out: Annotated[float, Field(ge=0, lt=1)] = 0.0
    selection: EpochSelection = EpochSelection.LAST
    stages: Mapping[str, RecipeField] = {}


RecipeChoiceField = Annotated[
    Annotated[RecipeChoice, Tag("choice")] | Annotated[OwnRecipe, Tag("own")],
    Discriminator(lambda value: "own" if isinstance(value, dict | OwnRecipe) else "choice"),
]
RECIPE_UNION_TAGS = ("choice", "own")
"""Tags of `RecipeChoiceField`, which pydantic inserts into the paths of its errors.

They are not keys of a study.
"""


class Override(BaseModel, frozen=True, extra="forbid"):
    """Values of a study that apply only to some of its scenarios.

    Attributes:
        scenario: name of a scenario, or a glob pattern of names such as asymmetric-*.
        recipe: values that differ from the study's recipe.
        hyperparameters: fixed values by method, which take precedence over the study's.
        recipes: recipes by method, which take precedence over the study's.
        source: text that names the source of all these values; "" if the study states none.
    """

    scenario: str
    recipe: RecipeField = PartialRecipe()
    hyperparameters: OverrideFixedValuesField = {}
    recipes: Mapping[str, RecipeChoiceField] = {}
    source: str = ""

    def applies_to(self, scenario: str) -> bool:
        """Return whether the name of a scenario matches the override."""
        return fnmatchcase(scenario, self.scenario)


class Posterior(BaseModel, frozen=True, extra="forbid"):
    """Network trained on clean labels, from whose class probabilities PMD noise is drawn.

    Attributes:
        backbone: architecture of the network; None for the backbone of the study.
        recipe: values that differ from the study's recipe; None if no value differs.
        seed: seed of all random draws (axes) of its training run. One network serves all seeds of
            the study.
    """

    backbone: ArchitectureField | None = None
    recipe: RecipeField | None = None
    seed: Seed = 0


class Diagnostics(BaseModel, frozen=True, extra="forbid"):
    """How often runs collect diagnostics (logits, attention weights, gradients) in training.

    Attributes:
        every: number of epochs between collections; None for about 20 collections in a run, 0 for
            no diagnostics. The value neither changes the result of a run nor is part of its
            identity.
    """

    every: Annotated[int, Field(ge=0)] | None = None


class SearchSettings(BaseModel, frozen=True, extra="forbid"):
    """Settings of the hyperparameter search.

    Attributes:
        scenario: scenario that is searched if `scope` is "study"; None for the first one of the
            study.
        scope: "study" for one search on one scenario, whose result is used on all scenarios (the
            NAL paper has one λ per dataset); "scenario" for a search on each scenario.
        trials: total number of trials of each search, including trials of earlier sweeps of the
            study; the same for every method.
        seeds: seeds of all random draws (axes) of the search's runs. Each trial is trained on all
            of them, and its objective is the mean. The first one is also the seed of the sampler.
        hold_out: fraction of the training samples that runs of search and select hold out; the
            accuracy on their noisy labels chooses the hyperparameters.
        protocol: epochs whose mean held-out accuracy search and select compare: "held-out-mean" for
            the last `recipe.window` epochs, "held-out-cycle-ends" for the last epochs at which a
            cycle of the learning rate ends. With None, it is cycle ends if the learning rate of the
            matched recipe restarts, otherwise the last epochs.
        cycles: number of cycle ends that "held-out-cycle-ends" averages.
        space: search spaces by method and hyperparameter, each an interval or a list of choices; a
            method that is not named has the search space that its class declares.
        sampler: rule that proposes the values of a trial.
        grid: values to combine, by method and hyperparameter, for the sampler "grid"; a number
            stands for as many values at equal distances.
        lag: number of trials that may run at a time. Trial n is proposed when the trials up to
            n - lag have ended, from their results.
        scheduler: rule that stops trials early; "none" trains every trial whole.
    """

    scenario: str | None = None
    scope: Literal["study", "scenario"] = "study"
    trials: Annotated[int, Field(ge=1, le=10_000)] = 30
    seeds: SeedList = (1000,)
    hold_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    protocol: ProtocolKey | None = field_added_later(None)
    cycles: Count = field_added_later(DEFAULT_CYCLE_COUNT)
    space: SpacesField = {}
    sampler: SamplerName = field_added_later("tpe")
    grid: Mapping[str, Mapping[str, GridAxisField]] = field_added_later({})
    lag: Annotated[int, Field(ge=1, le=10_000)] = field_added_later(4)
    scheduler: SchedulerField = field_added_later(Scheduler())


class SelectSettings(BaseModel, frozen=True, extra="forbid"):
    """Settings of the select phase, which compares the candidates on new seeds.

    The candidates are the best trials of the search and the reference (the paper's values).

    Attributes:
        candidates: number of the search's best trials that become candidates.
        seeds: seeds of the select phase; every candidate is trained with each of them.
    """

    candidates: Count = 3
    seeds: SeedList = (2000, 2001, 2002)


class CrossSettings(BaseModel, frozen=True, extra="forbid"):
    """Additional runs that show where the variation between seeds comes from.

    They have every combination of the seeds of some random axes, while all other axes are fixed.

    Attributes:
        axes: random axes to cross, such as noise, init and order.
        seeds: seeds of each of these axes; the first one is that of all other axes.
    """

    axes: Annotated[tuple[str, ...], Field(min_length=2)]
    seeds: Annotated[tuple[Seed, ...], Field(min_length=2, max_length=MAX_SEED_COUNT)] = (0, 1, 2)


class ConfirmSettings(BaseModel, frozen=True, extra="forbid"):
    """Settings of the confirm phase, whose runs the tables show.

    Attributes:
        seeds: seeds of the confirm phase; every combination of method, scenario and values is
            trained with each of them.
        hold_out: whether runs hold out the fraction `search.hold_out` of the noisy labels. Tables
            then also show the accuracy at the epoch that noisy validation would have chosen.
            Otherwise runs train on all labels.
        cross: additional runs of every table entry with all combinations of the seeds of some
            random axes; None for no such runs.
    """

    seeds: SeedList = (0, 1, 2)
    hold_out: bool = False
    cross: CrossSettings | None = field_added_later(None)


Shrinkable: TypeAlias = Literal["trials", "seeds", "epochs", "subset"]
"""Size of a sweep that `--fit` may shrink, by the name of its flag."""


class BudgetSettings(BaseModel, frozen=True, extra="forbid"):
    """Time budget of a sweep, and what is shrunk to make a sweep fit into a time.

    Attributes:
        hours: time that all starts of a sweep may take together, in hours; None for no limit.
            Trials and seeds that do not fit are left out.
        shrink: sizes that `--fit` may shrink, the first to be shrunk first.
    """

    hours: Annotated[float, Field(gt=0, le=MAX_BUDGET_HOURS)] | None = None
    shrink: tuple[Shrinkable, ...] = ("trials", "seeds", "epochs", "subset")


class Study(BaseModel, frozen=True, extra="forbid"):
    """Content of a study file, as validated against the schema.

    Two studies are equal only if they are the same object; to compare their content, compare the
    results of `export_study`.

    Attributes:
        title: heading of the study's tables.
        dataset: name of the dataset.
        backbone: network architecture of all methods.
        scenarios: names of the settings of label noise, such as "symmetric-0.4".
        recipe: recipe of all methods that have none of their own; see `resolve.matched_recipe`.
        methods: methods to compare, in the order of the table's rows.
        tune: methods whose hyperparameters are searched, all with the same budget; the others run
            with fixed values.
        hyperparameters: fixed values by method. Hyperparameters without a fixed value have the
            published value for the scenario, or else the method's default.
        reference: the paper's values of the searched hyperparameters, by method. They are the first
            trial of the method's search, a candidate in select and a row of the confirm table. A
            method that is not tuned runs with these values.
        vary: values to compare in confirm, by method and hyperparameter. One hyperparameter is
            varied at a time, while the others keep their fixed or reference values.
        recipes: recipes of the methods that are not trained with the matched recipe, by method.
        overrides: values that apply only to some scenarios; later entries take precedence.
        search: settings of the search.
        select: settings of the select phase.
        confirm: settings of the confirm phase.
        fixed_seeds: constant seeds by random axis (noise, split, init, ...); all other axes have
            the seed of the run.
        subset: number of training samples used; None for all.
        balanced: whether the subset has equally many samples of each class, by the labels that
            come with the dataset.
        test_subset: number of test samples evaluated in the confirm phase, equally many of every
            class; None for all. All runs evaluate the same samples.
        unreadable: treatment of pictures that cannot be decoded: "fail" ends the run and names
            the file, "skip" leaves the sample out and counts it in the record.
        posterior: network from whose class probabilities PMD noise is drawn.
        resources: computing resources of one run.
        diagnostics: how often runs collect diagnostics.
        budget: time budget of the sweep.
        keep: checkpoints that stay when the sweep has finished: "all", or those of the runs in the
            "table". A checkpoint that another run or sweep uses always stays.
        deviations: differences between the study and the paper or its public code, printed under
            the tables where their conditions hold; see `deviations.applicable_deviations`.
    """

    title: Annotated[str, Field(min_length=1)]
    dataset: str
    backbone: ArchitectureField
    scenarios: NameList
    recipe: RecipeField
    methods: NameList
    tune: tuple[str, ...] = ()
    hyperparameters: FixedValuesField = {}
    reference: ReferenceField = {}
    vary: Mapping[str, Mapping[str, tuple[float, ...]]] = {}
    recipes: Mapping[str, RecipeChoiceField] = {}
    overrides: tuple[Override, ...] = ()
    search: SearchSettings = SearchSettings()
    select: SelectSettings = SelectSettings()
    confirm: ConfirmSettings = ConfirmSettings()
    fixed_seeds: Mapping[str, Seed] = {"subset": 0}
    subset: Count | None = None
    balanced: bool = False
    test_subset: Count | None = field_added_later(None)
    unreadable: UnreadablePolicy = "fail"
    posterior: Posterior = Posterior()
    resources: Resources = Resources()
    diagnostics: Diagnostics = Diagnostics()
    budget: BudgetSettings = field_added_later(BudgetSettings())
    keep: Literal["all", "table"] = "all"
    deviations: tuple[DeviationField, ...] = ()

    _training_length: TrainingLength | None = PrivateAttr(default=None)
    _scaled_spaces: Mapping[str, Mapping[str, AnySpace]] = PrivateAttr(default={})

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    @property
    def training_length(self) -> TrainingLength | None:
        """The length of training that a flag requests; None for the study's own length."""
        return self._training_length

    def with_training_length(self, training_length: TrainingLength | None) -> Study:
        """Return a copy of the study with another length of training.

        The copy has the same values, which `resolve` scales to the new length.
        """
        study = self.model_copy()
        study._training_length = training_length  # noqa: SLF001 - an instance of this class
        study._scaled_spaces = {}  # noqa: SLF001
        return study

    def with_scaled_spaces(self, spaces: Mapping[str, Mapping[str, AnySpace]]) -> Study:
        """Return a copy of the study with search spaces that are scaled to its training length.

        Args:
            spaces: search spaces by method and hyperparameter, from `resolve.scale_spaces`.
        """
        study = self.model_copy()
        study._scaled_spaces = spaces  # noqa: SLF001 - an instance of this class
        return study

    def space_of(self, method: str) -> dict[str, AnySpace]:
        """Return the search space of a method by hyperparameter: the study's, or else the method's.

        Raises:
            FieldError: if the method is unknown.
        """
        if method in self._scaled_spaces:
            return dict(self._scaled_spaces[method])
        if method in self.search.space:
            return dict(self.search.space[method])
        fixed_values = self.hyperparameters.get(method, FixedValues()).values
        method_class = method_of(method)
        declared_space: dict[str, AnySpace] = {
            parameter.name: parameter.space
            for parameter in method_class.parameters
            if parameter.space and parameter.name not in fixed_values
        }
        return {**declared_space, **method_class.recipe_space}

    def searched_or_reference_names(self, method: str) -> set[str]:
        """Return the names of a method's hyperparameters that are searched or in the reference.

        Hyperparameters that are searched under conditions have another value where these are not
        met, and are not included.
        """
        spaces = self.space_of(method) if method in self.tune else {}
        searched_names = [name for name, space in spaces.items() if space.when is None]
        return {*self.reference.get(method, ()), *searched_names}

    def overrides_for(self, scenario: str) -> list[tuple[int, Override]]:
        """Return the overrides for a scenario with their positions in the study, last one first."""
        matches = [
            (position, override)
            for position, override in enumerate(self.overrides)
            if override.applies_to(scenario)
        ]
        return matches[::-1]

    @property
    def search_scenarios(self) -> dict[str, tuple[str, ...]]:
        """The scenarios that use the result of a search, by the scenario that is searched."""
        if not self.tune:
            return {}
        if self.search.scope == "scenario":
            return {scenario: (scenario,) for scenario in self.scenarios}
        return {self.search.scenario or self.scenarios[0]: self.scenarios}

    def axis_seeds(self, base_seed: int) -> Seeds:
        """Return the seeds of a run with a base seed, by random axis (noise, split, init, ...)."""
        return Seeds.from_base_seed(base_seed, **self.fixed_seeds)

    @property
    def crossed_seeds(self) -> list[Seeds]:
        """The seeds of the runs of `confirm.cross`; those of the last axis vary fastest."""
        cross = self.confirm.cross
        if cross is None:
            return []
        return [
            Seeds.from_base_seed(
                cross.seeds[0],
                **{**self.fixed_seeds, **dict(zip(cross.axes, combination, strict=True))},
            )
            for combination in product(cross.seeds, repeat=len(cross.axes))
        ]
