"""Symmetric (uniform) label noise, in the paper's convention and in that of its public code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from trainables.noise.base import Noise, parse_rate
from trainables.seeds import uniform

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Symmetric(Noise):
    """A fixed number of labels, round(rate × n), is replaced by a class drawn uniformly.

    Attributes:
        rate: fraction of the samples whose label is drawn anew.
        including: whether the true class may be drawn (`symmetric-incl-R`, as the public code does:
            the true rate is then about rate × (K - 1) / K) or only another class (`symmetric-R`,
            as the paper writes, section 5.1).
    """

    rate: float
    including: bool

    forms: ClassVar[tuple[str, ...]] = ("symmetric-RATE", "symmetric-incl-RATE")

    @classmethod
    def parse(cls, scenario: str) -> Self | None:
        """Read `symmetric-0.4` (another class) or `symmetric-incl-0.4` (any class)."""
        kind, _, rate = scenario.rpartition("-")
        if kind not in ("symmetric", "symmetric-incl"):
            return None
        return cls(rate=parse_rate(scenario, rate), including=kind == "symmetric-incl")

    @property
    def title(self) -> str:
        """The setting as tables head a column with it."""
        return f"symmetric {100 * self.rate:g} %" + (" incl. true class" if self.including else "")

    def apply(
        self, labels: NDArray[np.int64], index: NDArray[np.int64], classes: int, seed: int
    ) -> NDArray[np.int64]:
        """Replace the labels of the round(rate × n) samples with the smallest draws.

        The draws do not depend on the rate: at one seed a lower rate flips a subset of what a
        higher one flips, to the same classes.
        """
        reach = int(index.max(initial=-1)) + 1
        order = np.argsort(uniform(reach, "noise", seed, "which")[index], kind="stable")
        chosen = order[: round(self.rate * len(labels))]
        draw = uniform(reach, "noise", seed, "class")[index[chosen]]
        noisy = labels.copy()
        if self.including:
            noisy[chosen] = np.floor(draw * classes).astype(np.int64)
        else:
            shift = 1 + np.floor(draw * (classes - 1)).astype(np.int64)
            noisy[chosen] = (labels[chosen] + shift) % classes
        return noisy
