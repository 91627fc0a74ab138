"""No label noise."""

from __future__ import annotations

from typing import ClassVar, Self

from trainables.noise.base import Labels, Noise, NoiseContext

CLEAN = "clean"
"""Name of the scenario without noise."""


class Clean(Noise):
    """The labels as they come with the dataset."""

    forms: ClassVar[tuple[str, ...]] = (CLEAN,)

    @classmethod
    def parse(cls, scenario: str) -> Self | None:
        """Read `clean`."""
        return cls() if scenario == CLEAN else None

    @property
    def title(self) -> str:
        """The setting as tables head a column with it."""
        return CLEAN

    @property
    def nominal_rate(self) -> float | None:
        """None is added."""
        return 0.0

    def apply(self, context: NoiseContext, seed: int) -> Labels:  # noqa: ARG002 - nothing is drawn
        """Return a copy of the labels."""
        return context.true
