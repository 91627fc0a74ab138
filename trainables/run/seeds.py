"""Random numbers from named axes.

A draw is a pure function of (axis, base seed, keys). No generator keeps a state between draws, so
that checkpoints need none, and neither the process nor the order of the draws changes them. Bits
come from Philox counters, whose stream NumPy guarantees, never from NumPy's distributions, whose
streams may change between versions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from trainables.errors import FieldError
from trainables.run.identity import NEUTRAL

if TYPE_CHECKING:
    from numpy.typing import NDArray

AXES = ("noise", "split", "subset", "init", "order", "augment", "method")
"""Names of the random axes.

"noise" draws label noise, "split" the held-out samples, "subset" the samples that are used, "init"
the initial weights, "order" the order of samples in an epoch, "augment" crops and flips, and
"method" dropout and the random numbers of a method."""


@dataclass(frozen=True, slots=True)
class Seeds:
    """Base seed of each axis, a non-negative integer.

    An axis that is later split off another has the neutral value None, under which it draws with
    the seed of the other axis, as before the split.
    """

    noise: int
    split: int
    subset: int
    init: int
    order: int
    augment: int
    method: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.metadata == NEUTRAL:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise FieldError(field.name, f"a seed is an integer from 0, got {value!r}")

    @classmethod
    def same(cls, seed: int, **fixed: int) -> Seeds:
        """Return seeds that are `seed` for all axes but those named in `fixed`.

        Raises:
            TypeError: if `fixed` names an unknown axis.
        """
        return cls(**{**dict.fromkeys(AXES, seed), **fixed})


def derive(axis: str, seed: int, *keys: int | str) -> int:
    """Return a 128-bit integer derived from an axis, its base seed and further keys by SHA-256."""
    text = "/".join([axis, str(seed), *map(str, keys)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")


def raw(count: int, axis: str, seed: int, *keys: int | str) -> NDArray[np.uint64]:
    """Draw `count` uniform 64-bit integers, one per position."""
    bits = np.random.Philox(key=derive(axis, seed, *keys)).random_raw(count)
    return np.asarray(bits, dtype=np.uint64)


def uniform(count: int, axis: str, seed: int, *keys: int | str) -> NDArray[np.float64]:
    """Draw `count` numbers uniform in [0, 1) with 53 random bits each."""
    return (raw(count, axis, seed, *keys) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(count: int, axis: str, seed: int, *keys: int | str) -> NDArray[np.int64]:
    """Draw a permutation of range(count): the ranks of `count` random integers."""
    return np.argsort(raw(count, axis, seed, *keys), kind="stable").astype(np.int64)
