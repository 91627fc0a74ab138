"""Combination of two kinds of label noise, called hybrid noise in the PLC paper."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trainables.noise.base import Labels, Noise, NoiseContext

if TYPE_CHECKING:
    from trainables.datasets.base import Source

SEPARATOR = "+"
"""Text between the two scenario names in the name of a combined scenario."""


@dataclass(frozen=True, slots=True)
class CombinedNoise(Noise):
    """Two kinds of label noise, one after the other, as in `pmd-1-0.35+symmetric-0.3`.

    Attributes:
        first: noise that is applied to the true labels: PMD noise, human labels or labels from a
            file. Symmetric and asymmetric noise are excluded, since they would use the same random
            numbers as `second`.
        second: symmetric or asymmetric noise that is applied to the noisy labels of `first`.
    """

    first: Noise
    second: Noise

    name_forms = ("FIRST+SECOND",)

    @classmethod
    def parse(cls, scenario: str) -> None:
        """Return None for every name, since `noise_of` parses names with a "+"."""

    @property
    def title(self) -> str:
        """Title of the scenario in tables."""
        return f"{self.first.title} + {self.second.title}"

    @property
    def rule(self) -> str:
        """Which labels the second noise draws, which may undo the first."""
        return "the second noise may restore the true class" if self.second.rule else ""

    @property
    def is_seed_independent(self) -> bool:
        """Whether all seeds have the same noisy labels after both kinds of noise."""
        return self.first.is_seed_independent and self.second.is_seed_independent

    @property
    def needs_posterior(self) -> bool:
        """Whether the first noise is drawn from class probabilities of a trained network."""
        return self.first.needs_posterior

    @property
    def annotation(self) -> str:
        """Name of the label set in `NoiseContext.annotations` that the first noise uses, or ""."""
        return self.first.annotation

    @property
    def label_file(self) -> str:
        """Name of the user's file that the first noise reads; "" if no file is read."""
        return self.first.label_file

    def check(self, source: Source) -> None:
        """Raise `FieldError` if one of the two kinds of noise does not fit the dataset."""
        self.first.check(source)
        self.second.check(source)

    def apply(self, context: NoiseContext, seed: int) -> Labels:
        """Return the labels of the samples in use after both kinds of noise, shape (n,)."""
        labels = context.labels.copy()
        labels[context.index] = self.first.apply(context, seed)
        return self.second.apply(replace(context, labels=labels), seed)
