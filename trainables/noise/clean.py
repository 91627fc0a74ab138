"""The scenario `clean`, which has no label noise."""

from __future__ import annotations

from typing import ClassVar, Self

from trainables.noise.base import Labels, Noise, NoiseContext

CLEAN = "clean"
"""Name of the scenario without label noise."""


class CleanLabels(Noise):
    """Absence of label noise: runs train on the labels of the dataset."""

    name_forms: ClassVar[tuple[str, ...]] = (CLEAN,)

    @classmethod
    def parse(cls, scenario: str) -> Self | None:
        """Return the instance for the scenario `clean`; None for other scenarios."""
        return cls() if scenario == CLEAN else None

    @property
    def title(self) -> str:
        """Title of the scenario in tables."""
        return CLEAN

    @property
    def nominal_rate(self) -> float | None:
        """Noise rate 0, since no noise is added."""
        return 0.0

    def apply(self, context: NoiseContext, seed: int) -> Labels:  # noqa: ARG002 - nothing is drawn
        """Return a copy of the true labels of the samples in use, shape (n,)."""
        return context.true_labels
