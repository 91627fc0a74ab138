"""The number that chooses hyperparameters in a sweep."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.run.metrics import VAL
from trainables.run.result import RunResult, Status

if TYPE_CHECKING:
    from trainables.run.protocols import Protocol


@dataclass(frozen=True, slots=True)
class HeldOutAccuracy:
    """Mean accuracy on held-out noisy labels over a protocol's epochs; never the test split.

    Attributes:
        protocol: decides which epochs are averaged.
        classes: number of classes K: a diverged run counts as chance, 1 / K.
        held_out: number of held-out samples.
    """

    protocol: Protocol
    classes: int
    held_out: int

    @property
    def standard_error(self) -> float:
        """Binomial standard error of one run's value at accuracy one half, where it is largest."""
        return math.sqrt(0.25 / self.held_out)

    def value(self, result: RunResult) -> float:
        """Return the number that chooses.

        A diverged run must count as a bad value and not as a failure: from a failure the sampler
        learns nothing and proposes the same region again.
        """
        mean = result.mean(VAL, self.protocol)
        return mean if mean is not None and result.status is Status.FINISHED else 1 / self.classes
