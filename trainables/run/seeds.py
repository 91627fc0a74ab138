"""Random numbers from named axes.

A draw is a pure function of (axis, base seed, keys): no generator is carried from one draw to the
next, so nothing of it belongs in a checkpoint, and who draws, where and in which order changes
nothing. Bits come from Philox counters, whose stream NumPy guarantees, never from NumPy's
distributions, whose streams may change between its versions.
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
"""noise: label flips; split: the held-out labels; subset: which samples of a larger set; init:
initial weights; order: of samples in an epoch; augment: crops and flips; method: dropout and what
a method draws for itself."""


@dataclass(frozen=True, slots=True)
class Seeds:
    """The base seed of each axis; 0 is a seed like any other.

    An axis that is split off another one later has the neutral value None: it draws as the other
    one does, which is what runs did before there was such an axis.
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
        """Give every axis `seed`, but those named in `fixed` theirs.

        Raises:
            TypeError: `fixed` names what is no axis.
        """
        return cls(**{**dict.fromkeys(AXES, seed), **fixed})


def derive(axis: str, seed: int, *keys: int | str) -> int:
    """Derive a 128-bit integer from an axis, its base seed and further keys (SHA-256)."""
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
