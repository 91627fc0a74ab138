"""Asymmetric label noise: a class is taken for one that is similar, or is said to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from trainables.errors import FieldError
from trainables.noise.base import Labels, NoiseContext, Rated, percent
from trainables.run.seeds import uniform

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainables.datasets.base import Source

CIFAR10_FLIPS = {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}
"""truck to automobile, bird to airplane, cat and dog to each other, deer to horse; G. Patrini et
al., Making Deep Neural Networks Robust to Label Noise, CVPR 2017."""

BLOCK = 5
"""Fine classes in one superclass of CIFAR-100."""

# fmt: off
CIFAR100_SUPERCLASS = (
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7,
    6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10,
    16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16,
    12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
)
"""Superclass of each fine class of CIFAR-100, as its files have it."""
# fmt: on


def cifar10_map() -> Labels:
    """Return the class that each class of CIFAR-10 is turned into, itself where it is kept."""
    target = np.arange(10)
    for source, wrong in CIFAR10_FLIPS.items():
        target[source] = wrong
    return target


def block_map(classes: int = 100) -> Labels:
    """Return the next class inside blocks of five consecutive ids, circularly.

    The literature does this on CIFAR-100, whose fine ids are alphabetical: only 6 of the 100 pairs
    share a superclass.
    """
    ids = np.arange(classes)
    return ids // BLOCK * BLOCK + (ids % BLOCK + 1) % BLOCK


def superclass_map() -> Labels:
    """Return the next class of the same superclass of CIFAR-100, by ascending id, circularly."""
    superclass = np.array(CIFAR100_SUPERCLASS)
    target = np.empty(len(superclass), dtype=np.int64)
    for one in range(int(superclass.max()) + 1):
        members = np.flatnonzero(superclass == one)
        target[members] = np.roll(members, -1)
    return target


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

    def apply(self, context: NoiseContext, seed: int) -> Labels:
        """Turn the samples of each affected class that have the smallest draws."""
        target = flips_of(context.dataset, superclass=self.superclass)
        which = uniform(context.reach, "noise", seed, "which")[context.index]
        true, noisy = context.true, context.true
        for source in np.flatnonzero(target != np.arange(len(target))):
            members = np.flatnonzero(true == source)
            if self.each:
                chosen = members[which[members] < self.rate]
            else:
                order = members[np.argsort(which[members], kind="stable")]
                chosen = order[: round(self.rate * len(members))]
            noisy[chosen] = target[source]
        return noisy
