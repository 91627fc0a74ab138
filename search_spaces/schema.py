"""The schema of a study file: every key, its type and its range.

Neighbouring modules: `validation.read_study` turns violations of the schema into one-line errors,
`checks` holds the rules that involve several keys, and `resolve` derives what each method is
trained with.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, Discriminator, Field, PrivateAttr, Tag

from search_spaces.fields import (
    ArchitectureField,
    FixedValues,
    FixedValuesField,
    OverrideFixedValuesField,
    ReferenceField,
    added_key,
)
from search_spaces.partial_recipe import PartialRecipe, RecipeField
from search_spaces.scaling import TrainingLength
from trainables.methods import method_of
from trainables.methods.published import Selection
from trainables.run.parameters import Space
from trainables.run.protocols import DEFAULT_CYCLES, ProtocolKey
from trainables.run.seeds import Seeds
from trainables.run.spec import Unreadable

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
SeedList = Annotated[tuple[Seed, ...], Field(min_length=1)]
NameList: TypeAlias = Annotated[tuple[str, ...], Field(min_length=1)]

RecipeChoice: TypeAlias = Literal["matched", "published"]
"""Choice between the study's recipe ("matched") and the one of a method's authors ("published")."""


class Phase(StrEnum):
    """Phase of a sweep in which a run is trained.

    The seeds of the phases are disjoint; only confirm evaluates the test split.
    """

    SEARCH = "search"
    SELECT = "select"
    CONFIRM = "confirm"


class Resources(BaseModel, frozen=True, extra="forbid"):
    """Computing resources of one training.

    Attributes:
        cpus: number of CPU threads; part of a run's identity, since the rounding of sums depends
            on it.
        gpus: number of GPUs on a machine that has any: 0 trains on the CPU, a fraction shares a
            GPU among several trainings.
    """

    cpus: Count = 1
    gpus: Annotated[float, Field(ge=0, le=1)] = 1.0


class OwnRecipe(BaseModel, frozen=True, extra="forbid"):
    """Recipe of one method, written by the study itself.

    Attributes:
        recipe: values that differ from the matched recipe.
        kind: "own"; "published" if the study was written by `show`, and the recipe is that of the
            method's authors.
        source: publication or other text that names where the recipe comes from.
        hold_out: fraction of the noisy labels held out in the method's confirm runs.
        selection: rule for the epoch whose accuracy is reported.
        stages: complete recipes by role of the method's stages (trainings that come before its
            own); a stage that is not named is trained with `recipe`.
    """

    recipe: RecipeField = PartialRecipe()
    kind: Literal["published", "own"] = "own"
    source: str = "the study"
    hold_out: Annotated[float, Field(ge=0, lt=1)] = 0.0
    selection: Selection = Selection.LAST
    stages: Mapping[str, RecipeField] = {}


TrainingField = Annotated[
    Annotated[RecipeChoice, Tag("choice")] | Annotated[OwnRecipe, Tag("own")],
    Discriminator(lambda value: "own" if isinstance(value, dict | OwnRecipe) else "choice"),
]
UNION_TAGS = ("choice", "own")
"""Tags of `TrainingField`: they appear in the paths of pydantic's errors, but are no study keys."""


class Override(BaseModel, frozen=True, extra="forbid"):
    """Values that apply to some scenarios only.

    Attributes:
        scenario: name of a scenario, or a pattern of names such as asymmetric-*.
        recipe: values that differ from the study's recipe.
        hyperparameters: fixed values by method, which take precedence over the study's.
        recipes: recipes by method, which take precedence over the study's.
        source: text that names where all these values come from; "" if it is not stated.
    """

    scenario: str
    recipe: RecipeField = PartialRecipe()
    hyperparameters: OverrideFixedValuesField = {}
    recipes: Mapping[str, TrainingField] = {}
    source: str = ""

    def applies_to(self, scenario: str) -> bool:
        """Return whether the override applies to a scenario."""
        return fnmatchcase(scenario, self.scenario)


class Posterior(BaseModel, frozen=True, extra="forbid"):
    """Network trained on clean labels; PMD noise is drawn from its class probabilities.

    Attributes:
        backbone: architecture of the network; None for the study's.
        recipe: values that differ from the study's recipe; None if there are none.
        seed: seed of every random axis of its training; one network serves all seeds of the study.
    """

    backbone: ArchitectureField | None = None
    recipe: RecipeField | None = None
    seed: Seed = 0


class Diagnostics(BaseModel, frozen=True, extra="forbid"):
    """Diagnostics that runs collect during training.

    Attributes:
        every: number of epochs between collections; None for about 20 collections in a run, 0 for
            none. The value does not change the result of a run and is not part of its identity.
    """

    every: Annotated[int, Field(ge=0)] | None = None


class SearchSettings(BaseModel, frozen=True, extra="forbid"):
    """Settings of the search for hyperparameters.

    Attributes:
        scenario: scenario that is searched if `scope` is "study"; None for the study's first.
        scope: "study" for one search on one scenario, whose result is used on all scenarios, since
            the NAL paper has one λ per dataset; "scenario" for a search on each scenario.
        trials: total number of trials of each search, including those of earlier calls; the same
            for every method.
        seed: seed of every random axis of the runs of the search.
        hold_out: fraction of the noisy labels that search and select hold out; the accuracy on
            them chooses the hyperparameters.
        protocol: accuracy that search and select compare: "held-out-mean" for the mean accuracy on
            held-out noisy labels over the last `recipe.window` epochs, "held-out-cycle-ends" for
            the mean over the last ends of the learning rate's cycles; None for cycle ends where the
            learning rate of the matched recipe restarts, and the mean elsewhere.
        cycles: number of last cycle ends whose accuracies "held-out-cycle-ends" averages.
        space: searched ranges by method and parameter; a method that is not named is searched in
            the space that it declares.
    """

    scenario: str | None = None
    scope: Literal["study", "scenario"] = "study"
    trials: Count = 30
    seed: Seed = 1000
    hold_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    protocol: ProtocolKey | None = added_key(None)
    cycles: Count = added_key(DEFAULT_CYCLES)
    space: Mapping[str, Mapping[str, Space]] = {}


class SelectSettings(BaseModel, frozen=True, extra="forbid"):
    """Settings of the select phase: the choice between candidates on fresh seeds.

    The candidates are the best trials of the search and the reference (the paper's values).

    Attributes:
        candidates: number of the search's best trials that become candidates.
        seeds: seeds of the select phase; every candidate is trained with each of them.
    """

    candidates: Count = 3
    seeds: SeedList = (2000, 2001, 2002)


class ConfirmSettings(BaseModel, frozen=True, extra="forbid"):
    """Settings of the confirm phase, whose runs the tables show.

    Attributes:
        seeds: seeds of the confirm phase; every combination of method, scenario and values is
            trained with each of them.
        hold_out: whether runs hold out the fraction `search.hold_out` of the noisy labels. Tables
            then also show the accuracy at the epoch that noisy validation would have chosen.
            Otherwise runs train on all labels.
    """

    seeds: SeedList = (0, 1, 2)
    hold_out: bool = False


class Study(BaseModel, frozen=True, extra="forbid"):
    """Content of a study file, before the recipe and values of each method are derived from it.

    Two studies are equal only if they are the same object; to compare their content, compare the
    results of `export_study`.

    Attributes:
        title: heading of the study's tables.
        dataset: name of the dataset.
        backbone: network architecture of all methods.
        scenarios: names of the label-noise settings.
        recipe: recipe of all methods that have none of their own; see `resolve.matched_recipe`.
        methods: methods to compare, in the order of the table's rows.
        tune: methods whose hyperparameters are searched, all with the same budget; the others run
            with fixed values.
        hyperparameters: fixed values by method; any other value is the published one for the
            scenario, or the method's default.
        reference: the paper's values of the searched hyperparameters by method: first trial of
            the method's search, a candidate of select and a cell of confirm. A method that is not
            tuned runs with them.
        vary: values by method and hyperparameter. One hyperparameter is varied at a time while
            the others keep their fixed or reference values; each value is a cell of confirm.
        recipes: recipes by method, for those not trained with the matched recipe.
        overrides: values that apply to some scenarios only; later entries take precedence.
        search: settings of the search.
        select: settings of the selection.
        confirm: settings of the confirmation.
        fixed_seeds: seed of each random axis that keeps one seed while the others vary.
        subset: number of training samples used; None for all.
        balanced: whether the subset has equally many samples of each class, by the labels that
            come with the dataset.
        unreadable: treatment of pictures that cannot be decoded: "fail" ends the run and names
            the file, "skip" leaves the sample out and counts it in the record.
        posterior: network from whose class probabilities PMD noise is drawn.
        resources: computing resources of one training.
        diagnostics: diagnostics that runs collect.
        deviations: differences between the study and the paper, printed under the tables.
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
    recipes: Mapping[str, TrainingField] = {}
    overrides: tuple[Override, ...] = ()
    search: SearchSettings = SearchSettings()
    select: SelectSettings = SelectSettings()
    confirm: ConfirmSettings = ConfirmSettings()
    fixed_seeds: Mapping[str, Seed] = {"subset": 0}
    subset: Count | None = None
    balanced: bool = False
    unreadable: Unreadable = "fail"
    posterior: Posterior = Posterior()
    resources: Resources = Resources()
    diagnostics: Diagnostics = Diagnostics()
    deviations: tuple[str, ...] = ()

    _length: TrainingLength | None = PrivateAttr(default=None)

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    @property
    def length(self) -> TrainingLength | None:
        """The requested length of training; None for the length that the study states."""
        return self._length

    def with_length(self, length: TrainingLength | None) -> Study:
        """Return a copy of the study with another length of training.

        The values of the study stay as they are; `resolve` scales them.
        """
        study = self.model_copy()
        study._length = length  # noqa: SLF001 - an instance of this class
        return study

    def space_of(self, method: str) -> dict[str, Space]:
        """Return the search space of a method.

        It is the space in the study if there is one, else the space that the method declares.

        Raises:
            FieldError: if the method is unknown.
        """
        if method in self.search.space:
            return dict(self.search.space[method])
        fixed = self.hyperparameters.get(method, FixedValues()).values
        kind = method_of(method)
        declared = {p.name: p.space for p in kind.parameters if p.space and p.name not in fixed}
        return {**declared, **kind.recipe_space}

    def unfixed_names(self, method: str) -> set[str]:
        """Return the names of a method's values that are searched or that the reference has."""
        space = self.space_of(method) if method in self.tune else ()
        return {*self.reference.get(method, ()), *space}

    def overrides_for(self, scenario: str) -> list[tuple[int, Override]]:
        """Return the overrides for a scenario with their positions, the last override first."""
        matches = [
            (position, override)
            for position, override in enumerate(self.overrides)
            if override.applies_to(scenario)
        ]
        return matches[::-1]

    @property
    def search_scenarios(self) -> dict[str, tuple[str, ...]]:
        """The scenarios that are searched, each with the scenarios that use its result."""
        if not self.tune:
            return {}
        if self.search.scope == "scenario":
            return {scenario: (scenario,) for scenario in self.scenarios}
        return {self.search.scenario or self.scenarios[0]: self.scenarios}

    def seeds(self, seed: int) -> Seeds:
        """Return the seed of each random axis of a run with a base seed."""
        return Seeds.same(seed, **self.fixed_seeds)
