"""Symmetric (uniform) label noise, in the conventions of the paper and of its public code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trainables.noise.base import Labels, NoiseContext, RatedNoise, percent
from trainables.run.seeds import uniform


@dataclass(frozen=True, slots=True)
class SymmetricNoise(RatedNoise):
    """Symmetric noise: labels are replaced by a class drawn uniformly.

    Attributes:
        rate: fraction of the samples whose label is replaced.
        include_true_class: whether the true class may be drawn (`symmetric-incl-R`, as in the
            public code, with a true rate of about rate × (K - 1) / K), rather than the other
            classes only (`symmetric-R`, as in the paper, section 5.1).
        per_sample: whether each sample's label is replaced independently with probability `rate`
            (`symmetric-each-R`), rather than those of exactly round(rate × n) samples.
    """

    include_true_class: bool
    per_sample: bool = False

    variants: ClassVar[dict[str, tuple[bool, ...]]] = {
        f"symmetric{incl}{each}": (bool(incl), bool(each))
        for incl in ("", "-incl")
        for each in ("", "-each")
    }
    name_forms: ClassVar[tuple[str, ...]] = (
        "symmetric-RATE",
        "symmetric-incl-RATE",
        "symmetric-each-RATE",
        "symmetric-incl-each-RATE",
    )

    @property
    def title(self) -> str:
        """Title of the scenario in tables."""
        return (
            f"symmetric {percent(self.rate)}"
            + (" incl. true class" if self.include_true_class else "")
            + (", each label by chance" if self.per_sample else "")
        )

    def apply(self, context: NoiseContext, seed: int) -> Labels:
        """Replace the labels of the samples with the smallest draws.

        The draws do not depend on the rate: with the same seed, a lower rate flips a subset of the
        samples that a higher rate flips, to the same classes.
        """
        draws = uniform(context.draw_count, "noise", seed, "which")[context.index]
        if self.per_sample:
            selected = np.flatnonzero(draws < self.rate)
        else:
            selected = np.argsort(draws, kind="stable")[: round(self.rate * len(draws))]
        class_draws = uniform(context.draw_count, "noise", seed, "class")[context.index[selected]]
        noisy = context.true_labels
        if self.include_true_class:
            noisy[selected] = np.floor(class_draws * context.classes).astype(np.int64)
        else:
            shift = 1 + np.floor(class_draws * (context.classes - 1)).astype(np.int64)
            noisy[selected] = (noisy[selected] + shift) % context.classes
        return noisy
