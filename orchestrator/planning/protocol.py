"""Objective of hyperparameter searches: accuracy on held-out noisy labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.run.metrics import VAL_ACCURACY
from trainables.run.result import RunResult, Status, mean_over_epochs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trainables.run.protocols import Protocol
    from trainables.run.recipe import Recipe
    from trainables.training.job import Row


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

    def steps(self, rows: Sequence[Row], recipe: Recipe, epochs: Iterable[int]) -> dict[int, float]:
        """Return the objective that a run would have if it ended after some of its epochs.

        Epochs that the run has not reached are left out.

        Args:
            rows: metrics after each epoch so far.
            recipe: recipe of the run.
            epochs: numbers of the epochs.
        """
        reached_epoch = rows[-1]["epoch"] if rows else 0
        means = {
            epoch: mean_over_epochs(
                rows, VAL_ACCURACY, self.protocol.averaged_epochs(recipe, epoch)
            )
            for epoch in epochs
            if epoch <= reached_epoch
        }
        return {epoch: mean for epoch, mean in means.items() if mean is not None}

    def steps_of(self, result: RunResult, epochs: Iterable[int]) -> dict[int, float]:
        """Return the objective that a run would have had if it had ended after some of its epochs.

        A diverged run has the objective of guessing from its divergence on.

        Args:
            result: result of the run.
            epochs: numbers of the epochs.
        """
        steps = self.steps(result.trace, result.spec.recipe, epochs)
        if result.status is not Status.DIVERGED:
            return steps
        return {epoch: steps.get(epoch, 1 / self.class_count) for epoch in epochs}
