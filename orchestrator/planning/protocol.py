"""Objective of hyperparameter searches: accuracy on held-out noisy labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.run.metrics import VAL_ACCURACY
from trainables.run.result import RunResult, Status

if TYPE_CHECKING:
    from trainables.run.protocols import Protocol


@dataclass(frozen=True, slots=True)
class HeldOutAccuracy:
    """Objective of a search: accuracy of a run on held-out noisy labels, averaged over epochs.

    The test split is never used.

    Attributes:
        protocol: rule that selects the averaged epochs, such as the last 10.
        class_count: number of classes K; a diverged run has the objective of guessing, 1 / K.
        held_out_count: number of held-out samples.
    """

    protocol: Protocol
    class_count: int
    held_out_count: int

    @property
    def standard_error(self) -> float:
        """Largest binomial standard error of one run's objective, reached at an accuracy of 0.5."""
        return math.sqrt(0.25 / self.held_out_count)

    def compute(self, result: RunResult) -> float:
        """Return the objective of a run, in [0, 1]; 1 / K for a run that did not finish.

        A diverged run is reported with this low objective instead of as a failure, since the
        sampler ignores failures and would propose similar hyperparameters again.
        """
        mean = result.mean_value(VAL_ACCURACY, self.protocol)
        return (
            mean if mean is not None and result.status is Status.FINISHED else 1 / self.class_count
        )
