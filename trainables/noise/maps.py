"""Which class asymmetric noise turns each class into."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


def cifar10_map() -> NDArray[np.int64]:
    """Return the class that each class of CIFAR-10 is turned into, itself where it is kept."""
    target = np.arange(10)
    for source, wrong in CIFAR10_FLIPS.items():
        target[source] = wrong
    return target


def block_map(classes: int = 100) -> NDArray[np.int64]:
    """Return the next class inside blocks of five consecutive ids, circularly.

    The literature does this on CIFAR-100, whose fine ids are alphabetical: only 6 of the 100 pairs
    share a superclass.
    """
    ids = np.arange(classes)
    return ids // BLOCK * BLOCK + (ids % BLOCK + 1) % BLOCK


def superclass_map() -> NDArray[np.int64]:
    """Return the next class of the same superclass of CIFAR-100, by ascending id, circularly."""
    superclass = np.array(CIFAR100_SUPERCLASS)
    target = np.empty(len(superclass), dtype=np.int64)
    for one in range(int(superclass.max()) + 1):
        members = np.flatnonzero(superclass == one)
        target[members] = np.roll(members, -1)
    return target
