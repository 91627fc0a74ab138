"""The schema of a study as it is written: every key, its type and its range.

What its methods are trained with follows from it in `resolve`; what ties keys together is in
`checks`; faults come out of `reading.read_study` as one line each.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, Discriminator, Field, PrivateAttr, Tag

from search_spaces.fields import (
    ArchitectureField,
    Fixed,
    FixedField,
    OverrideFixedField,
    ReferenceField,
)
from search_spaces.length import Length
from search_spaces.partial_recipe import PartialRecipe, RecipeField
from trainables.methods import method_of
from trainables.methods.published import Selection
from trainables.run.parameters import Space
from trainables.run.seeds import Seeds
from trainables.run.spec import Unreadable

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
SeedList = Annotated[tuple[Seed, ...], Field(min_length=1)]
NameList: TypeAlias = Annotated[tuple[str, ...], Field(min_length=1)]

Word: TypeAlias = Literal["matched", "published"]
"""How a method is trained, where the study does not write a recipe for it."""


class Phase(StrEnum):
    """What a run is for. The phases' seeds are disjoint; only confirm evaluates the test split."""

    SEARCH = "search"
    SELECT = "select"
    CONFIRM = "confirm"


class Resources(BaseModel, frozen=True, extra="forbid"):
    """What one training is given.

    Attributes:
        cpus: its CPU threads; part of a run's identity, since sums depend on it.
        gpus: GPUs where the cluster has any: 0 trains on the CPU, a fraction shares a GPU.
    """

    cpus: Count = 1
    gpus: Annotated[float, Field(ge=0, le=1)] = 1.0


class OwnRecipe(BaseModel, frozen=True, extra="forbid"):
    """How a method is trained, written by the study itself.

    Attributes:
        recipe: what differs from that of the other methods.
        kind: "published" in a study that was written out, where its authors' recipe is.
        source: where it comes from.
        hold_out: fraction of the noisy labels that its confirm runs hold out.
        selection: which epoch the number that it reports is from.
        stages: recipes in full of the runs that it needs, by role; those not named are trained
            likewise.
    """

    recipe: RecipeField = PartialRecipe()
    kind: Literal["published", "own"] = "own"
    source: str = "the study"
    hold_out: Annotated[float, Field(ge=0, lt=1)] = 0.0
    selection: Selection = Selection.LAST
    stages: Mapping[str, RecipeField] = {}


TrainingField = Annotated[
    Annotated[Word, Tag("word")] | Annotated[OwnRecipe, Tag("own")],
    Discriminator(lambda value: "own" if isinstance(value, dict | OwnRecipe) else "word"),
]
TAGS = ("word", "own")
"""What paths of pydantic's errors have in them, and a study has not."""


class Override(BaseModel, frozen=True, extra="forbid"):
    """What is different on some scenarios.

    Attributes:
        scenario: name, or pattern of names such as asymmetric-*.
        recipe: what differs from the study's.
        hyperparameters: fixed values by method, over those of the study.
        recipes: by method, over those of the study.
        source: where all of it comes from; "" if that is not written.
    """

    scenario: str
    recipe: RecipeField = PartialRecipe()
    hyperparameters: OverrideFixedField = {}
    recipes: Mapping[str, TrainingField] = {}
    source: str = ""

    def applies_to(self, scenario: str) -> bool:
        """Tell whether it is about a scenario."""
        return fnmatchcase(scenario, self.scenario)


class Posterior(BaseModel, frozen=True, extra="forbid"):
    """The network on clean labels whose class probabilities PMD noise is drawn from.

    Attributes:
        backbone: its architecture; None: the study's.
        recipe: what differs from the study's; None: nothing.
        seed: of all its axes: one network serves all seeds of the study.
    """

    backbone: ArchitectureField | None = None
    recipe: RecipeField | None = None
    seed: Seed = 0


class Diagnostics(BaseModel, frozen=True, extra="forbid"):
    """What runs tell of their training.

    Attributes:
        every: epochs between collections; None: about 20 in a run; 0: none. It changes no bit of a
            run and is no part of its identity.
    """

    every: Annotated[int, Field(ge=0)] | None = None


class SearchSettings(BaseModel, frozen=True, extra="forbid"):
    """The search for hyperparameters.

    Attributes:
        scenario: searched where `scope` is "study"; None: the first of the study.
        scope: "study": one search on one scenario serves all, as the paper has one λ per dataset;
            "scenario": each scenario has its own.
        trials: runs of each search, a target and not an increment; the same for every method.
        seed: of all axes of its runs.
        hold_out: fraction of the noisy labels held out to choose by, in search and select.
        space: where to look, by method and parameter; a method that is not named here is searched
            in the space it declares itself.
    """

    scenario: str | None = None
    scope: Literal["study", "scenario"] = "study"
    trials: Count = 30
    seed: Seed = 1000
    hold_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    space: Mapping[str, Mapping[str, Space]] = {}


class SelectSettings(BaseModel, frozen=True, extra="forbid"):
    """The choice among the search's best and the reference, on fresh seeds.

    Attributes:
        candidates: how many of the search's best take part.
        seeds: each candidate is trained with each.
    """

    candidates: Count = 3
    seeds: SeedList = (2000, 2001, 2002)


class ConfirmSettings(BaseModel, frozen=True, extra="forbid"):
    """What tables show: chosen values, reference and fixed methods, on fresh seeds.

    Attributes:
        seeds: each cell is trained with each.
        hold_out: whether runs keep `search.hold_out` held out (then tables also show the epoch
            that noisy validation would have chosen) or train on all noisy labels.
    """

    seeds: SeedList = (0, 1, 2)
    hold_out: bool = False


class Study(BaseModel, frozen=True, extra="forbid"):
    """What is to be found out, as it is written.

    Two studies are equal only if they are the same object; compare what they are written out as.

    Attributes:
        title: as tables are headed.
        dataset: name of the dataset.
        backbone: the architecture.
        scenarios: label noise settings, by name.
        recipe: how networks are optimised, whatever the method; see `resolve.matched_recipe`.
        methods: those that are compared, in the order of the table's rows.
        tune: those whose hyperparameters are searched, all with the same budget; the others run
            with fixed ones.
        hyperparameters: fixed values by method; what is not said has the published value for the
            scenario, or the method's default.
        reference: the paper's point by method: first trial of its search, candidate of select,
            cell of confirm. A method that is not searched runs with it.
        vary: values by method and hyperparameter, one varied at a time while the others are as
            fixed or as in the reference: each is a cell of confirm.
        recipes: by method, where one is not trained as the others are.
        overrides: what is different on some scenarios; later entries go over earlier ones.
        search: see `SearchSettings`.
        select: see `SelectSettings`.
        confirm: see `ConfirmSettings`.
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
    recipe: RecipeField
    methods: NameList
    tune: tuple[str, ...] = ()
    hyperparameters: FixedField = {}
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

    _length: Length | None = PrivateAttr(default=None)

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    @property
    def length(self) -> Length | None:
        """The length of training that was asked for; None: as written."""
        return self._length

    def with_length(self, length: Length | None) -> Study:
        """Return the study with another length of training; see `resolve`."""
        study = self.model_copy()
        study._length = length  # noqa: SLF001 - its own
        return study

    def space_of(self, method: str) -> dict[str, Space]:
        """Return where a method is searched: the study's space, else what the method declares.

        Raises:
            FieldError: an unknown method.
        """
        if method in self.search.space:
            return dict(self.search.space[method])
        fixed = self.hyperparameters.get(method, Fixed()).values
        kind = method_of(method)
        declared = {p.name: p.space for p in kind.parameters if p.space and p.name not in fixed}
        return {**declared, **kind.recipe_space}

    def free_names(self, method: str) -> set[str]:
        """Return what of a method is searched or in the reference, and so is not fixed."""
        searched = self.space_of(method) if method in self.tune else ()
        return {*self.reference.get(method, ()), *searched}

    def overrides_on(self, scenario: str) -> list[tuple[int, Override]]:
        """Return what is different on a scenario, with positions, the last entry first."""
        return [(n, one) for n, one in enumerate(self.overrides) if one.applies_to(scenario)][::-1]

    @property
    def searched(self) -> dict[str, tuple[str, ...]]:
        """The scenarios that are searched, each with those that its result serves."""
        if not self.tune:
            return {}
        if self.search.scope == "scenario":
            return {scenario: (scenario,) for scenario in self.scenarios}
        return {self.search.scenario or self.scenarios[0]: self.scenarios}

    def seeds(self, seed: int) -> Seeds:
        """Return the seeds of all axes of a run with this base seed."""
        return Seeds.same(seed, **self.fixed_seeds)
