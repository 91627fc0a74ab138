"""Noise on top of noise: PLC's hybrid settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trainables.noise.base import Labels, Noise, NoiseContext

if TYPE_CHECKING:
    from trainables.datasets.base import Source

JOIN = "+"


@dataclass(frozen=True, slots=True)
class Combined(Noise):
    """A second noise, drawn over the labels that the first gave: `pmd-1-0.35+symmetric-0.3`.

    Attributes:
        first: of the true labels; any but symmetric and asymmetric, whose draws the second has.
        second: symmetric or asymmetric.
    """

    first: Noise
    second: Noise

    forms = ("FIRST+SECOND",)

    @classmethod
    def parse(cls, scenario: str) -> None:
        """Names with a + are taken apart by `noise_of`."""

    @property
    def title(self) -> str:
        """The setting as tables head a column with it."""
        return f"{self.first.title} + {self.second.title}"

    @property
    def one_draw(self) -> bool:
        """Whether both are the same for all seeds."""
        return self.first.one_draw and self.second.one_draw

    @property
    def needs_posterior(self) -> bool:
        """Whether the first needs one."""
        return self.first.needs_posterior

    @property
    def annotation(self) -> str:
        """Labels that the first reads."""
        return self.first.annotation

    @property
    def label_file(self) -> str:
        """File that the first reads."""
        return self.first.label_file

    def check(self, source: Source) -> None:
        """See that both can be laid over a dataset."""
        self.first.check(source)
        self.second.check(source)

    def apply(self, context: NoiseContext, seed: int) -> Labels:
        """Draw the first over the given labels, the second over what came out."""
        labels = context.labels.copy()
        labels[context.index] = self.first.apply(context, seed)
        return self.second.apply(replace(context, labels=labels), seed)
