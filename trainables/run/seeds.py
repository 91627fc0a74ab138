"""Random numbers for named purposes (random axes) such as label noise or initial weights.

The numbers are a pure function of (axis, base seed, keys). No generator keeps a state between
calls, so that checkpoints need none, and neither the process nor the order of calls changes the
numbers. Random bits come from Philox counters, whose stream NumPy guarantees, never from NumPy's
distributions, whose streams may change between versions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from trainables.errors import FieldError
from trainables.run.identity import NEUTRAL_DEFAULT

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

RANDOM_AXES = ("noise", "split", "subset", "init", "order", "augment", "method")
"""Names of the random axes: the purposes for which random numbers are drawn.

"noise" draws label noise, "split" the held-out samples, "subset" the samples that are used, "init"
the initial weights, "order" the order of samples in an epoch, "augment" crops and flips, and
"method" dropout and the random numbers of a method."""


@dataclass(frozen=True, slots=True)
class Seeds:
    """Base seeds of a run: one non-negative integer for each random axis in `RANDOM_AXES`.

    If a later version splits an axis in two, the base seed of the new axis defaults to None, which
    stands for the base seed of the old axis, so that earlier runs keep their random numbers.
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
            if value is None and field.metadata == NEUTRAL_DEFAULT:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise FieldError(
                    field.name, f"a seed must be a non-negative integer, got {value!r}"
                )

    @classmethod
    def from_base_seed(cls, seed: int, **fixed_seeds: int) -> Seeds:
        """Return base seeds that equal `seed`, except for the axes in `fixed_seeds`.

        Raises:
            TypeError: if `fixed_seeds` names an unknown axis.
        """
        return cls(**{**dict.fromkeys(RANDOM_AXES, seed), **fixed_seeds})

    def base_seed(self, fixed_axes: Collection[str] = ()) -> int:
        """Return the seed that tells a run from the others of its cell, the base seed of its axes.

        Args:
            fixed_axes: names of the random axes whose seed the study holds fixed.

        Returns:
            The seed of "init", or of the first of the other axes if "init" is held fixed.
        """
        varying_axes = (axis for axis in ("init", *RANDOM_AXES) if axis not in fixed_axes)
        seed: int = getattr(self, next(varying_axes, "init"))
        return seed


def derive_seed(axis: str, seed: int, *keys: int | str) -> int:
    """Derive a 128-bit seed from the SHA-256 of a random axis, its base seed and further keys.

    Args:
        axis: name of the random axis, such as "noise".
        seed: base seed of the random axis.
        *keys: further values that select the random numbers, such as the number of the epoch.
    """
    text = "/".join([axis, str(seed), *map(str, keys)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")


def random_integers(count: int, axis: str, seed: int, *keys: int | str) -> NDArray[np.uint64]:
    """Draw `count` random integers, uniform in 0..2^64 - 1, with the seed of `derive_seed`."""
    bits = np.random.Philox(key=derive_seed(axis, seed, *keys)).random_raw(count)
    return np.asarray(bits, dtype=np.uint64)


def uniform(count: int, axis: str, seed: int, *keys: int | str) -> NDArray[np.float64]:
    """Draw `count` random numbers, uniform in [0, 1), with 53 random bits each."""
    integers = random_integers(count, axis, seed, *keys) >> np.uint64(11)
    return integers.astype(np.float64) * 2.0**-53


def permutation(count: int, axis: str, seed: int, *keys: int | str) -> NDArray[np.int64]:
    """Draw a random permutation of 0..count - 1."""
    return np.argsort(random_integers(count, axis, seed, *keys), kind="stable").astype(np.int64)
