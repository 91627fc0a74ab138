"""Asymmetric label noise: a class is taken for one that is similar, or is said to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from trainables.errors import FieldError
from trainables.noise.base import Given, Labels, Rated, percent
from trainables.noise.maps import block_map, cifar10_map, superclass_map
from trainables.seeds import uniform

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainables.datasets.base import Source

MAPS: dict[str, Callable[[], Labels]] = {"cifar10": cifar10_map, "cifar100": block_map}
SUPERCLASS_MAPS: dict[str, Callable[[], Labels]] = {"cifar100": superclass_map}
"""By the dataset whose images and true labels they are."""


def flips_of(dataset: str, *, superclass: bool) -> Labels:
    """Return the class that each class of a dataset is turned into.

    Raises:
        FieldError: no such map is known for the dataset.
    """
    maps = SUPERCLASS_MAPS if superclass else MAPS
    family = dataset.removesuffix("n")
    if family not in maps:
        known = " and ".join(maps)
        word = "superclasses" if superclass else "classes that are taken for each other"
        raise FieldError(
            "scenario", f"{word} are known for {known} alone, not for '{dataset}': use symmetric"
        )
    return maps[family]()


@dataclass(frozen=True, slots=True)
class Asymmetric(Rated):
    """In each class that has a similar one, a fraction of the labels is turned into that one.

    On CIFAR-10 five classes are affected, so that the true rate is half the nominal one. On
    CIFAR-100 all are: by default to the next id in a block of five, as in the public code and
    nearly all the literature, although such neighbours are alphabetical and not similar;
    `asymmetric-superclass-R` goes to the next class of the true superclass.

    Attributes:
        rate: fraction of an affected class's samples.
        superclass: whether it stays in the true superclass.
        each: whether each sample of an affected class is turned with that probability, or
            exactly round(rate × n_c) of its n_c samples.
    """

    superclass: bool = False
    each: bool = False

    variants: ClassVar[dict[str, tuple[bool, ...]]] = {
        f"asymmetric{superclass}{each}": (bool(superclass), bool(each))
        for superclass in ("", "-superclass")
        for each in ("", "-each")
    }
    forms: ClassVar[tuple[str, ...]] = (
        "asymmetric-RATE",
        "asymmetric-superclass-RATE",
        "asymmetric-each-RATE",
        "asymmetric-superclass-each-RATE",
    )

    @property
    def title(self) -> str:
        """The setting as tables head a column with it."""
        return (
            f"asymmetric {percent(self.rate)}"
            + (" in superclass" if self.superclass else "")
            + (", each label by chance" if self.each else "")
        )

    def check(self, source: Source) -> None:
        """Refuse datasets without a map."""
        flips_of(source.name, superclass=self.superclass)

    def apply(self, given: Given, seed: int) -> Labels:
        """Turn the samples of each affected class that have the smallest draws."""
        target = flips_of(given.dataset, superclass=self.superclass)
        which = uniform(given.reach, "noise", seed, "which")[given.index]
        true, noisy = given.true, given.true
        for source in np.flatnonzero(target != np.arange(len(target))):
            members = np.flatnonzero(true == source)
            if self.each:
                chosen = members[which[members] < self.rate]
            else:
                order = members[np.argsort(which[members], kind="stable")]
                chosen = order[: round(self.rate * len(members))]
            noisy[chosen] = target[source]
        return noisy
