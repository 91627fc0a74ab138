"""The schema of a study: every key, its type and its range.

`Study` is what the rest of the project sees. What ties keys together is in `checks`; faults come
out of `reading.read_study` as one line each.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from search_spaces.checks import check_study
from search_spaces.fields import ArchitectureField, MethodValues, listed
from trainables.methods import method_of
from trainables.parameters import FrozenMap, Space, Value, complete
from trainables.seeds import Seeds
from trainables.spec import Recipe


class Phase(StrEnum):
    """What a run is for. The phases' seeds are disjoint; only confirm evaluates the test split."""

    SEARCH = "search"
    SELECT = "select"
    CONFIRM = "confirm"


Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
SeedList = Annotated[tuple[Seed, ...], Field(min_length=1)]
NameList: TypeAlias = Annotated[tuple[str, ...], Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Search(_Part):
    """The search for hyperparameters.

    Attributes:
        methods: whose hyperparameters are searched; the others run with fixed ones.
        scenario: searched where `scope` is "study"; None: the first of the study.
        scope: "study": one search on one scenario serves all, as the paper has one λ per dataset;
            "scenario": each scenario has its own.
        trials: runs of each search, a target and not an increment.
        seed: of all axes of its runs.
        hold_out: fraction of the noisy labels held out to choose by, in search and select.
        space: where to look, by method and parameter; a method that is not named here is searched
            in the space it declares itself.
    """

    methods: tuple[str, ...] = ()
    scenario: str | None = None
    scope: Literal["study", "scenario"] = "study"
    trials: Count = 30
    seed: Seed = 1000
    hold_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    space: Mapping[str, Mapping[str, Space]] = {}


class Select(_Part):
    """The choice among the search's best and the reference, on fresh seeds.

    Attributes:
        candidates: how many of the search's best take part.
        seeds: each candidate is trained with each.
    """

    candidates: Count = 3
    seeds: SeedList = (2000, 2001, 2002)


class Confirm(_Part):
    """What tables show: chosen values, reference and fixed methods, on fresh seeds.

    Attributes:
        seeds: each cell is trained with each.
        hold_out: whether runs keep `search.hold_out` held out (then tables also show the epoch
            that noisy validation would have chosen) or train on all noisy labels.
    """

    seeds: SeedList = (0, 1, 2)
    hold_out: bool = False


class Resources(_Part):
    """What one training is given.

    Attributes:
        cpus: its CPU threads; part of a run's identity, since sums depend on it.
        gpus: GPUs where the cluster has any: 0 trains on the CPU, a fraction shares a GPU.
    """

    cpus: Count = 1
    gpus: Annotated[float, Field(ge=0, le=1)] = 1.0


class Study(_Part):
    """What is to be found out.

    Attributes:
        title: as tables are headed.
        dataset: name of the dataset.
        backbone: the architecture.
        scenarios: label noise settings, by name.
        recipe: how networks are optimised, whatever the method.
        methods: those that are compared, in the order of the table's rows.
        hyperparameters: fixed values by method; what is not said has the method's default.
        reference: the paper's point by method: first trial of its search, candidate of select,
            cell of confirm. A method that is not searched runs with it.
        search: see `Search`.
        select: see `Select`.
        confirm: see `Confirm`.
        fixed_seeds: axes that keep one seed while the others vary.
        subset: number of training samples used; None: all.
        resources: see `Resources`.
        deviations: where the study departs from the paper; printed under its tables.
    """

    title: Annotated[str, Field(min_length=1)]
    dataset: str
    backbone: ArchitectureField
    scenarios: NameList
    recipe: Recipe
    methods: NameList
    hyperparameters: MethodValues = {}
    reference: MethodValues = {}
    search: Search = Search()
    select: Select = Select()
    confirm: Confirm = Confirm()
    fixed_seeds: Mapping[str, Seed] = {"subset": 0}
    subset: Count | None = None
    resources: Resources = Resources()
    deviations: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_study(self)
        return self

    def space_of(self, method: str) -> dict[str, Space]:
        """Return where a method is searched: the study's space, else what the method declares.

        Raises:
            FieldError: an unknown method.
        """
        if method in self.search.space:
            return dict(self.search.space[method])
        fixed = self.hyperparameters.get(method, FrozenMap())
        return {
            p.name: p.space
            for p in method_of(method).parameters
            if p.space is not None and p.name not in fixed
        }

    def reference_of(self, method: str) -> FrozenMap | None:
        """Return the paper's point of a method; None if the study has none."""
        return self.reference.get(method)

    def hyperparameters_of(self, method: str, /, **tuned: Value) -> FrozenMap:
        """Return all values of a method: `tuned`, else reference, else fixed, else defaults.

        Raises:
            FieldError: an unknown method or parameter, or a value that is not allowed.
        """
        fixed = self.hyperparameters.get(method, FrozenMap())
        reference = self.reference.get(method, FrozenMap())
        given = {**fixed, **reference, **tuned}
        return complete(f"method {method}", method_of(method).parameters, given)

    @property
    def searched(self) -> dict[str, tuple[str, ...]]:
        """The scenarios that are searched, each with those that its result serves."""
        if not self.search.methods:
            return {}
        if self.search.scope == "scenario":
            return {scenario: (scenario,) for scenario in self.scenarios}
        return {self.search.scenario or self.scenarios[0]: self.scenarios}

    def fraction_held_out(self, phase: Phase) -> float:
        """Return which fraction of the noisy training labels the runs of a phase hold out."""
        keeps = phase != "confirm" or self.confirm.hold_out
        return self.search.hold_out if keeps else 0.0

    def evaluates(self, phase: Phase) -> tuple[str, ...]:
        """Return the splits that the runs of a phase evaluate: "test" in confirm alone."""
        held_out = ("val",) if self.fraction_held_out(phase) else ()
        return (*held_out, "test") if phase == "confirm" else held_out

    def seeds(self, seed: int) -> Seeds:
        """Return the seeds of all axes of a run with this base seed."""
        return Seeds.same(seed, **self.fixed_seeds)

    def to_plain(self) -> dict[str, Any]:
        """Return the study as YAML values with every default written out."""
        plain = self.model_dump(mode="json")
        searched = self.search.methods
        spaces = {name: self.space_of(name) for name in [*searched, *self.search.space]}
        plain["search"]["space"] = {
            method: {
                name: {"low": space.low, "high": space.high, "log": space.log}
                for name, space in spaces[method].items()
            }
            for method in spaces
        }
        if searched:
            plain["search"]["scenario"] = self.search.scenario or self.scenarios[0]
        fixed = {}
        for method in dict.fromkeys([*self.methods, *self.hyperparameters]):
            free = {*self.reference.get(method, ()), *spaces.get(method, ())}
            values = listed(self.hyperparameters_of(method))
            fixed[method] = {name: value for name, value in values.items() if name not in free}
        plain["hyperparameters"] = {method: values for method, values in fixed.items() if values}
        return plain
