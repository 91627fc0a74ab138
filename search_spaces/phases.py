"""The phases of a study, and what it says of each."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from trainables.run.parameters import Space

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
SeedList = Annotated[tuple[Seed, ...], Field(min_length=1)]


class Phase(StrEnum):
    """What a run is for. The phases' seeds are disjoint; only confirm evaluates the test split."""

    SEARCH = "search"
    SELECT = "select"
    CONFIRM = "confirm"


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
