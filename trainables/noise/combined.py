"""Combination of two kinds of label noise, as in PLC's hybrid settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trainables.noise.base import Labels, Noise, NoiseContext

if TYPE_CHECKING:
    from trainables.datasets.base import Source

SEPARATOR = "+"
"""Separator of the two scenarios in a combined scenario's name."""


@dataclass(frozen=True, slots=True)
class CombinedNoise(Noise):
    """Second noise on the noisy labels of a first one: `pmd-1-0.35+symmetric-0.3`.

    Attributes:
        first: noise of the true labels; PMD, human or file labels, since symmetric and asymmetric
            noise would use the same draws as the second.
        second: symmetric or asymmetric noise of the first one's labels.
    """

    first: Noise
    second: Noise

    name_forms = ("FIRST+SECOND",)

    @classmethod
    def parse(cls, scenario: str) -> None:
        """Return None: `noise_of` splits names with a "+" itself."""

    @property
    def title(self) -> str:
        """Title of the scenario in tables."""
        return f"{self.first.title} + {self.second.title}"

    @property
    def one_draw(self) -> bool:
        """Whether all seeds share the labels of both kinds."""
        return self.first.one_draw and self.second.one_draw

    @property
    def needs_posterior(self) -> bool:
        """Whether the first noise needs class probabilities."""
        return self.first.needs_posterior

    @property
    def annotation(self) -> str:
        """Name of the labels that the first noise reads; "" if it reads none."""
        return self.first.annotation

    @property
    def label_file(self) -> str:
        """Name of the user's file that the first noise reads; "" if it reads none."""
        return self.first.label_file

    def check(self, source: Source) -> None:
        """Raise `FieldError` if either noise cannot be applied to a dataset."""
        self.first.check(source)
        self.second.check(source)

    def apply(self, context: NoiseContext, seed: int) -> Labels:
        """Draw the first noise on the true labels, then the second on the resulting labels."""
        labels = context.labels.copy()
        labels[context.index] = self.first.apply(context, seed)
        return self.second.apply(replace(context, labels=labels), seed)
