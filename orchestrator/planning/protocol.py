"""Objective by which a sweep chooses hyperparameters."""

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
    """Objective of a search: mean accuracy on held-out noisy labels over some epochs of a run.

    The test split is never used.

    Attributes:
        protocol: rule that names the epochs over which the accuracy is averaged.
        classes: number of classes K; the objective of a diverged run is that of chance, 1 / K.
        held_out: number of held-out samples.
    """

    protocol: Protocol
    classes: int
    held_out: int

    @property
    def standard_error(self) -> float:
        """Standard error of the objective of one run.

        It is the binomial standard error at an accuracy of one half, where it is largest.
        """
        return math.sqrt(0.25 / self.held_out)

    def value(self, result: RunResult) -> float:
        """Return the objective of a run, given its result.

        A diverged run has a low objective and is not reported as a failure. The sampler ignores
        failures, and would propose similar hyperparameters again.
        """
        mean = result.mean(VAL, self.protocol)
        return mean if mean is not None and result.status is Status.FINISHED else 1 / self.classes
