"""Which number chooses: the selection protocol."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trainables.run.metrics import VAL
from trainables.run.result import RunResult, Status


@dataclass(frozen=True, slots=True)
class HeldOutAccuracy:
    """Mean accuracy on held-out noisy labels over the last epochs; never the test split.

    Attributes:
        window: how many last epochs.
        classes: number of classes K: a diverged run counts as chance, 1 / K.
        held_out: number of held-out samples.
    """

    window: int
    classes: int
    held_out: int

    @property
    def identity(self) -> dict[str, str | int]:
        """What of it enters the digest of a search: never words that are printed."""
        return {"protocol": "held-out-mean", "window": self.window}

    @property
    def name(self) -> str:
        """As it is printed under every table."""
        epochs = "epoch" if self.window == 1 else f"{self.window} epochs"
        return f"mean accuracy on held-out noisy labels over the last {epochs}"

    @property
    def standard_error(self) -> float:
        """Binomial standard error of one run's value at accuracy one half, where it is largest."""
        return math.sqrt(0.25 / self.held_out)

    def value(self, result: RunResult) -> float:
        """Return the number that chooses.

        A diverged run must count as a bad value and not as a failure: told a failure, the sampler
        learns nothing and proposes the same region again.
        """
        mean = result.mean_last(VAL)
        return mean if mean is not None and result.status is Status.FINISHED else 1 / self.classes
