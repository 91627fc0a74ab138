"""Symmetric (uniform) label noise, in the paper's convention and in that of its public code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trainables.noise.base import Labels, NoiseContext, Rated, percent
from trainables.run.seeds import uniform


@dataclass(frozen=True, slots=True)
class Symmetric(Rated):
    """Labels are replaced by a class drawn uniformly.

    Attributes:
        rate: fraction of the samples whose label is drawn anew.
        including: whether the true class may be drawn (`symmetric-incl-R`, as the public code does:
            the true rate is then about rate × (K - 1) / K) or only another class (`symmetric-R`,
            as the paper writes, section 5.1).
        each: whether each sample's label is drawn anew with that probability (`symmetric-each-R`),
            or those of exactly round(rate × n) samples.
    """

    including: bool
    each: bool = False

    variants: ClassVar[dict[str, tuple[bool, ...]]] = {
        f"symmetric{incl}{each}": (bool(incl), bool(each))
        for incl in ("", "-incl")
        for each in ("", "-each")
    }
    forms: ClassVar[tuple[str, ...]] = (
        "symmetric-RATE",
        "symmetric-incl-RATE",
        "symmetric-each-RATE",
        "symmetric-incl-each-RATE",
    )

    @property
    def title(self) -> str:
        """The setting as tables head a column with it."""
        return (
            f"symmetric {percent(self.rate)}"
            + (" incl. true class" if self.including else "")
            + (", each label by chance" if self.each else "")
        )

    def apply(self, context: NoiseContext, seed: int) -> Labels:
        """Replace the labels of the samples with the smallest draws.

        The draws do not depend on the rate: at one seed a lower rate flips a subset of what a
        higher one flips, to the same classes.
        """
        which = uniform(context.reach, "noise", seed, "which")[context.index]
        if self.each:
            chosen = np.flatnonzero(which < self.rate)
        else:
            chosen = np.argsort(which, kind="stable")[: round(self.rate * len(which))]
        draw = uniform(context.reach, "noise", seed, "class")[context.index[chosen]]
        noisy = context.true
        if self.including:
            noisy[chosen] = np.floor(draw * context.classes).astype(np.int64)
        else:
            shift = 1 + np.floor(draw * (context.classes - 1)).astype(np.int64)
            noisy[chosen] = (noisy[chosen] + shift) % context.classes
        return noisy
