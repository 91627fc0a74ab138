"""What is published of a method beside its formula: values, recipes, and the runs it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trainables.run.parameters import Value
    from trainables.run.recipe import Recipe


class Selection(StrEnum):
    """Which epoch's network a number is taken from."""

    LAST = "last epoch"
    NOISY = "epoch chosen by noisy validation"
    CLEAN = "epoch chosen by clean validation"
    TEST = "epoch chosen by test accuracy"
    """Published by some, and refused: the test split is never looked at while choosing."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Published values of some of a method's hyperparameters.

    Attributes:
        dataset: pattern of the datasets' names: "cifar10", "cifar*", "*".
        noise: pattern of the scenarios' names: "symmetric*-0.2", "asymmetric-*", "*".
        values: by hyperparameter.
        source: where they are published.
    """

    dataset: str
    noise: str
    values: Mapping[str, Value]
    source: str


@dataclass(frozen=True, slots=True)
class Published:
    """The recipe under which a method's own authors trained it.

    Attributes:
        dataset: pattern of the datasets' names.
        noise: pattern of the scenarios' names.
        recipe: in full; what it leaves open (mean and std, None) is as in the study.
        hold_out: fraction of the training labels that it holds out.
        selection: which epoch its numbers are from.
        source: where it is published, and what had to be inferred.
    """

    dataset: str
    noise: str
    recipe: Recipe
    source: str
    hold_out: float = 0.0
    selection: Selection = Selection.LAST


@dataclass(frozen=True, slots=True)
class Stage:
    """A run that a method's own run needs, at the same seeds and on the same data.

    Attributes:
        role: what its outcome is to the method: key of `RunSpec.needs` and of `Context.inputs`.
        method: name of the method that it trains.
        outcome: which of that method's outcomes is taken.
        passes: hyperparameters that are handed on to it under the same names.
    """

    role: str
    method: str
    outcome: str
    passes: tuple[str, ...] = ()


Entry = TypeVar("Entry", Setting, Published)


def matching(entries: Iterable[Entry], dataset: str, scenario: str) -> Entry | None:
    """Return the first entry for a dataset and a scenario; None if there is none."""
    for entry in entries:
        if fnmatchcase(dataset, entry.dataset) and fnmatchcase(scenario, entry.noise):
            return entry
    return None
