"""Symmetric (uniform) label noise, as defined in the NAL paper and in NAL's public code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trainables.noise.base import (
    ALL_CLASSES,
    ONLY_OTHER_CLASSES,
    Labels,
    NoiseContext,
    RatedNoise,
    percent,
)
from trainables.run.seeds import uniform


@dataclass(frozen=True, slots=True)
class SymmetricNoise(RatedNoise):
    """Symmetric noise: a fraction of the labels are replaced by classes drawn uniformly.

    Attributes:
        rate: fraction of the samples whose label is replaced.
        include_true_class: whether a label may be replaced by its true class, as in NAL's public
            code (`symmetric-incl-RATE`). The true noise rate is then about rate × (K - 1) / K. If
            false, only other classes are drawn, as in section 5.1 of the NAL paper
            (`symmetric-RATE`).
        per_sample: whether each label is replaced independently with probability `rate`
            (`symmetric-each-RATE`). If false, exactly round(rate × n) labels are replaced.
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

    @property
    def rule(self) -> str:
        """Whether a selected sample may keep its true class."""
        return ALL_CLASSES if self.include_true_class else ONLY_OTHER_CLASSES

    def apply(self, context: NoiseContext, seed: int) -> Labels:
        """Return noisy labels; samples with the smallest random numbers get a new label.

        The random numbers do not depend on the rate. With the same seed, a sample that is flipped
        at a lower rate is therefore flipped at a higher rate too, to the same class.
        """
        draws = uniform(context.draw_count, "noise", seed, "which")[context.index]
        if self.per_sample:
            selected = np.flatnonzero(draws < self.rate)
        else:
            selected = np.argsort(draws, kind="stable")[: round(self.rate * len(draws))]
        class_draws = uniform(context.draw_count, "noise", seed, "class")[context.index[selected]]
        noisy_labels = context.true_labels
        if self.include_true_class:
            noisy_labels[selected] = np.floor(class_draws * context.class_count).astype(np.int64)
        else:
            shift = 1 + np.floor(class_draws * (context.class_count - 1)).astype(np.int64)
            noisy_labels[selected] = (noisy_labels[selected] + shift) % context.class_count
        return noisy_labels
